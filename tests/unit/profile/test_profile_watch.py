"""The evaluator beside a job, in this process: what it writes, and when."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_samples import cpu, gpu, steady, write_samples
from profiled_training import train

from kennel.errors import ContractError
from kennel.profile.evaluation import evaluate_profiler
from kennel.profile.rules import RULES
from kennel.profile.rules.gpu import LowGPUUtilization
from kennel.profile.watch import Watch
from kennel.rule_files import END_FILE, read_orders_json, write_json

AWS_KEYS = ["RuleTriggered", "Violations", "Details", "Datapoints", "RuleParameters"]
KEYS = {
    *("RuleConfigurationName", "RuleName", "kind", "RuleEvaluationStatus", "StatusDetails", "LastModifiedTime"),
    *("parameters", "steps_seen", "steps_needed", "too_few", "checks", "findings", "violations", "datapoints"),
    *("meaning", "remedy", "stop_training", "actions"),
}


def orders(folder: Path, *rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "job_name": "job",
        "profiler": str(folder / "profiler"),
        "rules_dir": str(folder / "rules"),
        "rule_output": str(folder / "rule-output"),
        "profiler_rules": list(rules),
    }


def rule(name: str, **parameters: str) -> dict[str, Any]:
    return {"RuleConfigurationName": f"My{name}", "RuleParameters": {"rule_to_invoke": name} | parameters}


def end(folder: Path) -> None:
    path = folder / "profiler" / "system" / END_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def looks(*actions: Callable[[], None]) -> Callable[[float], bool]:
    """Does one thing at every look; says that it is to end when there is none left."""
    left = list(actions)

    def is_ended(seconds: float) -> bool:
        if not left:
            return True
        left.pop(0)()
        return False

    return is_ended


def written(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "rules" / f"My{name}.json").read_text())
    return found


def nothing() -> None:
    pass


def test_rules_are_in_progress_until_the_training_has_ended(tmp_path: Path) -> None:
    seen: list[str] = []

    def look() -> None:
        seen.append(written(tmp_path, "CPUBottleneck")["RuleEvaluationStatus"])
        end(tmp_path)

    write_samples(tmp_path / "profiler", {gpu(0): steady(90), cpu(0): steady(50)}, count=300)
    Watch(orders(tmp_path, rule("CPUBottleneck"))).run(looks(nothing, look))
    assert seen == ["InProgress"]
    found = written(tmp_path, "CPUBottleneck")
    assert found["RuleEvaluationStatus"] == "NoIssuesFound"
    assert KEYS <= found.keys()
    assert found["kind"] == "profiler"
    assert "looked at 300 samples" in found["StatusDetails"]


def test_what_came_in_the_meantime_is_looked_at_at_the_end(tmp_path: Path) -> None:
    def finish() -> None:
        write_samples(tmp_path / "profiler", {gpu(0): steady(5), cpu(0): steady(99)}, count=300)
        end(tmp_path)

    Watch(orders(tmp_path, rule("CPUBottleneck"))).run(looks(nothing, finish))
    assert written(tmp_path, "CPUBottleneck")["RuleEvaluationStatus"] == "IssuesFound"


def test_a_rule_that_is_stopped_says_so_unless_it_has_fired(tmp_path: Path) -> None:
    write_samples(tmp_path / "profiler", {gpu(0): steady(5), cpu(0): steady(99)}, count=300)
    Watch(orders(tmp_path, rule("CPUBottleneck"), rule("StepOutlier"))).run(looks(nothing))
    assert written(tmp_path, "CPUBottleneck")["RuleEvaluationStatus"] == "IssuesFound"
    assert written(tmp_path, "StepOutlier")["RuleEvaluationStatus"] == "Stopped"


def test_results_are_in_sagemakers_form_and_place(tmp_path: Path) -> None:
    write_samples(tmp_path / "profiler", {gpu(0): steady(5), cpu(0): steady(99)}, count=300)
    end(tmp_path)
    Watch(orders(tmp_path, rule("ProfilerReport", CPUBottleneck_threshold="40"))).run(looks(nothing))
    folder = tmp_path / "rule-output" / "MyProfilerReport" / "profiler-output" / "profiler-reports"
    assert {path.stem for path in folder.iterdir()} == set(RULES)
    result = json.loads((folder / "CPUBottleneck.json").read_text())
    assert list(result) == AWS_KEYS
    assert result["RuleTriggered"] == result["Violations"] == 1
    assert result["Datapoints"] == 300
    assert "threshold:40.0\n" in result["RuleParameters"]


def test_the_report_nests_its_rules(tmp_path: Path) -> None:
    write_samples(tmp_path / "profiler", {gpu(0): steady(5), cpu(0): steady(99)}, count=300)
    end(tmp_path)
    Watch(orders(tmp_path, rule("ProfilerReport"))).run(looks(nothing))
    found = written(tmp_path, "ProfilerReport")
    assert found["RuleEvaluationStatus"] == "IssuesFound"
    assert "fired: CPUBottleneck" in found["StatusDetails"]
    assert [each["RuleName"] for each in found["rules"]] == list(RULES)
    assert all(KEYS <= each.keys() for each in found["rules"])
    assert found["violations"] == sum(each["violations"] for each in found["rules"])


def test_the_report_of_a_machine_without_gpu_says_what_nothing_could_be_said_of(tmp_path: Path) -> None:
    train(tmp_path, epochs=1, steps=5)
    details = evaluate_profiler(tmp_path, "ProfilerReport", {})["StatusDetails"]
    assert "none of 9 rules fired" in details
    assert "too little was seen for Dataloader" in details
    assert "no GPU, or too few samples of one, for BatchSize, CPUBottleneck" in details


def test_a_file_is_written_again_only_when_something_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count: list[Path] = []
    real = write_json
    monkeypatch.setattr(
        "kennel.profile.watch.write_json", lambda path, content: (count.append(path), real(path, content))
    )
    monkeypatch.setattr("kennel.profile.watch._EVALUATE_S", 0.0)
    monkeypatch.setattr("kennel.profile.watch._SHARE", 1000.0)
    write_samples(tmp_path / "profiler", {cpu(0): steady(99)}, count=20)
    Watch(orders(tmp_path, rule("CPUBottleneck"))).run(looks(*[nothing] * 5))
    names = [path.name for path in count]
    assert names.count("CPUBottleneck.json") == 1
    assert names.count("MyCPUBottleneck.json") == 2  # the second says that it was stopped


def test_a_finished_training_without_an_end_marker_is_looked_at_once(tmp_path: Path) -> None:
    write_samples(tmp_path / "profiler", {gpu(0): steady(5), cpu(0): steady(99)}, count=300)
    Watch(orders(tmp_path, rule("CPUBottleneck"), rule("StepOutlier")), is_finished=True).run(looks(nothing))
    assert written(tmp_path, "CPUBottleneck")["RuleEvaluationStatus"] == "IssuesFound"
    assert written(tmp_path, "StepOutlier")["RuleEvaluationStatus"] == "NoIssuesFound"


def test_a_rule_that_fails_does_not_take_the_others_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, evidence: object) -> None:
        raise ZeroDivisionError("of nothing")

    monkeypatch.setattr(LowGPUUtilization, "judge", broken)
    end(tmp_path)
    Watch(orders(tmp_path, rule("LowGPUUtilization"), rule("StepOutlier"))).run(looks(nothing))
    found = written(tmp_path, "LowGPUUtilization")
    assert found["RuleEvaluationStatus"] == "Error"
    assert "InternalServerError: ZeroDivisionError: of nothing" in found["StatusDetails"]
    assert written(tmp_path, "StepOutlier")["RuleEvaluationStatus"] == "NoIssuesFound"


def test_a_rule_that_cannot_be_built_is_an_error(tmp_path: Path) -> None:
    end(tmp_path)
    Watch(orders(tmp_path, rule("StepOutlier", stddev="wide"))).run(looks(nothing))
    found = written(tmp_path, "StepOutlier")
    assert found["RuleEvaluationStatus"] == "Error"
    assert "stddev has the value 'wide'" in found["StatusDetails"]


def test_findings_beyond_the_first_hundred_are_counted(tmp_path: Path) -> None:
    write_samples(tmp_path, {gpu(0): steady(5)}, count=1500)
    found = evaluate_profiler(tmp_path, "LowGPUUtilization", {"window": "10", "patience": "10"})
    assert found["violations"] == 150
    assert len(found["findings"]) == 100


@pytest.mark.parametrize("text", ["", "[]", "7"])
def test_orders_that_cannot_be_read(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.json"
    path.write_text(text)
    with pytest.raises(ContractError, match="rules.json"):
        read_orders_json(path)
    with pytest.raises(ContractError, match="lack or garble 'profiler'"):
        Watch({"rules_dir": "x"})
