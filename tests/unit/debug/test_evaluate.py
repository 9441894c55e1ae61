"""One rule's way through a trial: its status, its sentences, its counts."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from kennel.debug.evaluate import Evaluation, evaluate
from kennel.debug.reports import RuleFile, RuleReport
from kennel.debug.rules import Check, Finding, Rule
from kennel.errors import ContractError


class Steps:
    """A trial that has steps and nothing in them."""

    facts: ClassVar[dict[str, Any]] = {}

    def __init__(self, count: int) -> None:
        self._count = count

    def steps(self, mode: str = "GLOBAL") -> list[int]:
        return [number * 10 for number in range(self._count)]


class Scripted(Rule):
    """Says what a function says of each step."""

    @dataclass(frozen=True)
    class Parameters:
        threshold: float = 0.5

    name = "Scripted"
    needs = 3
    meaning = "It was told to."
    advice = "Tell it otherwise."
    wants = "anything"

    def __init__(self, say: Callable[[int], list[Finding]]) -> None:
        super().__init__(self.Parameters())
        self._say = say
        self.asked: list[int] = []

    def check(self, trial: object, step: int) -> list[Finding]:
        self.asked.append(step)
        self._see(step)
        return self._say(step)

    def check_waiting(self, *, idle_s: float) -> list[Finding]:
        return self._say(-1) if idle_s > 60 else []

    def summary(self, trial: object) -> list[Check]:
        return [Check("first half", "ok", "nothing there"), Check("second half", "moot", "not asked")]


def finding(step: int, value: float = 1.0) -> Finding:
    return Finding(step // 2, "TRAIN", "gradient/x", "mean", value, 0.5, f"x is 1 at TRAIN step {step // 2}.")


def silent(step: int) -> list[Finding]:
    return []


def test_a_rule_that_found_nothing_says_how_much_it_looked_at() -> None:
    report = evaluate(Steps(5), Scripted(silent))
    assert (report.status, report.details) == ("NoIssuesFound", "looked at 5 steps")
    assert (report.steps_seen, report.steps_needed, report.too_few, report.violations) == (5, 3, False, 0)
    assert report.parameters == {"threshold": 0.5}
    assert [check["outcome"] for check in report.checks] == ["ok", "moot"]


def test_a_rule_that_saw_too_little_says_that_nothing_can_be_said() -> None:
    report = evaluate(Steps(1), Scripted(silent))
    assert report.details == "looked at 1 step, needs 3: nothing can be said"
    assert report.too_few


def test_a_rule_that_fired_speaks_as_aws_does_and_goes_on_counting() -> None:
    rule = Scripted(lambda step: [finding(step)] if step >= 20 else [])
    report = evaluate(Steps(5), rule, name="mine")
    assert (report.name, report.rule, report.status, report.violations) == ("mine", "Scripted", "IssuesFound", 3)
    assert report.details == (
        "RuleEvaluationConditionMet: Evaluation of the rule Scripted at step 20 resulted in the condition being met. "
        "First: x is 1 at TRAIN step 10. Found 3 times; looked at 5 steps"
    )
    assert [found["step"] for found in report.findings] == [10, 15, 20]
    assert not evaluate(Steps(1), Scripted(lambda step: [finding(step)])).too_few


def test_only_the_first_hundred_findings_are_kept_and_all_are_counted() -> None:
    report = evaluate(Steps(50), Scripted(lambda step: [finding(step)] * 7))
    assert (len(report.findings), report.violations) == (100, 350)


def test_a_rule_that_raises_is_an_error_with_its_reason_and_keeps_what_it_found() -> None:
    def say(step: int) -> list[Finding]:
        if step == 20:
            raise ValueError("no such layer")
        return [finding(step)]

    rule = Scripted(say)
    report = evaluate(Steps(5), rule)
    assert (report.status, report.details) == ("Error", "The rule failed at step 20: ValueError: no such layer")
    assert (report.violations, rule.asked) == (2, [0, 10, 20])


def test_an_error_of_ours_is_said_without_its_class() -> None:
    def say(step: int) -> list[Finding]:
        raise ContractError("The tensors are garbled.")

    assert evaluate(Steps(1), Scripted(say)).details == "The rule failed at step 0: The tensors are garbled."


def test_a_summary_that_raises_is_an_error_too() -> None:
    class Broken(Scripted):
        def summary(self, trial: object) -> list[Check]:
            raise KeyError("fc")

    assert evaluate(Steps(3), Broken(silent)).details == "The rule failed in its summary: KeyError: 'fc'"


def test_a_range_of_steps_is_kept_to() -> None:
    rule = Scripted(silent)
    evaluate(Steps(6), rule, start_step=10, end_step=40)
    assert rule.asked == [10, 20, 30]


def test_an_evaluation_that_was_stopped_says_so_unless_it_had_fired() -> None:
    trial = Steps(2)
    for say, status in ((silent, "Stopped"), (lambda step: [finding(step)], "IssuesFound")):
        evaluation = Evaluation(Scripted(say))
        for step in trial.steps():
            evaluation.look(trial, step)
        assert evaluation.report().details.startswith("so far" if say is silent else "RuleEvaluation")
        evaluation.settle(trial, is_complete=False)
        assert evaluation.report().status == status
    quiet = Evaluation(Scripted(silent))
    quiet.settle(trial, is_complete=False)
    assert quiet.report().details.startswith("stopped before the training ended; looked at 0 steps")


@pytest.mark.parametrize("trial", [None, Steps(0)])
def test_a_training_that_saved_nothing_is_no_success(trial: Steps | None) -> None:
    evaluation = Evaluation(Scripted(silent))
    evaluation.settle(trial, is_complete=True)
    report = evaluation.report()
    assert report.status == "Error"
    assert report.details.startswith("ClientError: No debugging data was saved by the training job. Give it a")


def test_a_rule_may_find_that_no_step_comes() -> None:
    evaluation = Evaluation(Scripted(lambda step: [finding(step)] if step == -1 else []))
    evaluation.look(Steps(2), 10)
    evaluation.look_while_waiting(30)
    assert evaluation.report().status == "InProgress"
    evaluation.look_while_waiting(90)
    assert "at step 10 resulted in" in evaluation.report().details


def test_a_report_is_json_within_the_limits_of_describe() -> None:
    odd = [{"step": np.int64(3), "value": float("nan"), "threshold": float("-inf"), "tensor": None, "mode": "EVAL"}]
    report = RuleReport("a", "A", "Error", "x" * 3000, findings=odd, parameters={"p": ("a", "b"), "q": np.float32(0.5)})
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["StatusDetails"] == "x" * 1021 + "..."
    assert content["findings"] == [{"step": 3, "value": "nan", "threshold": "-inf", "tensor": None, "mode": "EVAL"}]
    assert content["parameters"] == {"p": ["a", "b"], "q": 0.5}
    assert content["kind"] == "debug"


def test_a_file_is_written_only_when_something_has_changed(tmp_path: Path) -> None:
    file = RuleFile(tmp_path / "rules", "a")
    report = RuleReport("a", "A", "InProgress", "so far", parameters={"p": ("a",)})
    file.write(report.to_json())
    first = file.path.stat().st_mtime_ns, file.path.stat().st_ino
    file.write(report.to_json())
    assert (file.path.stat().st_mtime_ns, file.path.stat().st_ino) == first
    file.write(RuleReport("a", "A", "Stopped", "so far", parameters={"p": ("a",)}).to_json())
    assert json.loads(file.path.read_text())["RuleEvaluationStatus"] == "Stopped"
    assert [path.name for path in file.path.parent.iterdir()] == ["a.json"]
