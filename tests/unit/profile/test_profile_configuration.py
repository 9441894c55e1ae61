"""ProfilerRuleConfigurations read: what the SDK sends, and what is refused with which words."""

import io
import json
import sys
from typing import Any

import pytest
from smdebug_rulesconfig import profiler_rules
from smdebug_rulesconfig.profiler_rules import rules as awss

from kennel.errors import UserError
from kennel.profile import configuration
from kennel.profile.configuration import check_rules, read_rule
from kennel.profile.rules import RULES, build_rule, build_rules
from kennel.profile.rules.parameters import Common

AWS_RULES = [name for name in RULES if hasattr(awss, name)]
# Source / guide differ (spec C5): the guide's, where the SDK's own object says nothing of it.
GUIDE = {
    "BatchSize": {"patience": 100},
    "CPUBottleneck": {"patience": 100},
    "IOBottleneck": {"patience": 100, "gpu_threshold": 70},
    "GPUMemoryIncrease": {"increase": 10, "patience": 100, "window": 500},
    "LoadBalancing": {"patience": 10},
    "StepOutlier": {"stddev": 5},
}


def entry(rule: str, **parameters: object) -> dict[str, Any]:
    given = {key: str(value) for key, value in parameters.items()}
    return {"RuleConfigurationName": rule, "RuleParameters": {"rule_to_invoke": rule} | given}


def refusal(given: dict[str, Any]) -> str:
    (problem,) = check_rules([given])
    assert problem is not None
    return problem


@pytest.mark.parametrize("name", AWS_RULES)
def test_what_the_sdk_sends_is_read(name: str) -> None:
    sent = getattr(awss, name)().rule_parameters
    (rule,) = read_rule({"RuleConfigurationName": name, "RuleParameters": sent}).build()
    for key, value in sent.items():
        if key != "rule_to_invoke":
            assert getattr(rule.parameters, key) == value, key


@pytest.mark.parametrize("name", AWS_RULES)
def test_defaults_are_the_guides(name: str) -> None:
    sent = {key: value for key, value in getattr(awss, name)().rule_parameters.items() if key != "rule_to_invoke"}
    rule = build_rule(name, {})
    assert {key: getattr(rule.parameters, key) for key in sent} == sent | GUIDE.get(name, {})


def test_every_rule_of_the_sdk_is_known() -> None:
    known = {name for name in dir(profiler_rules) if isinstance(getattr(profiler_rules, name), type)}
    assert known - set(RULES) - {"ProfilerReport", "ProfilerRuleBase"} == set()


def test_the_report_gives_each_rule_its_parameters() -> None:
    sent = awss.ProfilerReport(CPUBottleneck_threshold=90, stepoutlier_n_outliers=3).rule_parameters
    order = read_rule({"RuleConfigurationName": "ProfilerReport-1", "RuleParameters": sent})
    rules = {rule.name: rule.parameters for rule in order.build()}
    assert set(rules) == set(RULES)
    assert rules["CPUBottleneck"].threshold == 90
    assert rules["StepOutlier"].n_outliers == 3
    assert rules["BatchSize"] == build_rule("BatchSize", {}).parameters


@pytest.mark.parametrize(
    ("rule", "parameters", "said"),
    [
        ("CPUBottleneck", {"treshold": 9}, "no parameter 'treshold' (its value is '9').* Did you mean threshold"),
        (
            "CPUBottleneck",
            {"threshold": "high"},
            "parameter threshold has the value 'high'.*of at least 0 and at most 100",
        ),
        ("CPUBottleneck", {"threshold": 101}, "value '101'.*at most 100"),
        ("CPUBottleneck", {"patience": 2.5}, "patience has the value '2.5'. Expected a whole number above 0"),
        ("CPUBottleneck", {"threshold": "nan"}, "value 'nan'"),
        ("CPUBottleneck", {"patience": "inf"}, "value 'inf'"),
        ("StepOutlier", {"mode": "PREDICT"}, "mode has the value 'PREDICT'. Expected TRAIN, EVAL or None"),
        ("StepOutlier", {"stddev": 0}, "a number above 0"),
        ("Overfit", {}, "no profiler rule 'Overfit'. Known are: BatchSize"),
        ("ProfilerReport", {"CPUBottleneck": 3}, "no parameter 'CPUBottleneck'.*Expected <Rule>_<parameter>"),
        ("ProfilerReport", {"Nothing_threshold": 3}, "no parameter 'Nothing_threshold'"),
        ("ProfilerReport", {"StepOutlier_sigma": 3}, "StepOutlier: there is no parameter 'sigma'"),
    ],
)
def test_a_refusal_names_rule_key_value_and_what_is_allowed(
    rule: str, parameters: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(").replace(")", r"\)")):
        build_rules(rule, {key: str(value) for key, value in parameters.items()})
    assert refusal(entry(rule, **parameters)).startswith(f"Rule configuration '{rule}': ")


@pytest.mark.parametrize("name", [None, "", "../rules", "a/b", "rules", ".hidden", "x" * 201, 7])
def test_a_name_that_is_no_file_name_is_refused(name: object) -> None:
    assert "RuleConfigurationName is" in refusal(entry("BatchSize") | {"RuleConfigurationName": name})


def test_an_entry_without_a_rule_is_refused() -> None:
    assert "lacks 'rule_to_invoke'" in refusal({"RuleConfigurationName": "x", "RuleParameters": None})
    assert "RuleParameters is [1]" in refusal({"RuleConfigurationName": "x", "RuleParameters": [1]})


def test_the_process_answers_for_each_entry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [entry("BatchSize"), entry("BatchSize"), entry("StepOutlier", stddev="x")]
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(entries)))
    assert configuration.main() == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["rule"] for answer in answers] == ["BatchSize", "BatchSize", "StepOutlier"]
    assert answers[0] == {
        "RuleConfigurationName": "BatchSize",
        "rule": "BatchSize",
        "is_custom": False,
        "error": None,
    }
    assert "is there twice" in answers[1]["error"]
    assert "stddev has the value 'x'" in answers[2]["error"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", "nonsense"])
def test_the_process_refuses_what_is_no_list(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert configuration.main() == 2
    assert "standard input" in capsys.readouterr().err


def test_every_parameter_has_a_range_that_its_default_keeps() -> None:
    for name, rule in RULES.items():
        assert issubclass(rule.Parameters, Common)
        parameters = build_rule(name, {}).parameters
        again = build_rule(name, {key: str(value) for key, value in vars(parameters).items()})
        assert again.parameters == parameters
