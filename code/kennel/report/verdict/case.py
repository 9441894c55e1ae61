"""A run's numbers as the diagnoses ask for them: chance, accuracies with their uncertainty, epochs, settings.

case = Case(run)
case.chance, case.is_at_chance(case.best["valid_accuracy"], case.images("valid"))
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from kennel.report.record import RunRecord
from kennel.report.verdict.diagnosis import fired
from kennel.report.verdict.signals import InputShift, Signals, read_signals

_COUNTS: Final = re.compile(r"^data classes=(\d+) train=(\d+) valid=(\d+) test=(\d+)")
# How many standard errors make a difference that chance does not.
SURE: Final = 3.0


class Case:
    """A run under examination. What the run's files do not say is None, empty or NaN."""

    def __init__(self, run: RunRecord) -> None:
        self.run = run

    @cached_property
    def signals(self) -> Signals:
        """What the saved tensors say."""
        return read_signals(self.run.trial)

    @property
    def shift(self) -> InputShift | None:
        return self.signals.shift

    @cached_property
    def classes(self) -> int:
        evaluation, card = self.run.evaluation or {}, self.run.card or {}
        named = evaluation.get("classes") or self.run.facts.get("classes") or card.get("classes")
        return len(named) if named else self._counted[0]

    def images(self, split: str) -> int:
        """Pictures of a split (train, valid, test); 0 where nothing says it."""
        described = (self.run.evaluation or {}).get(split) or {}
        found = described.get("images") or len(self.run.split.get(split) or ())
        return int(found or self._counted[("train", "valid", "test").index(split) + 1])

    @cached_property
    def _counted(self) -> tuple[int, int, int, int]:
        """Classes and pictures by split, as the training printed them."""
        for _, line in self.run.log:
            if match := _COUNTS.match(line):
                classes, train, valid, test = (int(text) for text in match.groups())
                return classes, train, valid, test
        return 0, 0, 0, 0

    @cached_property
    def trained_counts(self) -> dict[str, int]:
        """Training pictures of each class folder."""
        return dict(Counter(_class_of(str(path)) for path in self.run.split.get("train") or ()))

    @cached_property
    def chance(self) -> float:
        """The accuracy of always giving the validation set's most frequent class; NaN without classes."""
        if not self.classes:
            return math.nan
        rows = ((self.run.evaluation or {}).get("valid") or {}).get("per_class") or []
        counts = [int(row.get("images") or 0) for row in rows] or [0]
        return max(1 / self.classes, max(counts) / sum(counts) if sum(counts) else 0.0)

    @property
    def chance_loss(self) -> float:
        """The loss of knowing nothing: log(classes)."""
        return math.log(self.classes) if self.classes > 1 else math.nan

    @cached_property
    def history(self) -> list[dict[str, float]]:
        return [row for row in self.run.history if "epoch" in row]

    @cached_property
    def best(self) -> dict[str, float]:
        """The epoch that was kept; {} where none was."""
        return next((row for row in self.history if row["epoch"] == self.run.best_epoch), {})

    def column(self, name: str) -> list[float]:
        """A number of every epoch; NaN where an epoch has none."""
        return [_number(row.get(name)) for row in self.history]

    def result(self, split: str, name: str = "accuracy") -> float:
        """A number of evaluation.json; NaN where there is none. Of validation, the kept epoch's where that is all."""
        found = ((self.run.evaluation or {}).get(split) or {}).get(name)
        if found is None and split == "valid":
            found = self.best.get(f"valid_{name}")
        return _number(found)

    def is_at_chance(self, accuracy: float, images: int) -> bool:
        """Whether an accuracy on that many pictures is one that knowing nothing gives as well."""
        return bool(accuracy <= self.chance + SURE * standard_error(self.chance, images))

    def setting(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  a hyperparameter
        found = self.run.hyperparameters.get(name)
        return default if found is None else found

    def number(self, name: str, default: float = math.nan) -> float:
        """A hyperparameter that is a number; the default for one that is none, as another's training may have."""
        found = _number(self.run.hyperparameters.get(name))
        return default if math.isnan(found) else found

    @cached_property
    def is_pretrained(self) -> bool | None:
        """Whether the backbone began with trained weights; None where nothing says it."""
        if "is_pretrained" in self.run.facts:
            return bool(self.run.facts["is_pretrained"])
        for _, line in self.run.log:
            if line.startswith("weights file="):
                return not line.startswith("weights file=none")
        return False if self.setting("weights") == "none" else None

    @property
    def is_head_only(self) -> bool:
        return bool(self.setting("trainable", "head") == "head")

    def has_fired(self, rule: str) -> bool:
        return any(each.get("RuleName") == rule for each in fired(self.run.rules))


def standard_error(accuracy: float, images: int) -> float:
    """Of an accuracy measured on that many pictures; never 0, also where all of them were right."""
    if images <= 0:
        return math.inf
    smoothed = (accuracy * images + 1) / (images + 2)
    return math.sqrt(smoothed * (1 - smoothed) / images)


def differs(one: tuple[float, int], other: tuple[float, int], *, by: float) -> bool:
    """Whether accuracy `one` is above `other` by at least `by`, and by more than chance explains.

    Each is (accuracy, pictures).
    """
    error = math.hypot(standard_error(*one), standard_error(*other))
    return one[0] - other[0] > max(by, SURE * error)


def _class_of(path: str) -> str:
    """ "train/001.cat/7.jpg" is of "001.cat"."""
    parts = path.split("/")
    return parts[-2] if len(parts) > 1 else ""


def _number(value: object) -> float:
    """A number, also of the texts that stand for those JSON lacks; NaN for anything else."""
    try:
        return float(value)  # type: ignore[arg-type]  # what a file holds
    except (TypeError, ValueError):
        return math.nan


def describe_setting(values: Mapping[str, object]) -> str:
    """`-p lr=0.003 -p views=4`, as it is typed."""
    return " ".join(f"-p {name}={value}" for name, value in values.items())
