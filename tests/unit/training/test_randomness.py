"""kennel.training.randomness and kennel.training.schedules: functions of what they are for, and of nothing else."""

import pytest
import torch

from kennel.training.randomness import generator, numpy_generator, permutation, seed_of, seed_torch
from kennel.training.schedules import learning_rate_factor


def test_seed_of_is_the_same_in_every_process() -> None:
    assert seed_of("order", 0, 1) == 5235859805464026190


def test_seed_of_differs_for_different_purposes() -> None:
    seeds = {seed_of(*purpose) for purpose in [("a", 1, 2), ("a", 2, 1), ("b", 1, 2), ("a", 12), ("a", 1), ("a",)]}
    assert len(seeds) == 6


def test_seed_torch_draws_what_manual_seed_does() -> None:
    seed_torch("step", 1, 2)
    ours = torch.rand(3)
    torch.manual_seed(seed_of("step", 1, 2))
    assert torch.equal(ours, torch.rand(3))


def test_permutation_is_one_and_a_function_of_its_purpose() -> None:
    assert sorted(permutation(50, "order", 0, 1)) == list(range(50))
    assert permutation(50, "order", 0, 1) == permutation(50, "order", 0, 1)
    assert permutation(50, "order", 0, 1) != permutation(50, "order", 0, 2)


def test_generators_do_not_depend_on_what_was_drawn_before() -> None:
    first = generator("view", 0, 1, 2).initial_seed(), numpy_generator("mixup", 0).random()
    numpy_generator("mixup", 0).random(100)
    assert first == (generator("view", 0, 1, 2).initial_seed(), numpy_generator("mixup", 0).random())


@pytest.mark.parametrize(
    ("scheduler", "factors"),
    [
        ("none", {0: 1.0, 50: 1.0, 99: 1.0}),
        ("cosine", {0: 1.0, 50: 0.5, 100: 0.0}),
        ("step", {0: 1.0, 49: 1.0, 50: 0.1, 74: 0.1, 75: 0.01}),
        ("one-cycle", {0: 0.04, 15: 0.52, 30: 1.0, 65: 0.50005, 100: 0.0001}),
    ],
)
def test_learning_rate_follows_the_scheduler(scheduler: str, factors: dict[int, float]) -> None:
    assert {step: learning_rate_factor(scheduler, step, 100) for step in factors} == pytest.approx(factors)
