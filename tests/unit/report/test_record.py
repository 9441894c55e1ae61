import json
import shutil
from pathlib import Path

import pytest

from kennel.errors import UserError
from kennel.report.found_rules import found_rules
from kennel.report.record import read_run
from made_run import make_run


def test_a_run_is_read_from_its_folder(tmp_path: Path) -> None:
    record = read_run(make_run(tmp_path / "first", pictures=tmp_path / "pictures"))
    assert (record.name, record.status, record.best_epoch) == ("first", "Completed", 3)
    assert record.hyperparameters["lr"] == 0.001
    assert len(record.history) == 5
    assert len(record.predictions["test"]) == len(record.predictions["valid"]) == 40
    assert {rule["RuleName"] for rule in record.rules} == {"Overfit", "LossNotDecreasing", "DeadRelu"}
    assert record.channels == {"data": tmp_path / "pictures"}
    assert record.system["samples"] == 320
    assert record.problems == []


def test_a_run_without_debugging_lacks_only_what_debugging_adds(tmp_path: Path) -> None:
    record = read_run(make_run(tmp_path / "plain", is_debugged=False))
    assert (record.rules, record.timeline, record.system, record.trial) == ([], {}, {}, None)
    assert record.evaluation


def test_a_failed_run_has_the_epochs_of_its_log_and_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "failed"
    folder.mkdir()
    job = {"TrainingJobName": "failed", "TrainingJobStatus": "Failed", "FailureReason": "DataError: no pictures"}
    job |= {"HyperParameters": {"lr": '"0.5"', "sagemaker_program": '"train.py"'}}
    (folder / "job.json").write_text(json.dumps({"description": job}))
    (folder / "log.txt").write_text(
        "epoch=1/9 train_loss=2.5 valid_loss=nan\nepoch=2/9 train_loss=1.5 valid_loss=3e-1\n"
    )
    record = read_run(folder)
    assert record.failure == "DataError: no pictures"
    assert [row["train_loss"] for row in record.history] == [2.5, 1.5]
    assert record.best_epoch == 2
    assert record.hyperparameters == {"lr": 0.5}
    assert record.evaluation is None


def test_the_settings_a_failed_training_printed_are_its_hyperparameters(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("settings lr=0.5 batch-size=32 weights=auto\nerror: x\n")
    assert read_run(tmp_path).hyperparameters == {"lr": 0.5, "batch-size": 32, "weights": "auto"}


def test_a_broken_file_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "broken")
    (folder / "ml/output/data/evaluation.json").write_text("{")
    (folder / "ml/output/data/history.json").write_text('{"not": "a list"}')
    record = read_run(folder)
    assert record.evaluation is None
    assert record.predictions
    said = "; ".join(record.problems)
    assert "evaluation.json is no JSON" in said
    assert "history.json holds a dict" in said


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        read_run(tmp_path)


def test_what_a_training_profiled_itself_is_found_among_its_results(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "own")
    shutil.move(folder / "ml/output/profiler", folder / "ml/output/data/profiler-output")
    shutil.move(folder / "ml/output/tensors", folder / "ml/output/data/debug-output")
    record = read_run(folder)
    assert record.timeline["readers"] == 2
    assert record.facts["version"] == 1


def test_rules_of_a_profiler_report_follow_it_and_findings_are_told_once() -> None:
    finding = {"step": 1, "message": "late"}
    inner = {"RuleConfigurationName": "Report", "RuleName": "StepOutlier", "findings": [finding]}
    report = {"RuleConfigurationName": "Report", "RuleName": "ProfilerReport", "findings": [finding], "rules": [inner]}
    found = found_rules([(Path("Report.json"), report)])
    assert [(rule["RuleName"], len(rule["findings"])) for rule in found] == [("ProfilerReport", 0), ("StepOutlier", 1)]


def test_the_newest_state_of_a_rule_counts() -> None:
    old = {
        "RuleConfigurationName": "R",
        "RuleName": "Overfit",
        "LastModifiedTime": 1,
        "RuleEvaluationStatus": "InProgress",
    }
    new = {**old, "LastModifiedTime": 2, "RuleEvaluationStatus": "NoIssuesFound"}
    for files in ((old, new), (new, old)):
        found = found_rules((Path(f"{number}.json"), each) for number, each in enumerate(files))
        assert [rule["RuleEvaluationStatus"] for rule in found] == ["NoIssuesFound"]


def test_sagemakers_own_profiler_results_are_read() -> None:
    result = {"RuleTriggered": 3, "Violations": 3, "Datapoints": 120, "RuleParameters": "threshold:50\npatience:100\n"}
    (rule,) = found_rules([(Path("rule-output/X/profiler-output/profiler-reports/CPUBottleneck.json"), result)])
    assert (rule["RuleName"], rule["RuleEvaluationStatus"], rule["violations"]) == ("CPUBottleneck", "IssuesFound", 3)
    assert rule["parameters"] == {"threshold": "50", "patience": "100"}
