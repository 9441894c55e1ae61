"""The rule over the clock: whether a training still gives signs of life."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from kennel.debug.rules.base import Check, Finding, Rule, TrialLike
from kennel.debug.rules.parameters import parameter
from kennel.debug.rules.reading import mode_of


class StalledTrainingRule(Rule):
    """No tensor was saved for `threshold` seconds.

    The evaluator asks `check_waiting` while no new step comes. Over a finished training the times between its files
    are judged instead (`saved_at`): those of the files where the trial lies in a folder.
    """

    @dataclass(frozen=True)
    class Parameters:
        """AWS's. With stop_training_on_fire the evaluator stops the training, whose name must begin with the prefix."""

        threshold: float = parameter(1800.0, low=0)
        stop_training_on_fire: bool = parameter(False)
        training_job_name_prefix: str | None = parameter(None)

    parameters: Parameters
    name = "StalledTrainingRule"
    collections: ClassVar = ("losses",)
    wants = "any tensor"
    meaning = "The training does not go on: it hangs, or waits for something that does not come."
    advice = (
        "Look at the last lines of its log and at what its processes wait for: a data loader whose worker died or "
        "waits for a slow disk or network, another host that is gone, a full disk, a lock. Stop it (the checkpoint is "
        "kept) and start it again. If a step simply takes that long, raise the threshold or save more often."
    )

    def __init__(self, parameters: Parameters, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(parameters)
        self._clock = clock
        self._longest = 0.0
        self._last: tuple[float, str, int] | None = None  # when, mode, step: the newest that was saved
        self._is_reported = False

    @property
    def stop_training(self) -> bool:
        return bool(self.parameters.stop_training_on_fire)

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        """Steps that were saved far apart."""
        self._see(step)
        mode, mode_step = mode_of(trial, step)
        now, before = self._saved_at(trial, step), self._last
        self._last, self._is_reported = (now, mode, mode_step), False
        if before is None:
            return []
        gap = now - before[0]
        self._longest = max(self._longest, gap)
        if gap <= self.parameters.threshold:
            return []
        return [
            self._finding(mode, mode_step, gap, f"between {before[1]} step {before[2]} and {mode} step {mode_step}")
        ]

    def check_waiting(self, *, idle_s: float) -> list[Finding]:
        """Once for every time that nothing comes for longer than the threshold."""
        self._longest = max(self._longest, idle_s)
        if idle_s <= self.parameters.threshold or self._is_reported:
            return []
        self._is_reported = True
        _, mode, step = self._last or (0.0, "GLOBAL", 0)
        return [self._finding(mode, step, idle_s, f"since {mode} step {step}" if self._last else "since the start")]

    def summary(self, trial: TrialLike) -> list[Check]:
        if not self._seen:
            return super().summary(trial)
        outcome = "fired" if self._longest > self.parameters.threshold else "ok"
        return [Check("time between saved steps", outcome, f"at most {self._longest:.1f} s")]

    def _saved_at(self, trial: TrialLike, step: int) -> float:
        folder = getattr(trial, "folder", None)
        shelf = folder / "index" / f"{step // 1000:09d}" if folder is not None else None
        path = next(shelf.glob(f"{step:012d}_*.json"), None) if shelf is not None else None
        return self._clock() if path is None else float(path.stat().st_mtime)

    def _finding(self, mode: str, step: int, gap: float, said: str) -> Finding:
        bound = float(self.parameters.threshold)
        message = f"No tensor was saved for {gap:.0f} s {said}, more than {bound:.0f} s."
        return Finding(step, mode, None, "seconds without a tensor", gap, bound, message)
