"""Rules of the user's own, over a finished trial that smdebug wrote."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kennel.debug.configuration import read_rule
from kennel.debug.orders import Orders
from kennel.debug.publishing import Publisher
from kennel.debug.quiet import quiet_import
from kennel.debug.stopping import StopSignal

with quiet_import():
    from kennel.debug.custom import CustomEvaluation, find_rule_file, local_address

GROWING = Path(__file__).resolve().parents[2] / "contract" / "scripts" / "growing_trial.py"
RULES = '''from smdebug.rules import Rule

from threshold import as_number


class LossAbove(Rule):
    """As AWS's guide writes them: strings, and no action_str."""

    def __init__(self, base_trial, threshold="10.0"):
        super().__init__(base_trial)
        assert isinstance(threshold, str)
        self.threshold = as_number(threshold)

    def set_required_tensors(self, step):
        self.req_tensors.add("CrossEntropyLoss_output_0", [step])

    def invoke_at_step(self, step):
        (loss,) = self.req_tensors.get()
        if step == 2 and self.threshold < 0:
            raise ValueError(f"threshold {self.threshold} below zero")
        return loss.value(step) > self.threshold


class AsSmdebugWritesThem(LossAbove):
    """With the actions, which are the evaluator's, and steps of its own."""

    def __init__(self, base_trial, action_str, start_step, other_trials=None):
        super().__init__(base_trial, "0")
        assert (action_str, start_step, [trial.steps() for trial in other_trials]) == ("", "1", [[0, 1, 2]])


class Blind(LossAbove):
    def set_required_tensors(self, step):
        self.req_tensors.add("no_such_tensor", [step])


class Scaled(LossAbove):
    def __init__(self, base_trial, factor):
        super().__init__(base_trial)


class Quits(LossAbove):
    def invoke_at_step(self, step):
        raise SystemExit(3)


class NoRule:
    pass
'''


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a net's three steps left, smdebug's own hook saving losses and gradients."""
    folder = tmp_path_factory.mktemp("run") / "tensors"
    run = subprocess.run(
        [sys.executable, str(GROWING), str(folder)], input="3\n", capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return folder


Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture
def evaluate(tensors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """The report of a class of RULES, whose file and the module it imports are in a folder of their own."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "my_rules.py").write_text(RULES)
    (source / "threshold.py").write_text("def as_number(text):\n    return float(text)\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("my_rules", "threshold"):
        monkeypatch.setitem(sys.modules, name, sys)  # so that it is put back
        del sys.modules[name]

    def run(rule: str, folder: Path = tensors, **parameters: str) -> dict[str, Any]:
        given = {"rule_to_invoke": rule, "source_s3_uri": "s3://bucket/my_rules.py", **parameters}
        order = read_rule({"RuleConfigurationName": "mine", "RuleParameters": given})
        orders = Orders("first", folder, tmp_path / "rules", (order,), {"mine": source})
        publisher = Publisher(orders)
        CustomEvaluation(orders, order, stop=StopSignal(), publisher=publisher).run()
        publisher.close()
        report: dict[str, Any] = json.loads((tmp_path / "rules" / "mine.json").read_text())
        return report

    return run


def test_a_rule_that_is_content_says_what_it_saw(evaluate: Evaluate) -> None:
    report = evaluate("LossAbove")
    assert (report["RuleEvaluationStatus"], report["steps_seen"]) == ("NoIssuesFound", 3)
    assert report["StatusDetails"] == "looked at 3 saved steps, 0 to 2; the rule did not fire"


def test_a_rule_that_fires_is_counted(evaluate: Evaluate) -> None:
    report = evaluate("LossAbove", threshold="0.1", action_json='{"name": "StopTraining"}', end_step="2")
    assert (report["RuleEvaluationStatus"], report["violations"], report["steps_seen"]) == ("IssuesFound", 2, 2)
    assert report["StatusDetails"].startswith("RuleEvaluationConditionMet: Evaluation of the rule LossAbove at step 0")
    assert report["stop_training"] is True
    assert report["parameters"] == {"threshold": "0.1"}


def test_a_rule_gets_other_trials_and_the_parameters_it_names(evaluate: Evaluate, tensors: Path) -> None:
    report = evaluate("AsSmdebugWritesThem", start_step="1", other_trial_0=tensors.as_uri())
    assert report["StatusDetails"].startswith("RuleEvaluationConditionMet: Evaluation of the rule AsSmdebugWritesThem")
    assert [finding["step"] for finding in report["findings"]] == [1, 2]


def test_a_rule_whose_tensors_were_not_saved_is_no_success(evaluate: Evaluate) -> None:
    report = evaluate("Blind")
    assert report["too_few"] is True
    assert report["StatusDetails"] == ("looked at 0 steps: nothing can be said. Tensor no_such_tensor was not saved.")


def test_a_training_that_saved_nothing_is_said(evaluate: Evaluate, tmp_path: Path) -> None:
    (tmp_path / "training_job_end.ts").touch()
    report = evaluate("LossAbove", tmp_path)
    assert report["RuleEvaluationStatus"] == "Error"
    assert report["StatusDetails"].startswith("ClientError: No debugging data was saved")


def test_the_line_that_failed_is_named(evaluate: Evaluate, capsys: pytest.CaptureFixture[str]) -> None:
    report = evaluate("LossAbove", threshold="-1")
    line = 1 + RULES.splitlines().index('            raise ValueError(f"threshold {self.threshold} below zero")')
    assert report["RuleEvaluationStatus"] == "Error"
    assert report["StatusDetails"] == (
        f"The rule's own code failed at my_rules.py:{line} in invoke_at_step: ValueError: threshold -1.0 below zero"
    )
    assert report["violations"] == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rule", "parameters", "message"),
    [
        ("Nowhere", {}, "No class 'Nowhere' is defined in"),
        ("NoRule", {}, "is no subclass of smdebug.rules.Rule"),
        ("LossAbove", {"treshold": "1"}, "LossAbove cannot be made of treshold='1': got an unexpected keyword"),
        ("Scaled", {}, "missing a required argument: 'factor'. It takes: base_trial, factor."),
        ("LossAbove", {"threshold": "low"}, "failed at threshold.py:2 in as_number: ValueError: could not convert"),
        ("Quits", {}, "in invoke_at_step: SystemExit: 3"),
    ],
)
def test_a_rule_that_cannot_be_made_or_asked_says_why(
    evaluate: Evaluate, rule: str, parameters: dict[str, str], message: str
) -> None:
    report = evaluate(rule, **parameters)
    assert report["RuleEvaluationStatus"] == "Error"
    assert message in report["StatusDetails"]


def test_a_file_that_is_no_python_is_refused_with_its_line(evaluate: Evaluate, tmp_path: Path) -> None:
    (tmp_path / "source" / "a.py").write_text("def :\n")
    assert "a.py cannot be read as Python" in evaluate("LossAbove")["StatusDetails"]


def test_the_source_may_be_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class One: pass\n")
    assert find_rule_file(tmp_path / "one.py", "One") == tmp_path / "one.py"


def test_a_file_address_is_a_folder_and_s3_is_left_to_smdebug() -> None:
    assert local_address("file:///tmp/a%20b") == "/tmp/a b"
    assert local_address("s3://bucket/a") == "s3://bucket/a"
