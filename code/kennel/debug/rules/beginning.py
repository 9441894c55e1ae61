"""Whether a loss is still where the training began: the reference "start" of LossNotDecreasing.

AWS compares a step with one some steps back: a training that is done, flat in its last epochs, is at fault by that,
and so is noise between two batches. Here a validation's mean is compared with the training's first loss, which is
that of guessing; a training that has learnt anything is far below it at the end as well.
"""

import math
from collections.abc import Iterator

from kennel.debug.rules.base import Finding
from kennel.debug.rules.passes import Pass, Passes
from kennel.debug.rules.reading import Point
from kennel.debug.rules.words import number

MOSTLY_ZERO = 1e-12  # a loss below this cannot be divided by
MEANT_PERCENT = 5.0  # of the first loss: a rise below it is noise on a loss that is nearly zero


class Beginning:
    """Takes losses one after another and says when they are no lower than the first.

    window: training losses in a mean, where no validation was saved. patience: means in a row that must fail.
    """

    def __init__(
        self, *, window: int, fall_percent: float, rise_percent: float, patience: int, mode: str | None
    ) -> None:
        self._window, self._fall, self._rise, self._patience, self._mode = (
            window,
            fall_percent,
            rise_percent,
            patience,
            mode,
        )
        self._first: float | None = None
        self._passes = Passes()
        self._recent: list[float] = []
        self._judged = 0
        self._failed = 0

    @property
    def too_few(self) -> bool:
        return self._judged < self._patience

    def needs(self) -> str:
        if self._first is None:
            return "none of them the first of the training, and the number of classes is not known"
        return f"with {self._judged} validations; needs {self._patience}"

    def add(self, point: Point, *, chance: float | None) -> Iterator[Finding]:
        """What the next loss shows. chance: the loss of guessing, if it is known.

        It stands in for the first loss of a training that goes on from a checkpoint, whose own is low already.
        """
        if self._first is None and math.isfinite(point.value):
            self._first = point.value if point.mode_step == 0 else chance
        self._passes.add(point)
        if not math.isfinite(point.value):
            self._judged = max(self._judged, self._patience)
            yield self._finding(
                point, point.value, f"The loss is {point.value} at {point.mode} step {point.mode_step}."
            )
        elif self._first is None:
            return
        elif self._mode in (None, "EVAL") and (self._passes.closed or point.mode == "EVAL"):
            yield from self._judge_passes(point)
        elif self._mode in (None, "GLOBAL", point.mode):
            yield from self._judge_window(point)

    def _judge_passes(self, point: Point) -> Iterator[Finding]:
        whole = self._passes.whole
        if len(whole) <= self._judged or point.mode != "EVAL" or whole[-1].last != point.step:
            return
        self._judged = len(whole)
        failed = [each for each in whole[-self._patience :] if self._is_no_lower(each.validation)]
        now = whole[-1].validation
        if len(failed) == self._patience:
            said = f"validation loss {number(now)}, and for {self._patience} validations in a row"
            yield self._finding(point, now, self._stuck(said))
        elif self._diverges(whole):
            best = min(each.validation for each in whole)
            said = f"Validation loss {number(now)} after {number(best)}, and the training loss has risen as well"
            yield self._finding(point, now, f"{said}: the training diverges.")

    def _judge_window(self, point: Point) -> Iterator[Finding]:
        self._recent.append(point.value)
        if len(self._recent) % self._window:
            return
        self._judged += 1
        mean = sum(self._recent[-self._window :]) / self._window
        self._failed = self._failed + 1 if self._is_no_lower(mean) else 0
        if self._failed >= self._patience:
            yield self._finding(
                point, mean, self._stuck(f"loss {number(mean)} over the last {self._window} saved steps")
            )

    def _is_no_lower(self, value: float) -> bool:
        fall = fallen_percent(self._first or 0.0, value)
        return not (fall > 0 and fall >= self._fall)

    def _diverges(self, whole: list[Pass]) -> bool:
        now, trains = whole[-1], [each.train for each in whole if each.train is not None]
        if now.train is None or len(trains) < 2:
            return False
        factor = 1 + self._rise / 100
        best, best_train = min(each.validation for each in whole), min(trains)
        is_meant = now.validation - best > MEANT_PERCENT / 100 * (self._first or 0.0)
        return is_meant and now.validation > best * factor and now.train > best_train * factor

    def _stuck(self, said: str) -> str:
        first = number(self._first or 0.0)
        return f"{said[0].upper()}{said[1:]}, not {number(self._fall)} % below {first}, where the training began."

    def _finding(self, point: Point, value: float, message: str) -> Finding:
        first = None if self._first is None else self._first * (1 - self._fall / 100)
        return Finding(point.mode_step, point.mode, "loss", "mean loss", value, first, message)


def fallen_percent(before: float, now: float) -> float:
    """By how many % of its size the loss has fallen; negative where it has risen, NaN where either is none."""
    if not math.isfinite(before) or not math.isfinite(now):
        return math.nan
    return 100.0 * (before - now) / max(abs(before), MOSTLY_ZERO)
