"""kennel-timeline.json: how long phases and steps took in all, by epoch, and which operators ran.

`operators` and `flame` are of one profiled step (of phase `features`: of one batch), the mean of the few looked at.
"""

import json
import os
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from kennel.profile.operators import OperatorProfile

NAME: Final = "kennel-timeline.json"
# Durations kept of a mode, for its percentiles: 8 MB. Later steps count in `count` and `mean_ms` only.
_MOST_STEPS: Final = 1_000_000
# Counted on its own wherever it runs.
_ALWAYS_APART: Final = "hook"


@dataclass
class _Epoch:
    epoch: int
    began_ns: int
    phases: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0


@dataclass
class _Steps:
    count: int = 0
    total_ns: int = 0
    durations_ms: "array[float]" = field(default_factory=lambda: array("d"))


class Tally:
    """The sums. started, first_step, ended: epoch seconds; 0 stands for not yet."""

    def __init__(self, started: float, readers: int) -> None:
        self.started, self.readers = started, readers
        self.first_step = self.ended = 0.0
        self.overhead_ns = 0
        self.phases: dict[str, int] = {}
        self.within: dict[str, dict[str, int]] = {}
        self.epochs: list[_Epoch] = []
        self.steps: dict[str, _Steps] = {}
        self._epoch: _Epoch | None = None

    def add(self, name: str, taken_ns: int, *, outer: str | None) -> None:
        """Counts a phase's own time; inside of `outer` it is outer's."""
        if outer is not None and name != _ALWAYS_APART:
            if name != outer:
                parts = self.within.setdefault(outer, {})
                parts[name] = parts.get(name, 0) + taken_ns
            name = outer
        self.phases[name] = self.phases.get(name, 0) + taken_ns
        if self._epoch is not None:
            self._epoch.phases[name] = self._epoch.phases.get(name, 0) + taken_ns

    def add_step(self, mode: str, taken_ns: int, *, began: float) -> None:
        """began: epoch seconds."""
        steps = self.steps.setdefault(mode, _Steps())
        steps.count += 1
        steps.total_ns += taken_ns
        if len(steps.durations_ms) < _MOST_STEPS:
            steps.durations_ms.append(taken_ns / 1e6)
        if mode == "TRAIN":
            self.first_step = self.first_step or began
            if self._epoch is not None:
                self._epoch.steps += 1

    def end_start(self, now: float) -> None:
        """All the time up to here was phase `start`. now: epoch seconds."""
        self.phases["start"] = max(round((now - self.started) * 1e9), 0)

    def begin_epoch(self, epoch: int, now_ns: int) -> None:
        self._epoch = _Epoch(epoch, now_ns)
        self.epochs.append(self._epoch)

    def end_epoch(self, now_ns: int) -> None:
        if self._epoch is not None:
            self._epoch.seconds = (now_ns - self._epoch.began_ns) / 1e9
            self._epoch = None

    def to_json(self) -> dict[str, Any]:
        """As it is written, without operators."""
        return {
            "version": 1,
            "started": self.started,
            "first_step": self.first_step or None,
            "ended": self.ended or None,
            "phases": _seconds(self.phases),
            "within": {outer: _seconds(parts) for outer, parts in self.within.items()},
            "epochs": [
                {
                    "epoch": epoch.epoch,
                    "phases": _seconds(epoch.phases),
                    "steps": epoch.steps,
                    "seconds": round(epoch.seconds, 6),
                }
                for epoch in self.epochs
            ],
            "steps": {mode: _describe(steps) for mode, steps in self.steps.items()},
            "readers": self.readers,
            "overhead_s": round(self.overhead_ns / 1e9, 6),
        }


def write_summary(folder: Path, tally: Tally, operators: OperatorProfile, *, dropped: int) -> None:
    """Replaces kennel-timeline.json whole. dropped: events that found no room in the trace files."""
    content = tally.to_json() | operators.to_json() | {"dropped_events": dropped}
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{NAME}.{os.getpid()}.part"
    part.write_text(json.dumps(content))
    part.replace(folder / NAME)


def _seconds(phases: dict[str, int]) -> dict[str, float]:
    return {name: round(taken / 1e9, 6) for name, taken in phases.items()}


def _describe(steps: _Steps) -> dict[str, float]:
    found = np.array(steps.durations_ms)
    middle, high = np.percentile(found, [50, 95])
    numbers = {"p50_ms": middle, "p95_ms": high, "max_ms": found.max(), "std_ms": found.std()}
    mean = steps.total_ns / steps.count / 1e6
    return {"count": steps.count, "mean_ms": round(mean, 3)} | {
        name: round(float(value), 3) for name, value in numbers.items()
    }
