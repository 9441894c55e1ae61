from typing import Any

import numpy as np
import pytest

from kennel.report import answers

CLASSES = ("001.A", "002.B", "003.C")


def row(path: str, target: str, *probabilities: float, label: str = "") -> dict[str, Any]:
    return {"path": path, "target": target, "label": label, "probabilities": list(probabilities)}


ROWS = [
    row("001.A/1.jpg", "001.A", 0.8, 0.1, 0.1),
    row("001.A/2.jpg", "001.A", 0.3, 0.6, 0.1),
    row("001.A/3.jpg", "001.A", 0.05, 0.9, 0.05),
    row("002.B/1.jpg", "002.B", 0.1, 0.7, 0.2),
    row("003.C/1.jpg", "003.C", 0.35, 0.3, 0.35, label="C"),
]


def read() -> answers.Answers:
    found = answers.read_answers("test", ROWS, CLASSES)
    assert found is not None
    return found


def test_confusion_counts_every_answer_once() -> None:
    confusion = answers.confusion(read())
    assert confusion["cells"] == [[0, 0, 1], [0, 1, 2], [1, 1, 1], [2, 2, 1]]
    assert confusion["images"] == 5
    assert confusion["mistakes"] == [{"target": "001.A", "answer": "002.B", "images": 2, "share": 2 / 3}]


def test_of_equally_likely_classes_the_one_that_was_answered_counts() -> None:
    assert read().winners[4] == 2


def test_a_pair_shows_the_mistakes_and_what_is_meant_surest_first() -> None:
    (pair,) = answers.pairs(read(), answers.confusion(read())["mistakes"])
    assert [picture["path"] for picture in pair["taken"]] == ["001.A/3.jpg", "001.A/2.jpg"]
    assert [picture["path"] for picture in pair["like"]] == ["002.B/1.jpg"]


def test_worst_errors_are_the_surest_wrong_ones() -> None:
    worst = answers.worst_errors(read())
    assert [picture["probability"] for picture in worst] == [0.9, 0.6]
    assert worst[0]["probability_of_target"] == 0.05


def test_least_sure_answers_come_with_right_ones_too() -> None:
    assert [picture["probability"] for picture in answers.least_sure(read())][:2] == [0.35, 0.6]


def test_reliability_sums_up_to_the_calibration_error() -> None:
    found = answers.reliability(read())
    assert sum(each["images"] for each in found["bins"]) == 5
    # 0.9 and 0.6 wrong, 0.8, 0.7 and 0.35 right, each in a bin of its own
    assert found["ece"] == pytest.approx((0.9 + 0.6 + 0.2 + 0.3 + 0.65) / 5)
    assert found["over_confidence"] == pytest.approx(3.35 / 5 - 3 / 5)


def test_the_calibration_error_is_the_one_that_training_counts() -> None:
    import torch

    from kennel.training.calibration import expected_calibration_error

    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), size=200)
    targets = rng.integers(3, size=200)
    rows = [row(str(number), CLASSES[target], *probabilities[number]) for number, target in enumerate(targets)]
    found = answers.read_answers("valid", rows, CLASSES)
    assert found is not None
    trained = expected_calibration_error(torch.tensor(probabilities), torch.tensor(targets))
    assert answers.reliability(found)["ece"] == pytest.approx(trained)


@pytest.mark.parametrize(
    "bad",
    [row("x", "unknown", 0.1, 0.2, 0.7), row("x", "001.A", 0.5, 0.5), {"target": "001.A", "probabilities": [1, 0, 0]}],
)
def test_rows_that_do_not_fit_the_classes_are_left_out(bad: dict[str, Any]) -> None:
    assert answers.read_answers("test", [bad], CLASSES) is None
    found = answers.read_answers("test", [bad, *ROWS], CLASSES)
    assert found is not None
    assert len(found.paths) == 5
