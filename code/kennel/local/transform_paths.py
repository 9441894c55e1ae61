"""The JSONPath that batch transform reads: the six operators SageMaker documents, and no others.

    $    .name    .*    ['name', 'other']    [1] [1,3,-1] [0,5:]    [1:4]

Not a library's JSONPath, because SageMaker's differs from all of them: the end of a slice counts ($[1:4] is the second
to the fifth), an index that is not there is an error, and ['a','b'] keeps the names.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

_NAME: Final = r"""'[^']*'|"[^"]*\""""
_NUMBER: Final = r"-?\d+"
_SLICE: Final = rf"(?:{_NUMBER})?:(?:{_NUMBER})?"
_STEP: Final = re.compile(
    rf"""\.?\[\s*(?P<names>(?:{_NAME})(?:\s*,\s*(?:{_NAME}))*)\s*\]
       | \.?\[\s*(?P<indices>(?:{_SLICE}|{_NUMBER})(?:\s*,\s*(?:{_SLICE}|{_NUMBER}))*)\s*\]
       | \.?\[\s*(?P<any>\*)\s*\]
       | \.(?P<all>\*)
       | \.(?P<name>[^\s.\[\]*'",:()@?]+)""",
    re.VERBOSE,
)


class PathError(ValueError):
    """An expression that is none of SageMaker's, or that finds nothing; the message says which."""


@dataclass(frozen=True)
class Names:
    """`.a`, `['a']` or `['a','b']`."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Indices:
    """`[0]`, `[1:4]` or several of them. Each is a number, or the two ends of a slice (None for an open one)."""

    items: tuple[int | tuple[int | None, int | None], ...]


@dataclass(frozen=True)
class Every:
    """`*`: each element of a list, each value of an object."""


@dataclass(frozen=True)
class JsonPath:
    """A parsed expression."""

    text: str
    steps: tuple[Names | Indices | Every, ...]

    @property
    def is_by_index(self) -> bool:
        """Whether it can be used on a row of CSV: `$`, or one step of numbers."""
        return len(self.steps) < 2 and not any(isinstance(step, Names) for step in self.steps)

    def find(self, document: Any) -> Any:  # noqa: ANN401  JSON in, JSON out
        """What it selects: one value, an object of several names, or a list. Raises PathError if something is missing.

        `document` is not changed.
        """
        found, is_one = [document], True
        for number, step in enumerate(self.steps, 1):
            if is_one and isinstance(step, Names) and len(step.names) > 1 and number == len(self.steps):
                return {name: self._member(found[0], name) for name in step.names}
            found = [value for each in found for value in self._values(step, each)]
            is_one = is_one and _selects_one(step)
        return found[0] if is_one else found

    def _values(self, step: Names | Indices | Every, value: Any) -> list[Any]:  # noqa: ANN401
        if isinstance(step, Names):
            return [self._member(value, name) for name in step.names]
        if isinstance(step, Every):
            if not isinstance(value, dict | list):
                raise PathError(f"'{self.text}': * was asked of {value!r:.50}, which is neither an object nor a list")
            return list(value.values() if isinstance(value, dict) else value)
        if not isinstance(value, list):
            raise PathError(f"'{self.text}': an index was asked of {value!r:.50}, which is no list")
        return [each for item in step.items for each in self._elements(item, value)]

    def _member(self, value: Any, name: str) -> Any:  # noqa: ANN401
        if not isinstance(value, dict) or name not in value:
            has = f"it has {', '.join(map(str, value))}" if isinstance(value, dict) else f"{value!r:.50} is no object"
            raise PathError(f"'{self.text}': there is no '{name}' ({has:.200})")
        return value[name]

    def _elements(self, item: int | tuple[int | None, int | None], value: list[Any]) -> list[Any]:
        if isinstance(item, int):
            return [value[self._index(item, len(value))]]
        if not value:
            return []
        start = 0 if item[0] is None else self._index(item[0], len(value))
        end = len(value) - 1 if item[1] is None else self._index(item[1], len(value))
        return value[start : end + 1]

    def _index(self, index: int, length: int) -> int:
        if not -length <= index < length:
            raise PathError(
                f"'{self.text}': index {index} is not within the {length} elements that are there "
                "(they count from 0, and the end of a slice is included)"
            )
        return index % length


def parse_path(text: str) -> JsonPath:
    """The expression `text`. Raises PathError for one that SageMaker does not read."""
    if not text.startswith("$"):
        raise PathError(f"'{text}' does not begin with $")
    steps, position = [], 1
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise PathError(f"'{text}' cannot be read from '{text[position:]}' on")
        steps.append(_step(match))
        position = match.end()
    return JsonPath(text, tuple(steps))


def _step(match: re.Match[str]) -> Names | Indices | Every:
    if name := match["name"]:
        return Names((name,))
    if names := match["names"]:
        return Names(tuple(each[1:-1] for each in re.findall(_NAME, names)))
    if indices := match["indices"]:
        return Indices(tuple(_item(each.strip()) for each in indices.split(",")))
    return Every()


def _item(text: str) -> int | tuple[int | None, int | None]:
    if ":" not in text:
        return int(text)
    start, _, end = text.partition(":")
    return (int(start) if start else None, int(end) if end else None)


def _selects_one(step: Names | Indices | Every) -> bool:
    if isinstance(step, Names):
        return len(step.names) == 1
    return isinstance(step, Indices) and len(step.items) == 1 and isinstance(step.items[0], int)
