"""kennel.training.objective: the loss is a mean over images."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from kennel.training.objective import Mixed, Objective, balanced_weights, mix

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0]])
TARGETS = torch.tensor([0, 1, 1, 2])


def _plain() -> Mixed:
    return Mixed(torch.zeros(4, 1), TARGETS, TARGETS, 1.0)


def test_objective_is_the_mean_cross_entropy_of_the_images() -> None:
    assert Objective()(LOGITS, _plain()) == pytest.approx(cross_entropy(LOGITS, TARGETS).item())


def test_objective_smooths_labels() -> None:
    expected = cross_entropy(LOGITS, TARGETS, label_smoothing=0.2).item()
    assert Objective(0.2)(LOGITS, _plain()) == pytest.approx(expected)


def test_balanced_weights_give_every_class_the_same_total() -> None:
    weights = balanced_weights([0, 0, 0, 1, 1, 2], 3)
    assert (weights * torch.tensor([3, 2, 1])).tolist() == pytest.approx([2, 2, 2])


def test_balanced_weights_of_a_class_without_images_are_0() -> None:
    assert balanced_weights([0, 0, 2], 3)[1] == 0


def test_objective_divides_weighted_losses_by_the_images_and_not_by_the_weights() -> None:
    weights = torch.tensor([3.0, 1.0, 1.0])
    losses = cross_entropy(LOGITS, TARGETS, reduction="none") * weights[TARGETS]
    assert Objective(0.0, weights)(LOGITS, _plain()) == pytest.approx(losses.mean().item())


def test_mix_is_off_at_alpha_0() -> None:
    inputs = torch.rand(4, 2)
    mixed = mix(inputs, TARGETS, alpha=0, purpose=(0, 1, 2))
    assert mixed.inputs is inputs
    assert mixed.share == 1


def test_mix_blends_inputs_and_says_how_much() -> None:
    inputs = torch.rand(4, 2)
    mixed = mix(inputs, TARGETS, alpha=1.0, purpose=(0, 1, 2))
    assert 0.5 <= mixed.share < 1
    others = (mixed.inputs - mixed.share * inputs) / (1 - mixed.share)
    order = [int((inputs - other).abs().sum(dim=1).argmin()) for other in others]
    assert sorted(order) == [0, 1, 2, 3]
    assert mixed.others.tolist() == TARGETS[order].tolist()


def test_mix_is_a_function_of_its_purpose() -> None:
    shares = [mix(torch.rand(4, 2), TARGETS, alpha=1.0, purpose=(0, 1, step)).share for step in (1, 1, 2)]
    assert shares[0] == shares[1] != shares[2]


def test_objective_of_a_mixed_batch_is_between_the_two_targets() -> None:
    others = TARGETS.flip(0)
    mixed = Mixed(torch.zeros(4, 1), TARGETS, others, 0.75)
    expected = 0.75 * cross_entropy(LOGITS, TARGETS) + 0.25 * cross_entropy(LOGITS, others)
    assert Objective()(LOGITS, mixed) == pytest.approx(expected.item())
