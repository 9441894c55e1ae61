"""What a search tries: a file in SageMaker's own form, ParameterRanges as JSON, checked against the hyperparameters.

    ranges = read_ranges_file(Path("tuning/recommended.json"))
    ranges.parameter_ranges   # as CreateHyperParameterTuningJob takes it

A member "Reason" inside a range says why, for people; SageMaker does not know it, and does not get it.
"""

import dataclasses
import json
import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kennel.errors import HyperparameterError, UserError
from kennel.hyperparameters import FIELDS, Rule, read_hyperparameters
from kennel.local.faults import ApiError
from kennel.local.tuning_ranges import read_ranges
from kennel.local.validation import service_model, validate

Json = dict[str, Any]
CATEGORICAL: Final = "CategoricalParameterRanges"
INTEGER: Final = "IntegerParameterRanges"
CONTINUOUS: Final = "ContinuousParameterRanges"
KINDS: Final = (CONTINUOUS, INTEGER, CATEGORICAL)
_FORM: Final = (
    'Expected SageMaker\'s ParameterRanges, such as {"ContinuousParameterRanges": [{"Name": "lr", '
    '"MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}]}'
)

_INDENT: Final = "      "


@dataclass(frozen=True)
class SearchRanges:
    """parameter_ranges: SageMaker's form, without reasons. reasons: by name, of those that have one."""

    source: Path
    parameter_ranges: Mapping[str, list[Json]]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[str, Json]]:
        """(kind, range) of every range."""
        for kind in KINDS:
            for each in self.parameter_ranges.get(kind, []):
                yield kind, each

    @property
    def names(self) -> list[str]:
        return [each["Name"] for _, each in self]

    @property
    def combinations(self) -> int | None:
        """Of a grid; None where a range is no list of values."""
        if any(kind != CATEGORICAL for kind, _ in self):
            return None
        return math.prod(len(each["Values"]) for _, each in self)

    def table(self) -> str:
        """A line a range, name and values, and its reason below it."""
        width = max(len(name) for name in self.names)
        lines = []
        for kind, each in self:
            lines.append(f"  {each['Name']:<{width}}  {_values(kind, each)}")
            reason = self.reasons.get(each["Name"], "")
            lines += textwrap.wrap(reason, 100, initial_indent=_INDENT, subsequent_indent=_INDENT)
        return "\n".join(lines)


def default_ranges_file() -> Path:
    """tuning/recommended.json of this checkout. UserError where it is not there."""
    path = Path(__file__).resolve().parents[3] / "tuning" / "recommended.json"
    if not path.is_file():
        raise UserError(f"The recommended ranges are not at {path}. Name a file of ranges: --ranges FILE")
    return path


def read_ranges_file(path: Path) -> SearchRanges:
    """The ranges of a file, every name and every end or value of which a training would accept.

    Raises UserError for a file that is none, HyperparameterError for names and values.
    """
    content = _read(path)
    reasons = _take_reasons(content)
    try:
        plain = validate(service_model("sagemaker").shape_for("ParameterRanges"), content)
        read_ranges(plain)
    except ApiError as error:
        raise UserError(f"{path}: {error.message}. {_FORM}") from error
    ranges = SearchRanges(path, plain, reasons)
    if not ranges.names:
        raise UserError(f"{path} has no range: there is nothing to search. {_FORM}")
    for kind, each in ranges:
        _check_range(path, kind, each)
    _refuse_twice(path, ranges.names)
    return ranges


def refuse_settled(ranges: SearchRanges, settled: Mapping[str, str]) -> None:
    """HyperparameterError for a hyperparameter that is set, by -p, and searched as well."""
    searched = {_plain(name): name for name in ranges.names}
    for name in settled:
        if _plain(name) in searched:
            raise HyperparameterError(
                f"Hyperparameter '{name}' is set by -p and has a range in {ranges.source}. "
                f"Leave out -p {name}=..., or take the range out of the file."
            )


def without(ranges: SearchRanges, settled: Mapping[str, str]) -> SearchRanges:
    """The ranges of what is not set by -p. Raises HyperparameterError where none is left."""
    set_names = {_plain(name) for name in settled}
    searched = {
        kind: [each for each in found if _plain(each["Name"]) not in set_names]
        for kind, found in ranges.parameter_ranges.items()
    }
    left = dataclasses.replace(ranges, parameter_ranges={kind: found for kind, found in searched.items() if found})
    if not left.names:
        raise HyperparameterError(
            f"Every hyperparameter of {ranges.source} is set by -p: nothing is left to search. "
            f"Leave one out, or name a file of ranges: --ranges FILE"
        )
    return left


def fit_batch_size(ranges: SearchRanges, images: int) -> SearchRanges:
    """The ranges without the batch sizes that are larger than the training set: such trainings fail.

    Raises UserError where none is left.
    """
    fitting: dict[str, list[Json]] = {kind: [] for kind in KINDS}
    for kind, each in ranges:
        fitting[kind].append(_fit(each, images) if _plain(each["Name"]) == "batch_size" else each)
    return dataclasses.replace(ranges, parameter_ranges={kind: found for kind, found in fitting.items() if found})


def _fit(batch_size: Json, images: int) -> Json:
    if "Values" in batch_size:
        values = [value for value in batch_size["Values"] if float(value.strip('"')) <= images]
        fitting: Json = {**batch_size, "Values": values}
        is_some = bool(values)
    else:
        fitting = {**batch_size, "MaxValue": str(min(int(float(batch_size["MaxValue"])), images))}
        is_some = float(batch_size["MinValue"]) <= images
    if not is_some:
        raise UserError(f"Every batch size of the ranges is larger than the {images} training images. Lower them.")
    return fitting


def _read(path: Path) -> Json:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"There is no file of ranges '{path}'. {_FORM}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}). {_FORM}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, no object. {_FORM}")
    return content


def _take_reasons(content: Json) -> dict[str, str]:
    """Takes the reasons out of the ranges, and returns them by name."""
    found = {}
    for ranges in content.values():
        for each in ranges if isinstance(ranges, list) else []:
            if isinstance(each, dict) and "Reason" in each:
                found[str(each.get("Name"))] = str(each.pop("Reason"))
    return found


def _check_range(path: Path, kind: str, each: Json) -> None:
    """Both ends, or every value, as a training would read it."""
    values = each["Values"] if kind == CATEGORICAL else [each["MinValue"], each["MaxValue"]]
    for value in values:
        try:
            read_hyperparameters({each["Name"]: value})
        except HyperparameterError as error:
            raise HyperparameterError(f"{path}: {error}") from error
    name = _plain(each["Name"])
    rule: Rule = FIELDS[name].metadata["rule"]
    if kind == CONTINUOUS and FIELDS[name].type is not float:
        raise HyperparameterError(
            f"{path}: '{each['Name']}' has no values between {values[0]} and {values[1]} that "
            f"are not whole. Put it under {INTEGER if FIELDS[name].type is int else CATEGORICAL}."
        )
    if kind == INTEGER and FIELDS[name].type is str and not rule.check:
        raise HyperparameterError(f"{path}: '{each['Name']}' is no number. Put its values under {CATEGORICAL}.")
    if name == "weights" and any(value.strip('"') not in ("auto", "none") for value in values):
        raise HyperparameterError(f"{path}: 'weights' can be searched among auto and none; for a file: -p weights=FILE")


def _refuse_twice(path: Path, names: list[str]) -> None:
    plain = [_plain(name) for name in names]
    for place, name in enumerate(plain):
        if name in plain[:place]:
            raise HyperparameterError(f"{path}: '{names[place]}' has two ranges. Keep one of them.")


def _values(kind: str, each: Json) -> str:
    if kind == CATEGORICAL:
        return " | ".join(each["Values"])
    scaling = each.get("ScalingType", "Auto")
    return f"{each['MinValue']} to {each['MaxValue']}" + ("" if scaling == "Auto" else f", {scaling}")


def _plain(name: str) -> str:
    return name.replace("-", "_")
