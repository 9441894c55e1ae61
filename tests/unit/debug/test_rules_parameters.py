"""Rules by name, and their parameters as SageMaker sends them."""

import dataclasses
import inspect
from typing import Any

import pytest
from smdebug_rulesconfig.debugger_rules import builtin_rules

from kennel.debug.rules import RECOMMENDED, RULES, build_rule
from kennel.errors import UserError

# The defaults of AWS's guide (debugger-built-in-rules), as a user would send them.
DEFAULTS: dict[str, dict[str, Any]] = {
    "AllZero": {"collection_names": None, "tensor_regex": None, "threshold": 100},
    "ClassImbalance": {
        "threshold_imbalance": 10,
        "threshold_misprediction": 0.7,
        "samples": 500,
        "argmax": False,
        "labels_regex": ".*labels",
        "predictions_regex": ".*predictions",
    },
    "Confusion": {
        "category_no": None,
        "labels": "labels",
        "predictions": "predictions",
        "labels_collection": "labels",
        "predictions_collection": "predictions",
        "min_diag": 0.9,
        "max_off_diag": 0.1,
    },
    "DeadRelu": {"tensor_regex": ".*relu_output", "threshold_inactivity": 1.0, "threshold_layer": 50.0},
    "ExplodingTensor": {"collection_names": None, "tensor_regex": None, "only_nan": False},
    "LossNotDecreasing": {
        "collection_names": None,
        "tensor_regex": None,
        "use_losses_collection": True,
        "num_steps": 10,
        "diff_percent": 0.1,
        "increase_threshold_percent": 5,
        "mode": None,
    },
    "Overfit": {"tensor_regex": None, "start_step": 0, "patience": 1, "ratio_threshold": 0.1},
    "Overtraining": {"patience_train": 5, "patience_validation": 10, "delta": 0.01},
    "PoorWeightInitialization": {
        "activation_inputs_regex": ".*relu_input",
        "threshold": 10.0,
        "distribution_range": 0.001,
        "patience": 5,
        "steps": 10,
    },
    "SaturatedActivation": {
        "collection_names": None,
        "tensor_regex": ".*tanh_input|.*sigmoid_input",
        "threshold_tanh_min": -9.4999,
        "threshold_tanh_max": 9.4999,
        "threshold_sigmoid_min": -23,
        "threshold_sigmoid_max": 16.99999,
        "threshold_inactivity": 1.0,
        "threshold_layer": 50.0,
    },
    "StalledTrainingRule": {"threshold": 1800, "stop_training_on_fire": False, "training_job_name_prefix": None},
    "TensorVariance": {"collection_names": None, "tensor_regex": None, "max_threshold": None, "min_threshold": None},
    "UnchangedTensor": {
        "collection_names": None,
        "tensor_regex": None,
        "num_steps": 3,
        "rtol": 1e-5,
        "atol": 1e-8,
        "equal_nan": False,
    },
    "VanishingGradient": {"threshold": 0.0000001},
    "WeightUpdateRatio": {"num_steps": None, "large_threshold": 10.0, "small_threshold": 1e-8, "epsilon": 1e-9},
}


def test_the_fifteen_rules_are_there() -> None:
    assert sorted(RULES) == sorted(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_rule_without_parameters_has_the_defaults_of_the_guide(name: str) -> None:
    """Sent as strings they read as the same values; and parameters of ours leave them as they are."""
    sent = {key: str(value) for key, value in DEFAULTS[name].items()}
    assert build_rule(name, sent).parameters == build_rule(name, {}).parameters


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_rule_says_what_it_means_and_what_to_do(name: str) -> None:
    rule = build_rule(name, {})
    assert len(rule.meaning) > 40 and len(rule.remedy) > 60
    assert rule.steps_needed >= 1 and rule.too_few and "nothing" in rule.account()


def test_what_the_sdk_sends_is_taken() -> None:
    configs = [make() for name, make in inspect.getmembers(builtin_rules, inspect.isfunction) if name[0] != "_"]
    configs = [config["DebugRuleConfiguration"] for config in configs if config and "DebugRuleConfiguration" in config]
    sent = {each["RuleParameters"]["rule_to_invoke"]: each["RuleParameters"] for each in configs}
    assert set(RULES) <= set(sent)
    for name in RULES:
        build_rule(name, sent[name] | {"base_trial": "job", "action_json": '[{"name": "stoptraining"}]'})


@pytest.mark.parametrize("name", RECOMMENDED)
def test_recommended_parameters_belong_to_their_rules(name: str) -> None:
    rule = build_rule(name, RECOMMENDED[name])
    changed = {
        key for key in RECOMMENDED[name] if getattr(rule.parameters, key) != getattr(RULES[name].Parameters(), key)
    }
    assert changed == set(RECOMMENDED[name]), "a parameter that is the default need not be given"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b", ("a", "b")),
        ("a, b", ("a", "b")),
        ("['a', 'b']", ("a", "b")),
        ('["a"]', ("a",)),
        ("None", ()),
        ("", ()),
        ("[Ll]oss_(?!input).*output,a{1,2}", ("[Ll]oss_(?!input).*output", "a{1,2}")),
        ("(a,b)|c", ("(a,b)|c",)),
    ],
)
def test_lists_of_expressions_are_read(text: str, expected: tuple[str, ...]) -> None:
    assert build_rule("AllZero", {"tensor_regex": text}).parameters.tensor_regex == expected


@pytest.mark.parametrize(
    ("name", "key", "text", "said"),
    [
        ("LossNotDecreasing", "num_stps", "10", "no parameter 'num_stps' (its value is '10')"),
        ("LossNotDecreasing", "num_stps", "10", "Did you mean num_steps?"),
        ("LossNotDecreasing", "num_stps", "10", "Known are: collection_names, tensor_regex, use_losses_collection"),
        ("LossNotDecreasing", "num_steps", "ten", "num_steps has the value 'ten': expected a number"),
        ("LossNotDecreasing", "num_steps", "1.5", "expected a whole number"),
        ("LossNotDecreasing", "num_steps", "0", "at least 1"),
        ("LossNotDecreasing", "diff_percent", "101", "at least 0 and at most 100"),
        ("LossNotDecreasing", "diff_percent", "nan", "expected a number"),
        ("LossNotDecreasing", "mode", "train", "one of EVAL, TRAIN, GLOBAL"),
        ("LossNotDecreasing", "use_losses_collection", "maybe", "expected True or False"),
        ("LossNotDecreasing", "tensor_regex", "(", "'(' is no regular expression"),
        ("VanishingGradient", "threshold", "None", "expected a number"),
        ("Confusion", "category_no", "1", "at least 2"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value(name: str, key: str, text: str, said: str) -> None:
    with pytest.raises(UserError) as raised:
        build_rule(name, {key: text})
    assert said in str(raised.value) and str(raised.value).startswith(f"{name}: ")


def test_an_unknown_rule_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="no rule 'Overfitting'. Known are: AllZero,.*Did you mean Overfit?"):
        build_rule("Overfitting", {})


def test_parameters_can_be_written_as_json() -> None:
    """dataclasses.asdict is what the evaluator stores."""
    stored = dataclasses.asdict(build_rule("AllZero", {"tensor_regex": "a,b"}).parameters)
    assert stored == {"collection_names": (), "tensor_regex": ("a", "b"), "threshold": 100.0}
