"""Which regexes can give a metric its numbers, and which never will, told before a job has run in vain.

A regex is tried on a line that is made for it: its own text with a number where its group is. What it reads from there
must be that number. `F1=(.*?)` reads '' from 'F1=0.8125', because nothing after the group makes the lazy one go on.
Where no such line can be made, or the regex might do for somebody's log, it is let pass.
"""

import importlib
import re
from collections.abc import Iterable
from typing import Any, Final

from kennel.local.faults import ApiError, invalid
from kennel.local.validation import Json

# The parser behind `re`: since Python 3.11 under this name, without a public one. A test parses what it must know.
_PARSER: Final[Any] = importlib.import_module("re._parser")

_DECIMALS: Final = ("0.8125", "0.53", "0.1", "0.125", "0.12345", "0.123456", "12.5", "98.76", "98.765", "-3.5", "1e-05")
_WHOLE: Final = ("12", "345", "6789")
_DIGIT: Final = "7"  # for groups that take one character
_WORD: Final = "word"
# Tried in this order where a regex takes any of several characters.
_CHARACTERS: Final = "x0 ;,.:=-_\t" + "".join(map(chr, range(33, 127)))
_LONGEST_REPEAT: Final = 200

_REMEDY: Final = "Put a pattern of the number in the group, such as ([0-9.]+), or what follows the number after it."


class _NoSample(Exception):
    """No text could be made that the regex matches."""


def check_metrics(definitions: Iterable[Json]) -> None:
    """Raises ApiError for the first metric definition that can never give a number."""
    for definition in definitions:
        if fault := fault_of(definition["Regex"]):
            raise _refused(definition, fault)


def fault_of(regex: str) -> str | None:
    """Why a regex cannot give numbers, with the remedy; None if it can, or might."""
    try:
        compiled = re.compile(regex)
    except re.error as error:
        return f"{error}. Correct it"
    if compiled.groups == 0:
        return "it has no group. Put the number in parentheses"
    if compiled.groups > 1:
        return f"it has {compiled.groups} groups, and only one can hold the number. Write the others as (?:...)"
    if compiled.search(""):
        return f"it matches the empty string, which is in every line. Put the text before the number into it. {_REMEDY}"
    return _Probes(compiled).fault()


def _refused(definition: Json, fault: str) -> ApiError:
    return invalid(f"Invalid regex '{definition['Regex']}' of metric '{definition['Name']}': {fault.rstrip('.')}.")


class _Probes:
    """A regex with one group, and the lines made for it."""

    def __init__(self, compiled: re.Pattern[str]) -> None:
        self._compiled = compiled
        self._tree = _PARSER.parse(compiled.pattern)
        self._group = _find_group(self._tree)

    def fault(self) -> str | None:
        if not _takes_digit(self._group):
            return f"its group takes no digit: what it reads is a word or nothing, never a number. {_REMEDY}"
        widest = self._group.getwidth()[1]
        numbers = (*_DECIMALS, *_WHOLE, *([_DIGIT] if widest == 1 else []))
        read = [number for number in numbers if self._reads(number) == number]
        if not read:
            return self._misreading(numbers)
        if any(number in _DECIMALS for number in read):
            return None
        if self._reads(_WORD) == _WORD:
            return f"its group takes a word, and not a number such as {_DECIMALS[0]}. {_REMEDY}"
        if self._reads("") == "":
            return f"its group takes the empty string, and not a number such as {_DECIMALS[0]}. {_REMEDY}"
        return None

    def _misreading(self, numbers: Iterable[str]) -> str | None:
        for number in numbers:
            text = self._reads(number)
            if text is not None:
                what = "the empty string" if not text else f"'{text}'"
                return f"from the line '{self._line(number)}' it reads {what} and not {number}. {_REMEDY}"
        return None

    def _reads(self, inner: str) -> str | None:
        """What the group holds of the line made with `inner` in its place; None if the line is not matched."""
        try:
            match = self._compiled.search(self._line(inner))
        except _NoSample:
            return None
        return match[1] if match else None

    def _line(self, inner: str) -> str:
        return _sample(self._tree, inner)


def _parts(value: Any) -> list[Any]:  # noqa: ANN401  a node's arguments
    """The patterns inside a node's arguments."""
    if isinstance(value, _PARSER.SubPattern):
        return [value]
    return [part for each in value for part in _parts(each)] if isinstance(value, list | tuple) else []


def _find_group(tree: Any) -> Any:  # noqa: ANN401  the parser's own
    """The pattern inside the only capturing group."""
    for operation, value in tree:
        if str(operation) == "SUBPATTERN" and value[0] is not None:
            return value[-1]
        for part in _parts(value):
            if (found := _find_group(part)) is not None:
                return found
    return None


def _takes_digit(tree: Any) -> bool:  # noqa: ANN401  the parser's own
    """Whether a digit can be anywhere in what the pattern matches."""
    for operation, value in tree:
        if str(operation) in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            if any(_is_matched(digit, operation, value) for digit in "0123456789"):
                return True
        elif str(operation) == "GROUPREF" or any(_takes_digit(part) for part in _parts(value)):
            return True
    return False


def _sample(tree: Any, inner: str) -> str:  # noqa: ANN401  the parser's own
    """A short text that the pattern matches, with `inner` for its group."""
    return "".join(_sample_of(str(operation), operation, value, inner) for operation, value in tree)


def _sample_of(name: str, operation: Any, value: Any, inner: str) -> str:  # noqa: ANN401  the parser's own
    if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
        return chr(int(value)) if name == "LITERAL" else _character(operation, value)
    if name in ("AT", "ASSERT_NOT"):
        return ""
    if name == "GROUPREF" or (name == "SUBPATTERN" and value[0] is not None):
        return inner
    if name in ("SUBPATTERN", "ATOMIC_GROUP", "ASSERT"):
        return _sample(_parts(value)[-1], inner)
    if name == "BRANCH":
        branches = value[1]
        with_group = [branch for branch in branches if _find_group(branch) is not None]
        return _sample((with_group or branches)[0], inner)
    if name.endswith("REPEAT"):
        least, part = int(value[0]), value[2]
        count = max(least, 1) if _find_group(part) is not None else least
        if count <= _LONGEST_REPEAT:
            return _sample(part, inner) * count
    raise _NoSample(name)


def _character(operation: Any, value: Any) -> str:  # noqa: ANN401  the parser's own
    for character in _CHARACTERS:
        if _is_matched(character, operation, value):
            return character
    raise _NoSample(str(operation))


def _is_matched(character: str, operation: Any, value: Any) -> bool:  # noqa: ANN401  the parser's own
    """Whether a node that takes one character takes this one."""
    name = str(operation)
    if name == "ANY":
        return True
    if name in ("LITERAL", "NOT_LITERAL"):
        return (ord(character) == int(value)) == (name == "LITERAL")
    is_negated = str(value[0][0]) == "NEGATE"
    return any(_is_in(character, str(kind), item) for kind, item in value[is_negated:]) != is_negated


def _is_in(character: str, kind: str, item: Any) -> bool:  # noqa: ANN401  the parser's own
    """Whether one item of a [...] takes the character."""
    if kind == "LITERAL":
        return ord(character) == int(item)
    if kind == "RANGE":
        return bool(item[0] <= ord(character) <= item[1])
    category = str(item).removeprefix("CATEGORY_")
    pattern = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[category.removeprefix("NOT_")]
    return bool(re.match(pattern, character)) != category.startswith("NOT_")
