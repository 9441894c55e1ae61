"""Hook, profiler and rules as the SDK's objects, and what a person is told of rules."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from kennel.errors import UserError
from kennel.launch.debugging import Debugging, estimator_arguments, from_file, recommended
from kennel.launch.watching.rule_lines import RuleLines, rules_table

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own, at import
    import sagemaker.debugger  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own


def request_of(debugging: Debugging, folder: Path = Path()) -> dict[str, Any]:
    """What the SDK would send of it, at the job's start."""
    arguments = estimator_arguments(debugging)
    hook = arguments["debugger_hook_config"]
    hook.s3_output_path = "s3://b/"
    sent = {"hook": hook._to_request_dict(), "profiler": arguments["profiler_config"]._to_request_dict()}
    for rule in arguments["rules"]:
        if hasattr(rule, "prepare_actions"):
            rule.prepare_actions("job")
            assert not rule.collection_configs
            sent[rule.name] = rule.to_debugger_rule_config_dict()
        else:
            sent[rule.name] = rule.to_profiler_rule_config_dict()
    return sent


def test_without_debugging_the_sdk_is_told_that_there_is_none() -> None:
    assert estimator_arguments(None) == {"debugger_hook_config": False, "disable_profiler": True}


def test_recommended_rules_leave_what_is_saved_to_the_hook() -> None:
    sent = request_of(recommended({"Overfit": {"patience": "2"}, "DeadRelu": {}}))
    assert sent["hook"] == {"S3OutputPath": "s3://b/"}
    assert sent["profiler"]["ProfilingIntervalInMilliseconds"] == 500
    assert sent["Overfit"]["RuleParameters"] == {"rule_to_invoke": "Overfit", "patience": "2"}
    assert sent["ProfilerReport"]["RuleParameters"] == {"rule_to_invoke": "ProfilerReport"}


def test_a_file_keeps_its_hook_actions_and_parameters(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    actions = '[{"name": "StopTraining"}]'
    rules = [
        {
            "RuleConfigurationName": "mine",
            "RuleParameters": {"rule_to_invoke": "Overfit", "patience": 3, "action_json": actions},
        }
    ]
    collections = [{"CollectionName": "losses", "CollectionParameters": {"save_interval": 5}}]
    hook = {"HookParameters": {"train.save_interval": 10}, "CollectionConfigurations": collections}
    path.write_text(json.dumps({"DebugRuleConfigurations": rules, "DebugHookConfig": hook}))
    sent = request_of(from_file(path, rules, []))
    assert sent["mine"]["RuleParameters"] == {"rule_to_invoke": "Overfit", "patience": "3", "action_json": actions}
    assert sent["hook"]["HookParameters"] == {"train.save_interval": "10"}


def test_a_custom_rule_is_found_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    rule = {"RuleConfigurationName": "a", "RuleParameters": {"rule_to_invoke": "R", "source_s3_uri": "mine.py"}}
    path.write_text(json.dumps([rule]))
    with pytest.raises(UserError, match="Rule 'a': its source_s3_uri 'mine.py' is neither an s3:// address nor a file"):
        from_file(path, [rule], [])
    (tmp_path / "mine.py").write_text("")
    [read] = from_file(path, [rule], []).debug_rules
    assert read["RuleParameters"]["source_s3_uri"] == str(tmp_path / "mine.py")


def description(**states: str) -> dict[str, Any]:
    return {
        "TrainingJobName": "job",
        "DebugRuleEvaluationStatuses": [
            {
                "RuleConfigurationName": name,
                "RuleEvaluationStatus": state,
                "StatusDetails": f"RuleEvaluationConditionMet: it met it. First: {name} is too high",
            }
            for name, state in states.items()
        ],
    }


def test_a_rule_that_fires_is_told_once_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENNEL_RUNS", str(tmp_path))
    (tmp_path / "job" / "rules").mkdir(parents=True)
    (tmp_path / "job" / "rules" / "Loss.json").write_text('{"remedy": "Lower it."}')
    lines = RuleLines()
    assert list(lines.new(description(Loss="InProgress"))) == []
    assert list(lines.new(description(Loss="IssuesFound"))) == [
        "rule Loss fired: Loss is too high\n  what to do: Lower it."
    ]
    assert list(lines.new(description(Loss="IssuesFound", Other="Error"))) == ["rule Other failed: Other is too high"]


def test_the_table_has_those_that_fired_first() -> None:
    table = rules_table(description(Calm="NoIssuesFound", Loud="IssuesFound")).splitlines()
    assert table[0] == "rules"
    assert table[1] == "  Loud  IssuesFound    Loud is too high"
    assert table[2].startswith("  Calm  NoIssuesFound")
    assert rules_table({"TrainingJobName": "job"}) == ""
