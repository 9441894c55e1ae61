"""Checks requests against botocore's own description of SageMaker, and says what is wrong in AWS's words.

boto3 checks names, types and required members before it sends; patterns, enums and upper limits only AWS does.
Beyond AWS, members it would ignore are refused here, and file:// is accepted where an S3 address is.
"""

import difflib
import functools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import botocore.session
from botocore.model import ServiceModel, Shape

from kennel.local.faults import ApiError, invalid

Json = dict[str, Any]
Operation = Callable[[Json], Json]
# Java's regex classes that Python lacks, inside a character class; wider than Java's, so never wrongly strict.
_JAVA_CLASSES: Final = {
    "L": r"\w",
    "M": r"\W",
    "N": r"\d",
    "P": r"\W",
    "S": r"\W",
    "Z": r"\s",
    "Zs": r"\s",
    "Alnum": "a-zA-Z0-9",
    "ASCII": "\x00-\x7f",
    "Print": " -~",
}
# What else Python writes otherwise: all characters beyond the first 65,536, the end of a text, and mistakes that Java
# bears with.
_JAVA_WORDS: Final = (
    (r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF"),
    (r"\z", r"\Z"),
    (r"[\w-_]", r"[\w_-]"),
    ("${", "{"),
)
_LONGEST_SHOWN: Final = 1000


@functools.cache
def service_model(service: str) -> ServiceModel:
    """botocore's description of an AWS service; takes a quarter of a second the first time."""
    return botocore.session.Session().get_service_model(service)


def validate(shape: Shape, request: Any) -> Json:  # noqa: ANN401  whatever JSON held
    """The request without its nulls, its times as seconds since 1970.

    Raises ApiError: SerializationException for a wrong type, ValidationException listing every other violation.
    """
    errors: list[str] = []
    value = _check(shape, request, "", errors)
    if errors:
        count = f"{len(errors)} validation error{'s' * (len(errors) > 1)} detected"
        raise invalid(f"{count}: {'; '.join(errors)}")
    return dict(value)


def violations(shape: Shape, request: Any) -> list[str]:  # noqa: ANN401  whatever JSON held
    """What of a request its shape does not allow, in AWS's words; after a wrong type nothing more is looked at."""
    errors: list[str] = []
    try:
        _check(shape, request, "", errors)
    except ApiError as error:
        errors.append(error.message)
    return errors


def map_times(shape: Shape, value: Any, convert: Callable[[Any], Any]) -> Any:  # noqa: ANN401  JSON in, JSON out
    """A copy of `value` in which every timestamp of `shape` went through `convert`."""
    if shape.type_name == "structure":
        members = {key: item for key, item in value.items() if key in shape.members}
        return {key: map_times(shape.members[key], item, convert) for key, item in members.items()}
    if shape.type_name == "list":
        return [map_times(shape.member, item, convert) for item in value]
    if shape.type_name == "map":
        return {key: map_times(shape.value, item, convert) for key, item in value.items()}
    return convert(value) if shape.type_name == "timestamp" else value


def to_iso(seconds: float) -> str:
    """Seconds since 1970 as people read them, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def from_iso(text: str) -> float:
    """The inverse of `to_iso`."""
    return datetime.fromisoformat(text).timestamp()


def _check(shape: Shape, value: Any, path: str, errors: list[str]) -> Any:  # noqa: ANN401  JSON in, JSON out
    kind = shape.type_name
    if kind == "structure":
        return _check_structure(shape, _typed(value, dict, "a structure", path), path, errors)
    if kind == "list":
        items = _typed(value, list, "a list", path)
        errors.extend(_violations(shape, items, path))
        return [_check(shape.member, item, f"{path}.{index}.member", errors) for index, item in enumerate(items, 1)]
    if kind == "map":
        return _check_map(shape, _typed(value, dict, "a map", path), path, errors)
    if kind == "timestamp":
        return _seconds(value, path)
    scalar = _typed(value, *_SCALARS[kind], path)
    errors.extend(_violations(shape, scalar, path))
    return scalar


def _check_structure(shape: Shape, value: Json, path: str, errors: list[str]) -> Json:
    for name in shape.required_members:
        if value.get(name) is None:
            place = _join(path, name)
            errors.append(f"Value null at '{place}' failed to satisfy constraint: Member must not be null")
    checked = {}
    for name, item in value.items():
        if name not in shape.members:
            errors.append(_unknown(name, shape, path))
        elif item is not None:
            checked[name] = _check(shape.members[name], item, _join(path, name), errors)
    return checked


def _check_map(shape: Shape, value: Json, path: str, errors: list[str]) -> Json:
    errors.extend(_violations(shape, value, path))
    for word, part, items in (("keys", shape.key, value.keys()), ("value", shape.value, value.values())):
        if part.type_name == "string" and any(_broken(part, _typed(item, str, "a String", path)) for item in items):
            rules = ", ".join(_rules(part))
            errors.append(
                f"Value '{_show(value)}' at '{path}' failed to satisfy constraint: "
                f"Map {word} must satisfy constraint: [{rules}]"
            )
    return dict(value)


def _violations(shape: Shape, value: Any, path: str) -> Iterator[str]:  # noqa: ANN401  a scalar, list or map
    for rule in _broken(shape, value):
        yield f"Value '{_show(value)}' at '{path}' failed to satisfy constraint: {rule}"


def _broken(shape: Shape, value: Any) -> list[str]:  # noqa: ANN401  as above
    """The rules of a shape that a value breaks, in AWS's words."""
    limits = shape.metadata
    measured = len(value) if isinstance(value, str | list | dict) else value
    rules = _rules(shape)
    broken = [rules[0]] if "min" in limits and measured < limits["min"] else []
    if "max" in limits and measured > limits["max"]:
        broken.append(rules["min" in limits])
    if isinstance(value, str):
        # An overlong text is not matched: some of the patterns would take for ever.
        if "pattern" in limits and not broken and not _matches(limits["pattern"], value):
            broken.append(f"Member must satisfy regular expression pattern: {limits['pattern']}")
        if "enum" in limits and value not in limits["enum"]:
            broken.append(f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]")
    return broken


def _rules(shape: Shape) -> list[str]:
    limits = shape.metadata
    noun = "value" if shape.type_name in ("integer", "long", "float", "double") else "length"
    rules = []
    if "min" in limits:
        rules.append(f"Member must have {noun} greater than or equal to {limits['min']}")
    if "max" in limits:
        rules.append(f"Member must have {noun} less than or equal to {limits['max']}")
    if "pattern" in limits:
        rules.append(f"Member must satisfy regular expression pattern: {limits['pattern']}")
    return rules


def _matches(pattern: str, value: str) -> bool:
    if pattern.startswith("(https|s3)://") and value.startswith("file:///"):
        return True
    return compile_pattern(pattern).fullmatch(value) is not None


@functools.cache
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of AWS's (Java's dialect) for Python."""
    for java, python in _JAVA_WORDS:
        pattern = pattern.replace(java, python)
    return re.compile(re.sub(r"(\[(?:\\.|[^\]\\])*\])|\\p\{(\w+)\}", _translated, pattern))


def _translated(match: re.Match[str]) -> str:
    """A character class with Python's classes in it, or one of Java's that stands alone."""
    if match[2]:
        return f"[{_JAVA_CLASSES[match[2]]}]"
    return re.sub(r"\\p\{(\w+)\}", lambda found: _JAVA_CLASSES[found[1]], match[1])


def _unknown(name: str, shape: Shape, path: str) -> str:
    near = difflib.get_close_matches(name, shape.members, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(shape.members)}"
    return f"Value at '{_join(path, name)}' failed to satisfy constraint: Member is not known ({hint})"


def _typed(value: Any, kind: type | tuple[type, ...], name: str, path: str) -> Any:  # noqa: ANN401  JSON in, JSON out
    is_wrong_bool = isinstance(value, bool) and kind is not bool
    if is_wrong_bool or not isinstance(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
        raise ApiError("SerializationException", f"{_show(value)} at '{path}' can not be converted to {name}")
    return value


def _seconds(value: Any, path: str) -> float:  # noqa: ANN401  JSON in
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError as error:
            raise ApiError("SerializationException", f"'{value}' at '{path}' can not be read as a time") from error
    return float(_typed(value, (int, float), "a Timestamp", path))


def _join(path: str, name: str) -> str:
    member = name[:1].lower() + name[1:]
    return f"{path}.{member}" if path else member


def _show(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


_SCALARS: Final[Mapping[str, tuple[Any, str]]] = {
    "string": (str, "a String"),
    "boolean": (bool, "a Boolean"),
    "integer": (int, "an Integer"),
    "long": (int, "a Long"),
    "float": ((int, float), "a Float"),
    "double": ((int, float), "a Double"),
    "blob": (str, "a Blob"),  # Latin-1
}
