"""Parameters of rules: dataclasses that are filled from the strings SageMaker sends.

    @dataclass(frozen=True)
    class Parameters:
        threshold: float = parameter(1e-7, low=0)

    parse(Parameters, {"threshold": "0.001"}, rule="VanishingGradient")

Everything arrives as a string, as RuleParameters of CreateTrainingJob: "True", "0.1", "None", "a,b", "['a', 'b']".
"""

import ast
import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from kennel.errors import UserError

Parameters = TypeVar("Parameters")

# What the SDK and the platform send beside a rule's own parameters; none of it changes what a rule judges.
PLATFORM_PARAMETERS: Final = ("rule_to_invoke", "base_trial", "other_trials", "action_json", "source_s3_uri")
BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Patterns(tuple[str, ...]):
    """Regular expressions; a name is meant when any of them is found in it."""

    __slots__ = ()


def parameter(
    default: Any,  # noqa: ANN401  as dataclasses.field
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401
    """A field with its range (ends included) or its choices."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "choices": choices})


def parse(kind: type[Parameters], given: Mapping[str, str], *, rule: str) -> Parameters:
    """The dataclass `kind`, filled. Raises UserError naming key, value and what is known or allowed."""
    dataclass: Any = kind
    fields = {field.name: field for field in dataclasses.fields(dataclass)}
    hints = typing.get_type_hints(kind)
    values = {}
    for key, text in given.items():
        if key in PLATFORM_PARAMETERS:
            continue
        if key not in fields:
            raise UserError(_unknown(rule, key, text, list(fields)))
        try:
            values[key] = _convert(str(text), hints[key])
            _check(values[key], fields[key].metadata)
        except ValueError as error:
            raise UserError(f"{rule}: parameter {key} has the value '{text}': {error}.") from error
    return kind(**values)


def _unknown(rule: str, key: str, text: str, names: list[str]) -> str:
    close = difflib.get_close_matches(key, names, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    known = ", ".join(names) or "none"
    return f"{rule}: there is no parameter '{key}' (its value is '{text}'). Known are: {known}.{hint}"


def _convert(text: str, hint: Any) -> Any:  # noqa: ANN401  any of the types that parameters have
    """Raises ValueError saying what was expected."""
    text = text.strip()
    if hint is Patterns:
        return Patterns(_pattern(each) for each in _split(text))
    if typing.get_origin(hint) is tuple:
        return tuple(_split(text))
    if isinstance(hint, types.UnionType):
        if text in ("None", "none", "null", ""):
            return None
        hint = next(each for each in typing.get_args(hint) if each is not types.NoneType)
    return _scalar(text, hint)


def _scalar(text: str, kind: type) -> Any:  # noqa: ANN401
    if kind is bool:
        if text.lower() not in BOOLEANS:
            raise ValueError("expected True or False")
        return BOOLEANS[text.lower()]
    if kind is str:
        return text
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError("expected a number") from error
    if kind is float:
        return number
    if number != number // 1 or not math.isfinite(number):
        raise ValueError("expected a whole number")
    return int(number)


def _split(text: str) -> list[str]:
    """The parts of "a,b" or "['a', 'b']"; commas within brackets belong to a regular expression."""
    if text in ("", "None", "none", "null"):
        return []
    if text.startswith("["):
        try:
            return [str(each) for each in ast.literal_eval(text)]
        except (ValueError, SyntaxError):
            pass  # not a list: a regular expression such as [Ll]oss
    parts = re.findall(r"(?:\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,])+", text)
    return [part.strip() for part in parts if part.strip()]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"'{text}' is no regular expression ({error}); for example .*relu_output") from error
    return text


def _check(value: Any, limits: Mapping[str, Any]) -> None:  # noqa: ANN401
    low, high, choices = limits.get("low"), limits.get("high"), limits.get("choices")
    if choices and value is not None and value not in choices:
        raise ValueError(f"expected one of {', '.join(choices)}")
    if value is None or isinstance(value, (str, tuple)):
        return
    if math.isnan(value) or (low is not None and value < low) or (high is not None and value > high):
        upper = "" if high is None else f" and at most {high:g}"
        raise ValueError(f"expected a number of at least {low:g}{upper}" if low is not None else "expected a number")
