"""Rules over the labels of pictures and what the network said of them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kennel.debug.rules.base import Check, Finding, Rule, TrialLike
from kennel.debug.rules.parameters import Patterns, parameter
from kennel.debug.rules.reading import choose, mode_of, present
from kennel.debug.rules.words import counted, number
from kennel.errors import UserError

Labels = NDArray[np.int64]


class ClassImbalance(Rule):
    """The most frequent class has more than `threshold_imbalance` times the labels of the rarest, or a class has more
    than `threshold_misprediction` of its pictures mispredicted; judged from `samples` labels on.
    """

    @dataclass(frozen=True)
    class Parameters:
        """AWS's, and two of ours.

        samples_per_class: labels for each class seen that must have been counted too; 0 asks none, as AWS.
        mode: only labels of this mode; None takes all, as AWS.
        """

        threshold_imbalance: float = parameter(10.0, low=1)
        threshold_misprediction: float = parameter(0.7, low=0, high=1)
        samples: int = parameter(500, low=1)
        argmax: bool = parameter(False)
        labels_regex: Patterns = parameter(Patterns((".*labels",)))
        predictions_regex: Patterns = parameter(Patterns((".*predictions",)))
        samples_per_class: int = parameter(0, low=0)
        mode: str | None = parameter(None, choices=("TRAIN", "EVAL"))

    parameters: Parameters
    name = "ClassImbalance"
    collections: ClassVar = ("labels", "predictions")
    wants = "labels (and predictions)"
    meaning = "The network sees some classes far more often than others, or has given some up."
    advice = (
        "Add pictures of the rare classes; until then weigh them up in the loss (class-weights balanced), and judge by "
        "the mean recall of the classes rather than by accuracy. If a class is mispredicted though it has pictures, "
        "look at whether its folder holds what its name says."
    )

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._counts: dict[int, int] = {}
        self._judged_predictions: dict[int, int] = {}
        self._wrong: dict[int, int] = {}

    @property
    def _labels_seen(self) -> int:
        return sum(self._counts.values())

    @property
    def _labels_needed(self) -> int:
        return max(self.parameters.samples, self.parameters.samples_per_class * len(self._counts))

    @property
    def too_few(self) -> bool:
        return self._labels_seen < self._labels_needed

    def account(self) -> str:
        looked = f"looked at {self._labels_seen} labels of {counted(self.steps_seen, 'step')}"
        return f"{looked}, needs {self._labels_needed} labels: nothing can be said" if self.too_few else looked

    def summary(self, trial: TrialLike) -> list[Check]:
        if not self._counts:
            return super().summary(trial)
        most, least = max(self._counts.values()), min(self._counts.values())
        said = f"{len(self._counts)} classes, {least} to {most} labels"
        outcome = (
            "no data" if self.too_few else "fired" if self._ratio() > self.parameters.threshold_imbalance else "ok"
        )
        checks = [Check("labels per class", outcome, said)]
        if not self._judged_predictions:
            checks.append(Check("mispredictions per class", "no data", "no predictions were saved beside the labels"))
        return checks

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        mode, mode_step = mode_of(trial, step)
        if self.parameters.mode not in (None, mode) or not self._count(trial, step) or self.too_few:
            return []
        return [
            Finding(mode_step, mode, *each) for each in (self._imbalance(trial), *self._mispredicted(trial)) if each
        ]

    def _count(self, trial: TrialLike, step: int) -> bool:
        """Counts the step's labels, each with its prediction where there is one."""
        labels = read_classes(trial, choose(trial, patterns=self.parameters.labels_regex), step)
        if labels is None:
            return False
        self._see(step)
        names = choose(trial, patterns=self.parameters.predictions_regex)
        predictions = read_classes(trial, names, step, argmax=self.parameters.argmax)
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            self._counts[int(label)] = self._counts.get(int(label), 0) + int(count)
        if predictions is not None and predictions.size == labels.size:
            for label in np.unique(labels):
                chosen = predictions[labels == label]
                self._judged_predictions[int(label)] = self._judged_predictions.get(int(label), 0) + chosen.size
                self._wrong[int(label)] = self._wrong.get(int(label), 0) + int((chosen != label).sum())
        return True

    def _ratio(self) -> float:
        return max(self._counts.values()) / min(self._counts.values())

    def _imbalance(self, trial: TrialLike) -> tuple[str, str, float, float, str] | None:
        ratio, bound = self._ratio(), self.parameters.threshold_imbalance
        if ratio <= bound:
            return None
        most, least = max(self._counts, key=self._counts.__getitem__), min(self._counts, key=self._counts.__getitem__)
        said = (
            f"{class_name(trial, most)} has {self._counts[most]} of {self._labels_seen} labels, "
            f"{class_name(trial, least)} {self._counts[least]}: {number(ratio)} to 1, above {number(bound)}."
        )
        return "labels", "labels, most / least frequent class", ratio, bound, said

    def _mispredicted(self, trial: TrialLike) -> list[tuple[str, str, float, float, str]]:
        bound = self.parameters.threshold_misprediction
        found = []
        for label, count in sorted(self._judged_predictions.items()):
            share = self._wrong[label] / count
            if share > bound:
                said = f"{class_name(trial, label)}: {self._wrong[label]} of {count} pictures are mispredicted"
                said += f", {number(share)}, above {number(bound)}."
                found.append(("predictions", "mispredicted share of a class", share, bound, said))
        return found


class Confusion(Rule):
    """The confusion matrix, of what was predicted as a class: less than `min_diag` of it is right, or more than
    `max_off_diag` of it is of one other class.

    AWS's guide divides the diagonal by the trace, which no matrix of two classes could pass at 0.9; we divide it by
    the column's sum, as the guide does the rest. Classes never predicted have no column to judge.
    """

    @dataclass(frozen=True)
    class Parameters:
        """AWS's, and one of ours: samples, the pairs that are gathered before a matrix is judged; 0 judges the pairs of
        each step by themselves, as AWS (an XGBoost step has them all)."""

        category_no: int | None = parameter(None, low=2)
        labels: str = parameter("labels")
        predictions: str = parameter("predictions")
        labels_collection: str = parameter("labels")
        predictions_collection: str = parameter("predictions")
        min_diag: float = parameter(0.9, low=0, high=1)
        max_off_diag: float = parameter(0.1, low=0, high=1)
        samples: int = parameter(0, low=0)

    parameters: Parameters
    name = "Confusion"
    collections: ClassVar = ("labels", "predictions")
    wants = "labels and predictions"
    meaning = "The network takes pictures of one class for another too often."
    advice = (
        "Look at the pictures of the named pair side by side: mislabelled ones first, then more pictures of both that "
        "show the difference, a larger image size, and training of later stages of the backbone (trainable layer4)."
    )

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._pairs: list[tuple[Labels, Labels]] = []
        self._matrices = 0

    @property
    def too_few(self) -> bool:
        return not self._matrices

    def account(self) -> str:
        pairs = sum(labels.size for labels, _ in self._pairs)
        looked = f"looked at {counted(self.steps_seen, 'step')}, judged {self._matrices} times"
        if not self.too_few:
            return looked
        needed = max(1, self.parameters.samples)
        return f"{looked}; {pairs} pairs of label and prediction, needs {needed}: nothing can be said"

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        given = self.parameters
        labels = self._read(trial, given.labels, given.labels_collection, step)
        predictions = self._read(trial, given.predictions, given.predictions_collection, step)
        if labels is None or predictions is None or labels.size != predictions.size or not labels.size:
            return []
        self._see(step)
        self._pairs.append((labels, predictions))
        if sum(each.size for each, _ in self._pairs) < given.samples:
            return []
        matrix = self._matrix()
        self._pairs = []
        self._matrices += 1
        mode, mode_step = mode_of(trial, step)
        return [Finding(mode_step, mode, given.predictions, *each) for each in self._judge(trial, matrix)]

    def _read(self, trial: TrialLike, name: str, collection: str, step: int) -> Labels | None:
        names = trial.names(collection=collection) or trial.names()
        exact = [each for each in names if each == name]
        return read_classes(trial, exact or trial.names(collection=collection), step, argmax=True)

    def _matrix(self) -> Labels:
        """int (C, C): rows are labels, columns predictions."""
        labels = np.concatenate([each for each, _ in self._pairs])
        predictions = np.concatenate([each for _, each in self._pairs])
        highest = int(max(labels.max(), predictions.max()))
        size = self.parameters.category_no or max(2, highest + 1)
        if highest >= size or min(labels.min(), predictions.min()) < 0:
            raise UserError(
                f"Confusion: category_no is {size}, but a label or a prediction is {highest}. Leave it out."
            )
        matrix = np.zeros((size, size), dtype=np.int64)
        np.add.at(matrix, (labels, predictions), 1)
        return matrix

    def _judge(self, trial: TrialLike, matrix: Labels) -> list[tuple[str, float, float, str]]:
        given = self.parameters
        found = []
        for column in np.flatnonzero(matrix.sum(axis=0)):
            shares = matrix[:, column] / matrix[:, column].sum()
            said = f"of {matrix[:, column].sum()} pictures taken for {class_name(trial, int(column))},"
            if shares[column] < given.min_diag:
                message = f"{said} {number(shares[column])} are it, below {number(given.min_diag)}."
                found.append(("share that is right", float(shares[column]), given.min_diag, message))
            for row in np.flatnonzero(shares > given.max_off_diag):
                if row != column:
                    message = f"{said} {number(shares[row])} are {class_name(trial, int(row))}."
                    found.append(("share of another class", float(shares[row]), given.max_off_diag, message))
        return found


def read_classes(trial: TrialLike, names: list[str], step: int, *, argmax: bool = False) -> Labels | None:
    """int64 (N,): the classes in the tensors saved at a GLOBAL step, one after another; None where none was.

    argmax: values (N, C) become the class of the highest. Numbers that are no integers are rounded (a probability of
    the second of two classes).
    """
    found = []
    for name in present(trial, names, step):
        values: NDArray[Any] | None = trial.value(name, step)
        if values is None or not np.isfinite(values).all():
            continue
        if argmax and values.ndim > 1 and values.shape[-1] > 1:
            values = values.argmax(axis=-1)
        found.append(np.rint(values).astype(np.int64).ravel())
    return np.concatenate(found) if found else None


def class_name(trial: TrialLike, label: int) -> str:
    names = trial.facts.get("classes") or []
    return f"class {label} ({names[label]})" if 0 <= label < len(names) else f"class {label}"
