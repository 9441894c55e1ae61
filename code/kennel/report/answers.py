"""What a model said of the pictures of one split: the answers, the mistakes, and how far its confidence can be trusted.

Everything is counted from predictions-<split>.jsonl, so that the pictures shown and the numbers beside them agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 15  # of equal width, as training's own calibration error has them
PAIRS: Final = 12
PICTURES_OF_PAIR: Final = 3
WORST: Final = 24


@dataclass(frozen=True)
class Answers:
    """The answers of one split. classes: folders. probabilities: float64 (N, C). targets, winners: int (N,)."""

    split: str
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    probabilities: NDArray[np.float64]
    targets: NDArray[np.int64]
    winners: NDArray[np.int64]

    @property
    def confidences(self) -> NDArray[np.float64]:
        """float64 (N,): the probability of the answer that was given."""
        return self.probabilities[np.arange(len(self.winners)), self.winners]

    @property
    def is_right(self) -> NDArray[np.bool_]:
        return np.asarray(self.winners == self.targets)


def read_answers(split: str, rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Answers | None:
    """The answers in the rows that fit the classes; None where there is none."""
    index = {name: number for number, name in enumerate(classes)}
    fit = [row for row in rows if _fits(row, index)]
    if not fit:
        return None
    probabilities = np.array([row["probabilities"] for row in fit], dtype=np.float64)
    return Answers(
        split=split,
        classes=tuple(classes),
        paths=tuple(str(row["path"]) for row in fit),
        probabilities=probabilities,
        targets=np.array([index[row["target"]] for row in fit]),
        winners=_winners(fit, probabilities, classes),
    )


def _fits(row: Mapping[str, Any], index: Mapping[str, int]) -> bool:
    values = row.get("probabilities")
    return row.get("target") in index and "path" in row and isinstance(values, list) and len(values) == len(index)


def _winners(
    rows: Sequence[Mapping[str, Any]], probabilities: NDArray[np.float64], classes: Sequence[str]
) -> NDArray[np.int64]:
    """The likeliest class; of equally likely ones the one that the row names, as training saw it."""
    winners = probabilities.argmax(axis=1)
    for number, row in enumerate(rows):
        equal = np.flatnonzero(probabilities[number] == probabilities[number, winners[number]]).tolist()
        named = [each for each in equal if classes[each].endswith(str(row.get("label")))]
        winners[number] = named[0] if len(equal) > 1 and named else winners[number]
    return np.asarray(winners)


def confusion(answers: Answers) -> dict[str, Any]:
    """Every pair of classes that occurs: {"cells": [[target, answer, images]], "mistakes": [...most frequent first]}.

    target and answer are indices into `classes`; share: of the target class's images.
    """
    count = len(answers.classes)
    matrix = np.zeros((count, count), dtype=np.int64)
    np.add.at(matrix, (answers.targets, answers.winners), 1)
    images = matrix.sum(axis=1)
    cells = [[int(row), int(column), int(matrix[row, column])] for row, column in np.argwhere(matrix)]
    mistakes = [
        {
            "target": answers.classes[row],
            "answer": answers.classes[column],
            "images": found,
            "share": found / int(images[row]),
        }
        for row, column, found in cells
        if row != column
    ]
    mistakes.sort(key=_frequency)
    return {"classes": list(answers.classes), "images": int(matrix.sum()), "cells": cells, "mistakes": mistakes}


def _frequency(mistake: Mapping[str, Any]) -> tuple[Any, ...]:
    return -mistake["images"], -mistake["share"], mistake["target"], mistake["answer"]


def pairs(answers: Answers, mistakes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The pairs of classes most often confused, either way round, with pictures of the mistakes and of what is meant.

    taken: pictures of the target taken for the answer, surest first. like: pictures of the answer's class that were
    answered right, surest first.
    """
    index = {name: number for number, name in enumerate(answers.classes)}
    chosen = []
    for mistake in mistakes[:PAIRS]:
        target, answer = index[mistake["target"]], index[mistake["answer"]]
        taken = _surest(answers, (answers.targets == target) & (answers.winners == answer))
        like = _surest(answers, (answers.targets == answer) & answers.is_right)
        chosen.append({**mistake, "taken": taken, "like": like})
    return chosen


def _surest(answers: Answers, those: NDArray[np.bool_]) -> list[dict[str, Any]]:
    numbers = np.flatnonzero(those)
    numbers = numbers[np.argsort(-answers.confidences[numbers], kind="stable")]
    return [_picture(answers, int(number)) for number in numbers[:PICTURES_OF_PAIR]]


def worst_errors(answers: Answers) -> list[dict[str, Any]]:
    """Wrong answers, the surest first."""
    wrong = np.flatnonzero(~answers.is_right)
    order = wrong[np.argsort(-answers.confidences[wrong], kind="stable")]
    return [_picture(answers, int(number)) for number in order[:WORST]]


def least_sure(answers: Answers) -> list[dict[str, Any]]:
    """Answers of the smallest probability, right or wrong."""
    order = np.argsort(answers.confidences, kind="stable")
    return [_picture(answers, int(number)) for number in order[:WORST]]


def _picture(answers: Answers, number: int) -> dict[str, Any]:
    target, winner = int(answers.targets[number]), int(answers.winners[number])
    return {
        "split": answers.split,
        "path": answers.paths[number],
        "target": answers.classes[target],
        "answer": answers.classes[winner],
        "probability": float(answers.confidences[number]),
        "probability_of_target": float(answers.probabilities[number, target]),
    }


def reliability(answers: Answers) -> dict[str, Any]:
    """The reliability curve in 15 bins of equal width, and what sums it up.

    ece: mean distance of confidence and accuracy over the images. over_confidence: mean confidence minus accuracy.
    """
    confidences, right = answers.confidences, answers.is_right
    number = np.minimum((confidences * BINS).astype(int), BINS - 1)
    bins = []
    for each in range(BINS):
        inside = number == each
        if inside.any():
            bins.append(
                {
                    "from": each / BINS,
                    "to": (each + 1) / BINS,
                    "images": int(inside.sum()),
                    "confidence": float(confidences[inside].mean()),
                    "accuracy": float(right[inside].mean()),
                }
            )
    gaps = sum(each["images"] * abs(each["confidence"] - each["accuracy"]) for each in bins)
    return {
        "bins": bins,
        "ece": gaps / len(right),
        "over_confidence": float(confidences.mean() - right.mean()),
        "images": len(right),
    }
