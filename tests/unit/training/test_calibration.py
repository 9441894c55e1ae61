"""kennel.training.calibration: temperature, calibration error and abstain threshold."""

import pytest
import torch

from kennel.training.calibration import (
    DEFAULT_THRESHOLD,
    abstain_threshold,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    with_temperature,
)
from kennel.training.evaluation import score


def _confident(overconfidence: float) -> tuple[torch.Tensor, torch.Tensor]:
    """5,000 images whose targets follow the true probabilities; their logits are `overconfidence` times too large."""
    numbers = torch.Generator().manual_seed(0)
    logits = torch.randn(5000, 4, generator=numbers) * 2
    targets = torch.multinomial(logits.softmax(1), 1, generator=numbers)[:, 0]
    return (logits * overconfidence).softmax(1), targets


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 3.0])
def test_fit_temperature_finds_by_how_much_logits_are_too_large(overconfidence: float) -> None:
    assert fit_temperature(*_confident(overconfidence)) == pytest.approx(overconfidence, rel=0.07)


def test_calibrate_lowers_loss_and_calibration_error_and_changes_no_label() -> None:
    probabilities, targets = _confident(3.0)
    found = calibrate(probabilities, targets)
    after = with_temperature(probabilities, found.temperature)
    assert score(after, targets).loss < score(probabilities, targets).loss
    assert found.ece_after < 0.03 < 0.1 < found.ece_before
    assert torch.equal(after.argmax(1), probabilities.argmax(1))


def test_fit_temperature_learns_nothing_where_every_image_is_right() -> None:
    assert fit_temperature(torch.tensor([[0.6, 0.4], [0.3, 0.7]]), torch.tensor([0, 1])) == 1.0


def test_with_temperature_1_changes_nothing() -> None:
    probabilities = torch.tensor([[0.6, 0.4], [1.0, 0.0]])
    assert torch.allclose(with_temperature(probabilities, 1.0).float(), probabilities)


def test_expected_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    probabilities = torch.tensor([[0.9, 0.1]] * 10)
    assert expected_calibration_error(probabilities, torch.tensor([0] * 9 + [1])) == pytest.approx(0.0, abs=1e-6)
    assert expected_calibration_error(probabilities, torch.tensor([0] * 4 + [1] * 6)) == pytest.approx(0.5, abs=1e-6)


def _threshold(confidences: list[float], right: list[bool], target_accuracy: float) -> float:
    probabilities = torch.tensor([[each, 1 - each] for each in confidences])
    targets = torch.tensor([0 if each else 1 for each in right])
    return abstain_threshold(probabilities, targets, target_accuracy=target_accuracy)


def test_abstain_threshold_is_0_where_the_model_is_right_often_enough() -> None:
    assert _threshold([0.9, 0.8, 0.7, 0.6], [True, True, True, False], 0.75) == 0.0


def test_abstain_threshold_lies_half_way_to_the_first_image_left_out() -> None:
    assert _threshold([0.9, 0.8, 0.7, 0.6], [True, True, True, False], 0.95) == pytest.approx(0.65)


def test_abstain_threshold_answers_as_many_as_it_can() -> None:
    # Wrong at the second: 0.5, then 2/3, 3/4, 4/5 right of those answered.
    assert _threshold([0.95, 0.9, 0.85, 0.8, 0.7, 0.6], [True, False, True, True, True, False], 0.8) == pytest.approx(
        0.65
    )


def test_abstain_threshold_does_not_part_images_of_the_same_confidence() -> None:
    assert _threshold([0.9, 0.7, 0.7, 0.6], [True, True, False, False], 0.95) == pytest.approx(0.8)


def test_abstain_threshold_has_a_default_where_none_is_enough() -> None:
    assert _threshold([0.9, 0.8], [False, True], 0.95) == DEFAULT_THRESHOLD
