"""Reads a job's metrics from its log, by the job's own MetricDefinitions."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from kennel.local.log_file import LogEvent
from kennel.local.validation import Json

# A regex is tried on so much of a line; progress bars without line ends grow long.
_LONGEST_SCANNED = 4096
_LONGEST_EXAMPLE = 200

Regexes = Sequence[tuple[str, re.Pattern[str]]]


def compiled(definitions: Sequence[Json]) -> Regexes:
    """MetricDefinitions as names and regexes."""
    return [(definition["Name"], re.compile(definition["Regex"])) for definition in definitions]


def values_in(events: Iterable[LogEvent], regexes: Regexes) -> Iterator[tuple[LogEvent, str, float]]:
    """Each value that the lines of a log give each metric: the line, the metric's name, the value."""
    for event in events:
        for name, regex in regexes:
            value = _last_number(regex, event.message[-_LONGEST_SCANNED:])
            if value is not None:
                yield event, name, value


class MetricScan:
    """The last value of each metric so far."""

    def __init__(self, definitions: Sequence[Json]) -> None:
        self._regexes = compiled(definitions)
        self._found: dict[str, Json] = {}

    def feed(self, events: Iterable[LogEvent]) -> bool:
        """Takes the next lines of the log; tells whether a metric was in them."""
        is_new = False
        for event, name, value in values_in(events, self._regexes):
            self._found[name] = {"MetricName": name, "Value": value, "Timestamp": event.time_ms / 1000}
            is_new = True
        return is_new

    def final_metrics(self) -> list[Json]:
        """FinalMetricDataList, in the order of the definitions."""
        names = dict.fromkeys(name for name, _ in self._regexes)
        return [self._found[name] for name in names if name in self._found]


class MetricHistory:
    """Every value of one metric, in the order of the log; and what there was to read, for when there was none.

    lines: how many were read. example: the last of them with a number in it, as a hint to what the regex should fit.
    """

    def __init__(self, definitions: Sequence[Json], name: str) -> None:
        self.regexes = tuple(definition["Regex"] for definition in definitions if definition["Name"] == name)
        self._compiled = [re.compile(regex) for regex in self.regexes]
        self.values: list[float] = []
        self.lines = 0
        self.example = ""

    def feed(self, events: Iterable[LogEvent]) -> None:
        """Takes the next lines of the log."""
        for event in events:
            line = event.message[-_LONGEST_SCANNED:]
            self.lines += 1
            if any(character.isdigit() for character in line):
                self.example = line.strip()[:_LONGEST_EXAMPLE]
            found = [_last_number(regex, line) for regex in self._compiled]
            self.values.extend(value for value in found if value is not None)


def _last_number(regex: re.Pattern[str], line: str) -> float | None:
    """What the first group captured last in the line, if that is a finite number."""
    value = None
    for match in regex.finditer(line):
        try:
            number = float(match[1])
        except (TypeError, ValueError):  # the group took no part, or captured something else
            continue
        if math.isfinite(number):
            value = number
    return value
