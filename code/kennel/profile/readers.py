"""Reads a profiler folder: samples of the machine, the timeline's summary, steps and phases; SageMaker's own as well.

    series = read_system(folder)                   # folder: ml/output/profiler, or what lies under profiler-output/
    for each in series:
        print(each.label, each.statistics(), len(each.downsampled(300)["time"]))
    summary = read_timeline(folder)                # kennel-timeline.json, or {}
    steps = read_steps(folder)

Lines and files that are not finished are left out; a folder that is not there has nothing in it. Nothing is raised for
what a file holds.
"""

import json
import math
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kennel.profile.summary import NAME
from kennel.profile.trace_files import STEP

_STATISTICS: Final = {"max": 100, "p99": 99, "p95": 95, "p50": 50, "min": 0}


@dataclass(frozen=True)
class Series:
    """One metric of one machine over time.

    kind: cpu, gpu, memory, i/o or network. name, dimension, node: as SageMaker writes them (cpu0, CPUUtilization,
    algo-1). times: float64 (N,), epoch seconds, ascending. values: float64 (N,), percent, bytes or operations a second.
    """

    kind: str
    name: str
    dimension: str
    node: str
    times: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def label(self) -> str:
        """`cpu0 CPUUtilization`, `MemoryUsedPercent`."""
        return f"{self.name} {self.dimension}".strip()

    def statistics(self) -> dict[str, float]:
        """max, p99, p95, p50 and min; of no values {}."""
        if not len(self.values):
            return {}
        found = np.percentile(self.values, list(_STATISTICS.values()))
        return dict(zip(_STATISTICS, map(float, found), strict=True))

    def downsampled(self, points: int = 300) -> dict[str, list[float]]:
        """time (middle of a bin), min, mean and max of at most `points` bins of equal numbers of samples."""
        if not len(self.values):
            return {"time": [], "min": [], "mean": [], "max": []}
        bins = np.array_split(np.arange(len(self.values)), min(points, len(self.values)))
        return {
            "time": [float(self.times[each].mean()) for each in bins],
            "min": [float(self.values[each].min()) for each in bins],
            "mean": [float(self.values[each].mean()) for each in bins],
            "max": [float(self.values[each].max()) for each in bins],
        }


@dataclass(frozen=True)
class Event:
    """A step or a phase. name: `Step:ModeKeys.TRAIN` or a phase. mode: TRAIN, EVAL or ''. began: epoch seconds."""

    name: str
    mode: str
    step: int | None
    began: float
    seconds: float


class SystemLog:
    """The samples of a folder, read on from where the last `refresh` ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "system"
        self._read: dict[Path, int] = {}
        self._found: dict[tuple[str, str, str, str], tuple[array[float], array[float]]] = {}

    def refresh(self) -> None:
        """Reads what was added."""
        for path in sorted(self._folder.glob("incremental/*/*.json")):
            done = self._read.get(path, 0)
            if path.stat().st_size > done:
                with path.open("rb") as stream:
                    stream.seek(done)
                    text = stream.read()
                whole = text[: text.rfind(b"\n") + 1]
                self._read[path] = done + len(whole)
                for line in whole.splitlines():
                    self._take(line)

    def series(self) -> list[Series]:
        """Every metric, by kind, name, dimension and node."""
        return [_series(key, *self._found[key]) for key in sorted(self._found, key=_natural)]

    def _take(self, line: bytes) -> None:
        try:
            sample = json.loads(line)
            key = tuple(str(sample.get(name) or "") for name in ("Type", "Name", "Dimension", "NodeId"))
            when, value = float(sample["Timestamp"]), float(sample["Value"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # half a line, of a writer that was killed
        if not math.isfinite(value):
            return
        kind, name, dimension, node = key
        times, values = self._found.setdefault((kind, name, dimension, node), (array("d"), array("d")))
        times.append(when)
        values.append(value)


def read_system(folder: Path) -> list[Series]:
    """All metrics of all machines."""
    log = SystemLog(folder)
    log.refresh()
    return log.series()


def read_timeline(folder: Path) -> dict[str, Any]:
    """kennel-timeline.json; {} where there is none."""
    try:
        content = json.loads((folder / NAME).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_steps(folder: Path) -> list[Event]:
    """The steps of all machines, by their beginning."""
    return [event for event in read_events(folder) if event.name.startswith(STEP)]


def read_events(folder: Path) -> list[Event]:
    """Steps and phases of all trace files but those of operators, by their beginning."""
    log = EventLog(folder)
    log.refresh()
    return log.events()


class EventLog:
    """The steps and phases of a folder; `refresh` reads the files that are new."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "framework" / "pevents"
        self._read: set[Path] = set()
        self._events: list[Event] = []

    def refresh(self) -> None:
        """Reads what was added."""
        for path in sorted(self._folder.glob("*/*_pythontimeline.json")):
            if path not in self._read:
                self._read.add(path)
                self._events += _events_of(path)

    def events(self) -> list[Event]:
        """By their beginning."""
        self._events.sort(key=lambda event: event.began)
        return self._events


def _series(key: tuple[str, str, str, str], times: "array[float]", values: "array[float]") -> Series:
    when, found = np.array(times), np.array(values)
    order = np.argsort(when, kind="stable")
    return Series(*key, when[order], found[order])


def _natural(key: tuple[str, str, str, str]) -> tuple[str, int, str, str, str]:
    """cpu2 stands before cpu10."""
    kind, name, dimension, node = key
    digits = name.lstrip("abcdefghijklmnopqrstuvwxyz")
    return kind, int(digits) if digits.isdigit() else 0, name, dimension, node


def _events_of(path: Path) -> list[Event]:
    """Of a file that is no trace, none."""
    try:
        lines = json.loads(path.read_text())
        starts = [line["args"].get("start_time_since_epoch_in_micros") for line in lines if line.get("ph") == "M"]
        first = next((start for start in starts if start is not None), 0)
        return [_event(line, first) for line in lines if line.get("ph") == "X"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _event(line: dict[str, Any], first_us: float) -> Event:
    args = line.get("args") or {}
    step = args.get("step_num")
    mode = str(args.get("mode") or line["name"].partition(STEP)[2])
    began, seconds = (first_us + line["ts"]) / 1e6, line["dur"] / 1e6
    return Event(line["name"], mode, None if step is None else int(step), began, seconds)
