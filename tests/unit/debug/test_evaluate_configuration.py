"""Entries of DebugRuleConfigurations: what is read from them, and what is refused when a job is created."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kennel.debug.actions import Action
from kennel.debug.configuration import check_rule, check_rules, read_rule, read_rules_file
from kennel.errors import UserError

SOURCE = "s3://bucket/job/rule/my_rule.py"


def entry(rule: str = "VanishingGradient", /, name: str = "vanishing", **parameters: object) -> dict[str, Any]:
    return {
        "RuleConfigurationName": name,
        "RuleEvaluatorImage": "DEFAULT_RULE_EVALUATOR_IMAGE",
        "RuleParameters": {"rule_to_invoke": rule, **parameters},
    }


def test_an_entry_is_read_with_its_parameters_steps_actions_and_trials() -> None:
    order = read_rule(
        entry(
            threshold="0.1",
            base_trial="s3://ignored",
            start_step="5",
            end_step="9",
            action_json='{"name": "StopTraining"}',
            other_trial_1="s3://b/1",
            other_trial_0="s3://b/0",
        )
    )
    assert (order.name, order.rule, dict(order.parameters)) == ("vanishing", "VanishingGradient", {"threshold": "0.1"})
    assert (order.start_step, order.end_step) == (5, 9)
    assert order.actions == (Action("stoptraining", {}),)
    assert order.other_trials == ("s3://b/0", "s3://b/1")
    assert not order.is_custom
    assert order.build().parameters.threshold == 0.1


def test_a_start_step_that_the_rule_knows_itself_stays_its_own() -> None:
    order = read_rule(entry("Overfit", start_step="5"))
    assert (order.start_step, dict(order.parameters)) == (0, {"start_step": "5"})


def test_a_stalled_trainings_own_switch_is_stop_training() -> None:
    order = read_rule(entry("StalledTrainingRule", stop_training_on_fire="True", training_job_name_prefix="first"))
    assert order.actions == (Action("stoptraining", {"training_job_prefix": "first"}),)


def test_what_the_sdk_sends_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
    from sagemaker.debugger import Rule, rule_configs

    actions = rule_configs.ActionList(rule_configs.StopTraining(), rule_configs.Email("me@example.org"))
    rule = Rule.sagemaker(rule_configs.overfit(), rule_parameters={"ratio_threshold": "0.3"}, actions=actions)
    rule.prepare_actions("first-1")
    sent = rule.to_debugger_rule_config_dict()
    check_rule(sent)
    assert [action.name for action in read_rule(sent).actions] == ["stoptraining", "email"]

    custom = Rule.custom("mine", "image", "ml.t3.medium", 30, source=SOURCE, rule_to_invoke="MyRule")
    check_rule(custom.to_debugger_rule_config_dict())
    assert read_rule(custom.to_debugger_rule_config_dict()).source == SOURCE


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (entry(name="../../etc"), "RuleConfigurationName is '../../etc'"),
        (entry(name="rules"), "RuleConfigurationName is 'rules'"),
        (entry(name="a\nb"), "RuleConfigurationName is 'a\\nb'"),
        ({"RuleConfigurationName": "x"}, "Rule configuration 'x': RuleParameters lacks 'rule_to_invoke'"),
        (entry("VanishingGradients"), "There is no rule 'VanishingGradients'"),
        (entry(treshold="1"), "there is no parameter 'treshold'"),
        (entry(threshold="low"), "parameter threshold has the value 'low'"),
        (entry(start_step="-1"), "'start_step' is '-1'. Expected a step"),
        (entry(start_step="9", end_step="9"), "'end_step' is 9, which is not above"),
        (entry(action_json="stop"), "action_json is 'stop', which is no JSON"),
        (entry(other_trial_0="s3://b/0"), "'VanishingGradient' compares no trials"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(refused: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_rule(refused)
    assert message in str(refusal.value)


def test_a_name_that_is_there_twice_is_refused() -> None:
    assert check_rules([entry(), entry()]) == [
        None,
        "RuleConfigurationName 'vanishing' is there twice. Give each rule its own.",
    ]


def test_the_process_answers_for_each_entry_without_torch() -> None:
    script = (
        "import sys\nfrom kennel.debug.configuration import main\nassert not main()\nassert 'torch' not in sys.modules"
    )
    asked = json.dumps([entry(), entry("Nothing"), entry("MyRule", name="mine", source_s3_uri=SOURCE)])
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], input=asked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [answer["error"] is None for answer in answers] == [True, False, True]
    assert [answer["is_custom"] for answer in answers] == [False, False, True]


def test_the_process_refuses_what_is_no_list() -> None:
    command = [sys.executable, "-P", "-m", "kennel.debug.configuration"]
    done = subprocess.run(command, input='{"a": 1}', capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds no list of DebugRuleConfigurations entries" in done.stderr


def test_a_rules_file_is_a_list_or_an_object(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_text(json.dumps([entry(threshold=0.5)]))
    assert read_rules_file(file).debug_rules == (entry(threshold=0.5),)
    file.write_text(json.dumps({"DebugRuleConfigurations": [entry()], "ProfilerRuleConfigurations": [{"a": 1}]}))
    assert read_rules_file(file).profiler_rules == ({"a": 1},)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "cannot be read"),
        ("{}", "holds no rules"),
        ('{"DebugRuleConfigurations": {}, "ProfilerRuleConfigurations": [1]}', "Expected a list of objects"),
        (json.dumps([entry("Nothing")]), "There is no rule 'Nothing'"),
    ],
)
def test_a_rules_file_that_holds_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "rules.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_rules_file(tmp_path / "rules.json")
