"""How rules read a trial: which tensors are meant, which mode a step was of, and the losses one after another."""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kennel.debug.rules.base import TrialLike
from kennel.debug.rules.parameters import Patterns


@dataclass(frozen=True)
class Point:
    """A scalar at a step: `step` counts all modes, `mode_step` within `mode`."""

    step: int
    mode: str
    mode_step: int
    value: float


def choose(
    trial: TrialLike, *, collections: Sequence[str] = (), patterns: Patterns | None = None, otherwise: str | None = None
) -> list[str]:
    """Names of the tensors in any of the collections or matching any pattern; neither given: those of `otherwise`.

    Without `otherwise` that is every tensor, as AWS's guide says of an absent tensor_regex.
    """
    if not collections and not patterns:
        return trial.names(collection=otherwise) if otherwise else trial.names()
    found = {name for collection in collections for name in trial.names(collection=collection)}
    if patterns:
        found.update(name for name in trial.names() if any(re.search(each, name) for each in patterns))
    return sorted(found)


def mode_of(trial: TrialLike, step: int) -> tuple[str, int]:
    """(mode, step within it) of a GLOBAL step; ("GLOBAL", step) where nothing says it."""
    asked: Any = getattr(trial, "mode_of", None)
    if asked is not None:
        mode, mode_step = asked(step)
        return str(mode), int(mode_step)
    folder: Path | None = getattr(trial, "folder", None)
    return ("GLOBAL", step) if folder is None else _indexed_mode(folder, step)


def _indexed_mode(folder: Path, step: int) -> tuple[str, int]:
    """From smdebug's index of the step: {"meta": {"mode": "TRAIN", "mode_step": 0, ...}, ...}."""
    shelf = folder / "index" / f"{step // 1000:09d}"
    path = shelf / f"{step:012d}_worker_0.json"
    if not path.exists():
        path = next(shelf.glob(f"{step:012d}_*.json"), path)
    try:
        meta = json.loads(path.read_text())["meta"]
        return str(meta["mode"]), int(meta["mode_step"])
    except (OSError, ValueError, KeyError):
        return "GLOBAL", step


def is_at(trial: TrialLike, name: str, step: int) -> bool:
    """Whether anything of the tensor was saved at a GLOBAL step."""
    steps = trial.steps_of(name)
    place = bisect_left(steps, step)
    return place < len(steps) and steps[place] == step


def present(trial: TrialLike, names: Sequence[str], step: int) -> list[str]:
    return [name for name in names if is_at(trial, name, step)]


def scalar(trial: TrialLike, name: str, step: int) -> float | None:
    """The number saved at a GLOBAL step, from its raw value or its mean; None for a tensor of several values."""
    raw = trial.value(name, step)
    if raw is not None:
        return float(raw.reshape(-1)[0]) if raw.size == 1 else None
    return trial.statistic(name, step, "mean")


class Series:
    """Scalars of tensors in the order they were saved; every step is read once."""

    def __init__(self) -> None:
        self.points: dict[str, list[Point]] = {}
        self._read_to: dict[str, int] = {}

    def read(self, trial: TrialLike, names: Sequence[str], step: int) -> list[Point]:
        """Reads what was saved up to `step` (GLOBAL) and not before: one point a step, the mean over the tensors."""
        new: dict[int, list[Point]] = {}
        for name in names:
            for point in self._read_one(trial, name, step):
                new.setdefault(point.step, []).append(point)
        return [
            Point(each, found[0].mode, found[0].mode_step, sum(point.value for point in found) / len(found))
            for each, found in sorted(new.items())
        ]

    def _read_one(self, trial: TrialLike, name: str, step: int) -> list[Point]:
        steps = trial.steps_of(name)
        wanted = steps[bisect_right(steps, self._read_to.get(name, -1)) : bisect_right(steps, step)]
        values = ((each, scalar(trial, name, each)) for each in wanted)
        found = [Point(each, *mode_of(trial, each), value) for each, value in values if value is not None]
        self.points.setdefault(name, []).extend(found)
        self._read_to[name] = max(self._read_to.get(name, -1), step)
        return found


def loss_names(trial: TrialLike, patterns: Patterns | None = None) -> list[str]:
    """The tensors that match, or the collection `losses`, or, without one, all with "loss" and "output" in the name."""
    if patterns:
        return choose(trial, patterns=patterns)
    return trial.names(collection="losses") or trial.names(regex="[Ll]oss.*output|^[Ll]oss$")
