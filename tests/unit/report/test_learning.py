import math
from typing import Any

import pytest

from kennel.report.learning import best_epoch, history_of_log, learning, should_stop


def history(*losses: float) -> list[dict[str, float]]:
    return [{"epoch": number, "valid_loss": loss} for number, loss in enumerate(losses, start=1)]


@pytest.mark.parametrize(
    ("losses", "stop"),
    [
        ((1.0, 0.5, 0.499, 0.498), 2),  # what came later gained less than 1 %
        ((1.0, 0.5, 0.6, 0.4), None),  # the last one gained: it could not have stopped before
        ((0.4, 0.5, 0.6), 1),
        ((1.0,), None),
        ((), None),
        ((math.nan, 0.5, 0.6), 2),  # no number is nothing to stop at
        ((math.nan, math.nan), None),
    ],
)
def test_where_a_training_should_have_stopped(losses: tuple[float, ...], stop: int | None) -> None:
    assert should_stop(history(*losses)) == stop


def test_an_epoch_without_a_validation_loss_is_passed_over() -> None:
    rows: list[Any] = [{"epoch": 1}, {"epoch": 2, "valid_loss": None}, {"epoch": 3, "valid_loss": 0.5}]
    assert learning(rows, best_epoch(rows))["kept_epoch"] == 3


def test_the_kept_epoch_is_the_one_of_the_smallest_validation_loss() -> None:
    assert best_epoch(history(0.9, 0.7, 0.8)) == 2
    assert best_epoch(history(math.nan, math.nan)) is None


def test_the_sentence_says_what_stopping_would_have_saved() -> None:
    said = learning(history(1.0, 0.5, 0.499, 0.52), 3)["sentence"]
    assert "epoch 3 was kept" in said
    assert "After epoch 2 (0.5) it never fell by another 1 %" in said
    assert "saved 2 of 4 epochs" in said


def test_a_loss_that_still_falls_and_a_single_epoch_are_said_differently() -> None:
    assert "still falling" in learning(history(1.0, 0.5), 2)["sentence"]
    assert "several only" in learning(history(1.0), 1)["sentence"]
    assert "nothing to keep" in learning(history(math.nan, math.nan), None)["sentence"]


def test_epochs_are_read_from_a_log_and_a_repeated_one_counts_as_it_was_last() -> None:
    lines = ["noise", "epoch=1/3 train_loss=2 valid_loss=1.5e0", "epoch=2/3 train_loss=nan", "epoch=1/3 train_loss=3"]
    assert [(row["epoch"], row["train_loss"]) for row in history_of_log(lines)][0] == (1, 3.0)
    assert math.isnan(history_of_log(lines)[1]["train_loss"])
