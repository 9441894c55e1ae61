"""The ranges a tuning job searches, read from SageMaker's ParameterRanges.

A value reaches a trial as a string, so do the ends of a range; here they become numbers, once and for all.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from kennel.local.faults import ApiError, invalid
from kennel.local.validation import Json

Kind = Literal["continuous", "integer", "categorical"]
Number = int | float
# The most ranges of one tuning job, over all kinds.
MOST_RANGES: Final = 30

_WHOLE: Final = re.compile(r"[-+]?[0-9]+")
_DECIMAL: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Range:
    """What one hyperparameter may be. low, high: the ends, both included, of a number; values: of a category.

    scaling: Auto, Linear, Logarithmic or ReverseLogarithmic; Auto for a category, which has none.
    """

    name: str
    kind: Kind
    low: Number | None = None
    high: Number | None = None
    values: tuple[str, ...] = ()
    scaling: str = "Auto"

    @property
    def size(self) -> float:
        """How many different values there are; infinite for a continuous range."""
        if self.kind == "categorical":
            return len(self.values)
        if self.low is None or self.high is None or (self.kind == "continuous" and self.low < self.high):
            return math.inf
        return self.high - self.low + 1


def read_ranges(parameter_ranges: Json) -> tuple[Range, ...]:
    """The ranges of a ParameterRanges structure: continuous ones first, then whole numbers, then categories.

    Raises ApiError for a range that cannot be searched, and for a name that two ranges have.
    """
    if automatic := parameter_ranges.get("AutoParameters"):
        raise invalid(
            f"AutoParameters ('{automatic[0]['Name']}') belong to Autotune, which the local SageMaker does not have. "
            "Give the hyperparameter a range in ContinuousParameterRanges, IntegerParameterRanges or "
            "CategoricalParameterRanges."
        )
    ranges = (
        *(_numeric(each, "continuous", _decimal) for each in parameter_ranges.get("ContinuousParameterRanges", [])),
        *(_numeric(each, "integer", _whole) for each in parameter_ranges.get("IntegerParameterRanges", [])),
        *(_categorical(each) for each in parameter_ranges.get("CategoricalParameterRanges", [])),
    )
    _check_names([each.name for each in ranges])
    return ranges


def _check_names(names: list[str]) -> None:
    if len(names) > MOST_RANGES:
        raise invalid(
            f"ParameterRanges has {len(names)} hyperparameters; a tuning job searches at most {MOST_RANGES}. "
            "Make the others static."
        )
    for name in names:
        if not name:
            raise invalid("A range in ParameterRanges has the empty name ''. Give it the hyperparameter's name.")
        if names.count(name) > 1:
            raise invalid(
                f"The hyperparameter '{name}' has {names.count(name)} ranges in ParameterRanges. Keep one of them."
            )


def _numeric(given: Json, kind: Kind, read: Callable[[str], Number | None]) -> Range:
    name, scaling = given["Name"], given.get("ScalingType", "Auto")
    ends: dict[str, Number] = {}
    for end in ("MinValue", "MaxValue"):
        number = read(given[end])
        if number is None:
            what = "a whole number such as 16" if kind == "integer" else "a number such as 0.01"
            raise _wrong(name, f"{end} '{given[end]}' of its {kind} range is not {what}")
        ends[end] = number
    low, high = ends["MinValue"], ends["MaxValue"]
    if low > high:
        raise _wrong(
            name, f"MinValue {given['MinValue']} is greater than MaxValue {given['MaxValue']}. Exchange the two"
        )
    _check_scaling(name, kind, scaling, ends)
    return Range(name, kind, low, high, scaling=scaling)


def _check_scaling(name: str, kind: Kind, scaling: str, ends: dict[str, Number]) -> None:
    low, high = ends["MinValue"], ends["MaxValue"]
    if scaling == "Logarithmic" and low <= 0:
        raise _wrong(
            name,
            f"ScalingType 'Logarithmic' needs values greater than 0, and MinValue is {low}. "
            "Raise MinValue, or use 'Linear'",
        )
    if scaling != "ReverseLogarithmic":
        return
    if kind == "integer":
        raise _wrong(name, "ScalingType 'ReverseLogarithmic' is for continuous ranges only. Use 'Linear'")
    if low < 0 or high >= 1:
        raise _wrong(
            name,
            f"ScalingType 'ReverseLogarithmic' needs a range within 0 <= x < 1.0, and this one is {low} to {high}. "
            "Change MinValue or MaxValue, or use 'Linear'",
        )


def _categorical(given: Json) -> Range:
    name, values = given["Name"], tuple(given["Values"])
    for value in values:
        if values.count(value) > 1:
            raise _wrong(name, f"the value '{value}' is in its Values {values.count(value)} times. Keep one of them")
    return Range(name, "categorical", values=values)


def _wrong(name: str, fault: str) -> ApiError:
    return invalid(f"The range of the hyperparameter '{name}' is invalid: {fault}.")


def _whole(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) else None


def _decimal(text: str) -> float | None:
    number = float(text) if _DECIMAL.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None
