"""Debugging output on its way to S3, the folders and names of a job's rules, and their statuses."""

from pathlib import Path
from typing import Any

import pytest

from kennel.local.debug_layout import debug_layout, first_statuses, orders_of, output_places, processing_job_name
from kennel.local.faults import ApiError
from kennel.local.growing_output import GrowingOutput
from kennel.local.storage import S3Address


class Announced:
    """What stands for the local S3: the files that were announced, in order."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def announce(self, address: S3Address, path: Path) -> None:
        assert path.is_file()
        self.keys.append(address.key)


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_only_whole_files_are_brought_and_an_index_after_what_it_names(tmp_path: Path) -> None:
    objects = Announced()
    output = GrowingOutput(objects)  # type: ignore[arg-type]
    for name in ("index/0/a.json", "events/0/a.tfevents", "events/1/b.tfevents.tmp", ".kennel.json.part"):
        write(tmp_path / name)
    output.bring([(tmp_path, S3Address("b", "job/debug-output"))])
    assert objects.keys == ["job/debug-output/events/0/a.tfevents", "job/debug-output/index/0/a.json"]


def test_only_what_has_changed_is_brought_again(tmp_path: Path) -> None:
    objects = Announced()
    output = GrowingOutput(objects)  # type: ignore[arg-type]
    write(tmp_path / "a")
    write(tmp_path / "b")
    output.bring([(tmp_path, S3Address("b", "k"))])
    write(tmp_path / "b", "longer")
    output.bring([(tmp_path, S3Address("b", "k")), (tmp_path / "none", S3Address("b", "n"))])
    assert objects.keys == ["k/a", "k/b", "k/b"]


def test_a_single_file_is_brought_to_its_own_address(tmp_path: Path) -> None:
    objects = Announced()
    write(tmp_path / "rule.json")
    output = GrowingOutput(objects)  # type: ignore[arg-type]
    output.bring([(tmp_path / "rule.json", S3Address("b", "rules/rule.json"))])
    assert objects.keys == ["rules/rule.json"]


def test_a_folder_gets_what_has_changed_too(tmp_path: Path) -> None:
    write(tmp_path / "from" / "a")
    output = GrowingOutput(Announced())  # type: ignore[arg-type]
    output.bring([(tmp_path / "from", tmp_path / "to")])
    (tmp_path / "from" / "a").unlink()
    write(tmp_path / "from" / "a", "new and longer")
    output.bring([(tmp_path / "from", tmp_path / "to")])
    assert (tmp_path / "to" / "a").read_text() == "new and longer"


REQUEST: dict[str, Any] = {
    "TrainingJobName": "job",
    "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
    "DebugHookConfig": {"S3OutputPath": "s3://b/debug/", "LocalPath": "/opt/ml/output/mine"},
    "ProfilerConfig": {"S3OutputPath": "file:///profiles"},
    "DebugRuleConfigurations": [{"RuleConfigurationName": "one"}],
    "ProfilerRuleConfigurations": [{"RuleConfigurationName": "two", "S3OutputPath": "s3://b/elsewhere"}],
}


def test_output_goes_where_sagemaker_puts_it(tmp_path: Path) -> None:
    layout = debug_layout(tmp_path, REQUEST)
    places = {folder.relative_to(tmp_path): address for folder, address in output_places(layout, REQUEST)}
    assert places == {
        Path("ml/output/mine"): S3Address("b", "debug/job/debug-output"),
        Path("ml/output/profiler"): Path("/profiles/job/profiler-output"),
        Path("rule-output/one"): S3Address("b", "out/job/rule-output/one"),
        Path("rules/one.json"): S3Address("b", "out/job/rule-output/one/one.json"),
        Path("rule-output/two"): S3Address("b", "elsewhere/job/rule-output/two"),
        Path("rules/two.json"): S3Address("b", "elsewhere/job/rule-output/two/two.json"),
    }


def test_orders_name_the_folders_and_the_rules(tmp_path: Path) -> None:
    orders = orders_of(debug_layout(tmp_path, REQUEST), REQUEST, {"one": tmp_path / "mine.py"})
    assert orders["tensors"] == str(tmp_path / "ml" / "output" / "mine")
    assert orders["rules_dir"] == str(tmp_path / "rules")
    assert orders["debug_rules"] == REQUEST["DebugRuleConfigurations"]
    assert orders["custom_sources"] == {"one": str(tmp_path / "mine.py")}


def test_a_hook_outside_opt_ml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="'/data' at 'debugHookConfig.localPath' cannot be used"):
        debug_layout(tmp_path, {"DebugHookConfig": {"LocalPath": "/data"}})


def test_a_rule_is_in_progress_at_first_and_has_a_processing_job(tmp_path: Path) -> None:
    statuses = first_statuses("job", REQUEST, 5.0)
    assert statuses["ProfilingStatus"] == "Enabled"
    [status] = statuses["DebugRuleEvaluationStatuses"]
    assert (status["RuleEvaluationStatus"], status["LastModifiedTime"]) == ("InProgress", 5.0)
    assert first_statuses("job", {}, 5.0) == {"ProfilingStatus": "Disabled"}


@pytest.mark.parametrize("rule", ["Overfit", "my rule: 2", "x" * 200, "..."])
def test_a_processing_job_has_a_legal_name_of_its_own(rule: str) -> None:
    name = processing_job_name("a" * 63, rule)
    assert len(name) <= 63 and name.replace("-", "a").isalnum() and "--" not in name
    assert name != processing_job_name("a" * 63, rule + "!")
