"""Parameters of rules: dataclasses that are filled from the strings SageMaker sends."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from kennel.errors import UserError

Parameters = TypeVar("Parameters")

# What stands beside a rule's own parameters and changes nothing in what it judges.
_PLATFORM: Final = ("rule_to_invoke", "base_trial", "action_json")
_NONE: Final = ("None", "none", "null", "")


def parameter(default: Any, *, low: float = 0, high: float | None = None, is_open: bool = False) -> Any:  # noqa: ANN401
    """A field with its range, ends included but for a `low` that is open."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "is_open": is_open})


@dataclasses.dataclass(frozen=True)
class Common:
    """What every rule takes. scan_interval_us: how long the evaluation may rest between two looks."""

    scan_interval_us: int = parameter(60_000_000, is_open=True)


def parse(kind: type[Parameters], given: Mapping[str, str], *, rule: str) -> Parameters:
    """The dataclass `kind`, filled. Raises UserError naming key, value and what is known or allowed."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # any dataclass
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, text in given.items():
        if key in _PLATFORM:
            continue
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UserError(
                f"{rule}: there is no parameter '{key}' (its value is '{text}'). Known are: {', '.join(fields)}.{hint}"
            )
        values[key] = _convert(key, str(text).strip(), hints[key], fields[key].metadata, rule=rule)
    return kind(**values)


def _convert(key: str, text: str, hint: Any, limits: Mapping[str, Any], *, rule: str) -> Any:  # noqa: ANN401
    if isinstance(hint, types.UnionType):
        if text in _NONE:
            return None
        hint = next(each for each in typing.get_args(hint) if each is not types.NoneType)
    if hint is str:
        return text
    try:
        value = float(text)
        is_right = value == int(value) if hint is int else value == value
        low, high = limits.get("low", 0), limits.get("high")
        is_right = is_right and (value > low if limits.get("is_open") else value >= low)
        is_right = is_right and (high is None or value <= high)
    except (ValueError, OverflowError):
        is_right = False
    if not is_right:
        raise UserError(f"{rule}: parameter {key} has the value '{text}'. Expected {_expected(hint, limits)}.")
    return hint(value)


def _expected(hint: type, limits: Mapping[str, Any]) -> str:
    kind = "a whole number" if hint is int else "a number"
    above = "above" if limits.get("is_open") else "of at least"
    upper = "" if limits.get("high") is None else f" and at most {limits['high']:g}"
    return f"{kind} {above} {limits.get('low', 0):g}{upper}"
