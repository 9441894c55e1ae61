"""ParameterRanges as numbers, and what is wrong with those that cannot be searched."""

import math
from typing import Any

import pytest

from kennel.local.faults import ApiError
from kennel.local.tuning_ranges import Range, read_ranges


def continuous(low: str, high: str, scaling: str = "Auto", name: str = "lr") -> dict[str, Any]:
    return {
        "ContinuousParameterRanges": [{"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scaling}],
    }


def integer(low: str, high: str, scaling: str = "Auto", name: str = "batch-size") -> dict[str, Any]:
    return {"IntegerParameterRanges": [{"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scaling}]}


def categorical(*values: str, name: str = "optimizer") -> dict[str, Any]:
    return {"CategoricalParameterRanges": [{"Name": name, "Values": list(values)}]}


def test_ranges_of_every_kind_are_read() -> None:
    given = {**integer("16", "64", "Linear"), **categorical('"adam"', '"sgd"'), **continuous("1e-4", ".1")}
    assert read_ranges(given) == (
        Range("lr", "continuous", 0.0001, 0.1),
        Range("batch-size", "integer", 16, 64, scaling="Linear"),
        Range("optimizer", "categorical", values=('"adam"', '"sgd"')),
    )


def test_scaling_that_is_not_given_is_auto() -> None:
    [lr] = read_ranges({"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0", "MaxValue": "1"}]})
    assert (lr.scaling, lr.low, lr.high) == ("Auto", 0.0, 1.0)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (continuous("0", "1"), math.inf),
        (continuous("0.5", "0.5"), 1),
        (integer("-2", "+3"), 6),
        (integer("4", "4"), 1),
        (categorical("a", "b", "c"), 3),
    ],
)
def test_size_is_the_number_of_values(given: dict[str, Any], size: float) -> None:
    assert [each.size for each in read_ranges(given)] == [size]


@pytest.mark.parametrize(
    "given",
    [
        continuous("0.0001", "0.1", "Logarithmic"),
        continuous("0", "0.999", "ReverseLogarithmic"),
        continuous("-1", "1", "Linear"),
        integer("1", "1024", "Logarithmic"),
        integer("0", "8", "Auto"),
    ],
)
def test_scaling_within_its_bounds_passes(given: dict[str, Any]) -> None:
    assert len(read_ranges(given)) == 1


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            continuous("0", "0.1", "Logarithmic"),
            "'lr' is invalid: ScalingType 'Logarithmic' needs values greater than 0, and MinValue is 0.0. Raise",
        ),
        (integer("0", "4", "Logarithmic"), "'batch-size' is invalid: ScalingType 'Logarithmic' needs values greater"),
        (
            integer("1", "4", "ReverseLogarithmic"),
            "'batch-size' is invalid: ScalingType 'ReverseLogarithmic' is for continuous ranges only. Use 'Linear'.",
        ),
        (
            continuous("0.5", "1", "ReverseLogarithmic"),
            "'lr' is invalid: ScalingType 'ReverseLogarithmic' needs a range within 0 <= x < 1.0, and this one is 0.5",
        ),
        (continuous("-0.5", "0.9", "ReverseLogarithmic"), "needs a range within 0 <= x < 1.0, and this one is -0.5 to"),
        (continuous("1e-2", "1e-4"), "'lr' is invalid: MinValue 1e-2 is greater than MaxValue 1e-4. Exchange the two."),
        (integer("1.5", "4"), "MinValue '1.5' of its integer range is not a whole number such as 16."),
        (integer("1", "1e3"), "MaxValue '1e3' of its integer range is not a whole number such as 16."),
        (continuous("low", "1"), "MinValue 'low' of its continuous range is not a number such as 0.01."),
        (continuous("0", "nan"), "MaxValue 'nan' of its continuous range is not a number"),
        (continuous("0", "1e999"), "MaxValue '1e999' of its continuous range is not a number"),
        (continuous("0", ""), "MaxValue '' of its continuous range is not a number"),
        (continuous("0", "1", name=""), "A range in ParameterRanges has the empty name ''."),
        (categorical("a", "b", "a"), "'optimizer' is invalid: the value 'a' is in its Values 2 times. Keep one"),
        (
            {**continuous("0", "1"), **integer("1", "2", name="lr")},
            "The hyperparameter 'lr' has 2 ranges in ParameterRanges. Keep one of them.",
        ),
        (
            {"AutoParameters": [{"Name": "lr", "ValueHint": "0.1"}]},
            "AutoParameters ('lr') belong to Autotune, which the local SageMaker does not have.",
        ),
        (
            {"CategoricalParameterRanges": [{"Name": f"n{number}", "Values": ["a"]} for number in range(31)]},
            "ParameterRanges has 31 hyperparameters; a tuning job searches at most 30.",
        ),
    ],
)
def test_range_that_cannot_be_searched_is_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_ranges(given)
    assert fault in caught.value.message
