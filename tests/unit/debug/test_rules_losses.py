"""LossNotDecreasing, Overfit and Overtraining: by AWS's vectors, and on trainings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from real_runs import LOSS, Data, Training, alternating, findings, fired, tell, write_trial

from kennel.debug.rules import RECOMMENDED, build_rule
from kennel.debug.tensors import Trial

OLD_LOSSES = dict(zip((0, 4, 8, 12, 16), (0.30, 0.33, 0.31, 0.30, 0.28), strict=True))
EASY, NOISE = Data(spread=1.0), Data(spread=30.0)


def scalars(folder: Path, losses: dict[int, float]) -> Trial:
    return write_trial(folder / "trial", {step: {"loss": value} for step, value in losses.items()})


def epochs(folder: Path, trained: Sequence[float], validated: Sequence[float]) -> Trial:
    """Two training steps and two of validation an epoch, with these mean losses."""
    modes = dict(alternating(len(trained), train=2, evaluate=2))
    by_mode = {"TRAIN": trained, "EVAL": validated}
    saved = {step: {"loss": by_mode[mode][at // 2] * (0.95 + 0.1 * (at % 2))} for step, (mode, at) in modes.items()}
    return write_trial(folder / "trial", saved, modes=modes)


# --- LossNotDecreasing: the vectors ---


def test_guide_step_21_is_compared_with_9_and_the_next_check_is_33(tmp_path: Path) -> None:
    """Saved every 3, num_steps 10; the loss falls but for what makes each comparison show."""
    losses = {step: 100.0 - step for step in range(9, 36, 3)} | {21: 91.0 + 0.5, 33: 91.5}
    found = findings(scalars(tmp_path, losses), build_rule("LossNotDecreasing", {}))
    assert list(found) == [21, 33]
    assert "between GLOBAL step 9 (91) and step 21 (91.5)" in found[21][0].message
    assert "between GLOBAL step 21 (91.5) and step 33 (91.5)" in found[33][0].message


def test_old_test_1_fires_at_12_which_is_equal_to_step_0(tmp_path: Path) -> None:
    rule = build_rule("LossNotDecreasing", {"diff_percent": "0.0", "num_steps": "10"})
    assert list(findings(scalars(tmp_path, OLD_LOSSES), rule)) == [12]


def test_old_test_1_does_not_fire_over_13_to_16_alone(tmp_path: Path) -> None:
    """The history before the range is read: 16 is compared with 4."""
    rule = build_rule("LossNotDecreasing", {"diff_percent": "0.0"})
    assert not findings(scalars(tmp_path, OLD_LOSSES), rule, start=13, end=17)
    assert not rule.too_few


def test_old_test_2_fires_at_12_by_the_documented_meaning(tmp_path: Path) -> None:
    """The old test waits for 24; the guide asks for a fall of 20 %, and there is none between 0 and 12."""
    losses = OLD_LOSSES | {20: 0.20, 24: 0.42}
    found = findings(scalars(tmp_path, losses), build_rule("LossNotDecreasing", {"diff_percent": "20"}))
    assert list(found) == [12, 24]
    assert "risen by 40 %" in found[24][0].message and "more than the 5 %" in found[24][0].message


def test_a_fall_of_just_diff_percent_is_enough(tmp_path: Path) -> None:
    trial = scalars(tmp_path, {0: 1.0, 10: 0.5, 20: 0.25})
    assert not findings(trial, build_rule("LossNotDecreasing", {"diff_percent": "50"}))
    assert list(findings(trial, build_rule("LossNotDecreasing", {"diff_percent": "50.1"}))) == [10, 20]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_does_not_decrease(tmp_path: Path, value: float) -> None:
    (finding,) = fired(scalars(tmp_path, {0: 1.0, 10: value}), "LossNotDecreasing")
    assert "is not a number" in finding.message


def test_modes_are_looked_for_in_the_order_eval_train_global(tmp_path: Path) -> None:
    """Validation falls, training does not: judged by EVAL unless TRAIN is asked for."""
    trial = epochs(tmp_path, trained=[1.0] * 8, validated=[1.0 / epoch for epoch in range(1, 9)])
    assert not fired(trial, "LossNotDecreasing", num_steps="4")
    found = fired(trial, "LossNotDecreasing", num_steps="4", mode="TRAIN")
    assert found and {finding.mode for finding in found} == {"TRAIN"}
    assert [finding.step for finding in found] == [4, 8, 12]
    assert {finding.mode for finding in fired(trial, "LossNotDecreasing", num_steps="4", mode="GLOBAL")} == {"GLOBAL"}


def test_without_a_validation_the_training_loss_is_judged(tmp_path: Path) -> None:
    modes = {step: ("TRAIN", step) for step in range(0, 30, 5)}
    trial = write_trial(tmp_path / "trial", {step: {"loss": 1.0} for step in modes}, modes=modes)
    assert {finding.mode for finding in fired(trial, "LossNotDecreasing")} == {"TRAIN"}


def test_tensors_of_several_values_are_no_losses(tmp_path: Path) -> None:
    saved = {step: {"loss": 1.0, "weight": np.ones((2, 2))} for step in (0, 10)}
    found = fired(write_trial(tmp_path / "trial", saved), "LossNotDecreasing", tensor_regex=".*")
    assert [finding.tensor for finding in found] == ["loss"]


def test_too_few_steps_are_said(tmp_path: Path) -> None:
    rule = build_rule("LossNotDecreasing", {})
    assert not findings(scalars(tmp_path, {0: 1.0, 5: 1.0}), rule)
    assert rule.too_few and rule.account() == "looked at 2 steps, needs two that are 10 apart: nothing can be said"


# --- on trainings ---


def test_a_training_that_learns_decreases_its_loss(tmp_path: Path) -> None:
    trial = Training(lr=0.003, epochs=5, validates=False).run(tmp_path / "out")
    assert not fired(trial, "LossNotDecreasing", num_steps="20", mode="TRAIN")


def test_a_learning_rate_far_too_high_is_found(tmp_path: Path) -> None:
    trial = Training(lr=30.0, epochs=4, data=Data(images=128)).run(tmp_path / "out")
    assert fired(trial, "LossNotDecreasing", num_steps="4", mode="TRAIN")
    found = fired(trial, "LossNotDecreasing", **RECOMMENDED["LossNotDecreasing"])
    assert found and "where the training began" in found[0].message


def test_shuffled_labels_are_found_by_the_recommended_parameters(tmp_path: Path) -> None:
    def shuffled(labels: torch.Tensor) -> torch.Tensor:
        return labels[torch.randperm(len(labels))]

    trial = Training(labels=shuffled, epochs=4).run(tmp_path / "out")
    assert fired(trial, "LossNotDecreasing", **RECOMMENDED["LossNotDecreasing"])


def test_one_validation_says_nothing_by_the_recommended_parameters(tmp_path: Path) -> None:
    rule = build_rule("LossNotDecreasing", RECOMMENDED["LossNotDecreasing"])
    assert not findings(epochs(tmp_path, trained=[3.0], validated=[3.0]), rule)
    assert rule.too_few and "needs 3: nothing can be said" in rule.account()


@pytest.mark.parametrize(
    ("trained", "validated", "is_found"),
    [
        ([3.0, 1.0, 0.5, 0.3, 0.2, 0.2], [1.5, 0.7, 0.5, 0.4, 0.4, 0.4], False),  # flat at the end
        ([3.0, 2.99, 2.99, 2.98], [3.1, 3.0, 3.0, 2.99], True),  # never left where it began
        ([3.0, 1.0, 1.2, 2.0], [1.0, 0.9, 1.5, 2.5], True),  # learnt, then diverged
        ([3.0, 1.0, 0.5, 0.2], [1.0, 0.9, 1.5, 2.5], False),  # that is Overfit's
        ([3.0, float("nan")], [1.0, float("nan")], True),
    ],
)
def test_the_beginning_is_what_recommended_compares_with(
    tmp_path: Path, trained: list[float], validated: list[float], is_found: bool
) -> None:
    trial = epochs(tmp_path, trained=trained, validated=validated)
    assert bool(fired(trial, "LossNotDecreasing", **RECOMMENDED["LossNotDecreasing"])) == is_found


# --- Overfit ---


@pytest.fixture(scope="module")
def learnt_by_heart(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Noise without classes: all that can be learnt is the training data."""
    training = Training(data=Data(spread=30.0, images=64, width=32), network=wide, lr=0.02, epochs=12, batch=16)
    return training.run(tmp_path_factory.mktemp("heart") / "out")


@pytest.fixture(scope="module")
def learnt_well(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Many points of far apart classes: what holds for one half holds for the other."""
    return Training(lr=0.003, data=Data(spread=3.0), epochs=6).run(tmp_path_factory.mktemp("well") / "out")


def wide() -> torch.nn.Module:
    from real_runs import Net

    return Net(width=32, hidden=128)


@pytest.mark.parametrize("parameters", [{}, dict(RECOMMENDED["Overfit"])])
def test_a_net_that_learns_by_heart_overfits(learnt_by_heart: Trial, parameters: dict[str, str]) -> None:
    found = fired(learnt_by_heart, "Overfit", **parameters)
    assert found and {finding.mode for finding in found} == {"EVAL"}
    assert found[0].value > found[0].threshold == 0.1  # type: ignore[operator]


def test_a_net_that_learns_what_is_there_does_not_overfit(learnt_well: Trial) -> None:
    rule = build_rule("Overfit", {"ratio_threshold": "1"})
    assert not findings(learnt_well, rule) and not rule.too_few
    assert not fired(learnt_well, "Overfit", **RECOMMENDED["Overfit"])


def test_overfit_waits_for_more_than_its_patience(tmp_path: Path) -> None:
    trial = epochs(tmp_path, trained=[1.0] * 4, validated=[1.5] * 4)
    assert list(findings(trial, build_rule("Overfit", {}))) == [3, 6, 7, 10, 11, 14, 15]
    assert list(findings(trial, build_rule("Overfit", {"patience": "5"}))) == [11, 14, 15]
    assert list(findings(trial, build_rule("Overfit", {"start_step": "10"}))) == [11, 14, 15]
    assert not findings(trial, build_rule("Overfit", {"ratio_threshold": "0.6"}))


def test_overfit_needs_both_modes(tmp_path: Path) -> None:
    rule = build_rule("Overfit", {})
    trial = Training(validates=False, epochs=1).run(tmp_path / "out")
    assert not findings(trial, rule) and rule.too_few
    assert "only those of TRAIN were saved" in rule.summary(trial)[0].detail


# --- Overtraining ---


def test_a_training_that_stands_still_is_overtraining(tmp_path: Path) -> None:
    trial = epochs(tmp_path, trained=[1.0, 0.5, *[0.3] * 10], validated=[1.0, 0.6, *[0.4] * 10])
    found = findings(trial, build_rule("Overtraining", {"delta": "0.05"}))
    # Best at EVAL step 4 (global 10): ten saved steps of validation without a better one are at EVAL step 14.
    assert next(iter(found)) == 30
    assert "for 10, since 0.38 at EVAL step 4" in found[30][0].message


def test_a_training_that_gets_better_is_not_overtraining(tmp_path: Path) -> None:
    trial = epochs(tmp_path, trained=[1.0 - 0.1 * e for e in range(10)], validated=[1.0 - 0.1 * e for e in range(10)])
    rule = build_rule("Overtraining", {})
    assert not findings(trial, rule) and not rule.too_few


def test_a_real_training_is_overtrained_after_it_has_learnt(learnt_by_heart: Trial, tmp_path: Path) -> None:
    assert fired(learnt_by_heart, "Overtraining")
    short = Training(lr=0.0005, epochs=2, data=Data(images=320)).run(tmp_path / "short")
    assert not fired(short, "Overtraining")


# --- statistics only, empty trials ---


@pytest.mark.parametrize("name", ["LossNotDecreasing", "Overfit", "Overtraining"])
def test_an_empty_trial_is_no_pass(tmp_path: Path, name: str) -> None:
    rule = build_rule(name, {})
    assert not findings(Trial(tmp_path), rule)
    assert rule.too_few and "nothing can be said" in rule.account()


class MeansOnly:
    """A trial that holds a mean of each loss, as reductions do."""

    facts: dict[str, Any] = {}

    def __init__(self, losses: dict[int, float]) -> None:
        self.losses = losses

    def mode_of(self, step: int) -> tuple[str, int]:
        return "TRAIN", step

    def steps(self, mode: str = "GLOBAL") -> list[int]:
        return sorted(self.losses)

    def steps_of(self, name: str, mode: str = "GLOBAL") -> list[int]:
        return sorted(self.losses)

    def names(self, *, collection: str | None = None, regex: str | None = None) -> list[str]:
        return [LOSS]

    def value(self, name: str, step: int, mode: str = "GLOBAL") -> None:
        return None

    def statistic(self, name: str, step: int, which: str, mode: str = "GLOBAL") -> float | None:
        return self.losses[step] if which == "mean" else None

    def activity(self, name: str, step: int, mode: str = "GLOBAL") -> None:
        return None


def test_a_loss_of_which_only_the_mean_was_saved_is_judged() -> None:
    trial: Any = MeansOnly({0: 1.0, 10: 1.0, 20: 0.5})
    assert list(findings(trial, build_rule("LossNotDecreasing", {}))) == [10]


def test_a_training_that_goes_on_is_compared_with_guessing(tmp_path: Path) -> None:
    """From a checkpoint, where its own first loss is low already: the number of classes says what guessing costs."""
    modes = {20 + step: ("EVAL" if step % 2 else "TRAIN", 10 + step // 2) for step in range(10)}
    saved = {step: {"loss": 0.4 if mode == "EVAL" else 0.1} for step, (mode, _) in modes.items()}
    trial = write_trial(tmp_path / "trial", saved, modes=modes)
    rule = build_rule("LossNotDecreasing", RECOMMENDED["LossNotDecreasing"])
    assert not findings(trial, rule) and rule.too_few and "the number of classes is not known" in rule.account()
    rule = build_rule("LossNotDecreasing", RECOMMENDED["LossNotDecreasing"])
    assert not findings(tell(trial, classes=["beagle", "boxer", "collie"]), rule) and not rule.too_few
    saved = {step: {"loss": 1.1} for step in modes}
    bad = tell(write_trial(tmp_path / "bad", saved, modes=modes), classes=["beagle", "boxer", "collie"])
    assert "not 1 % below 1.099" in fired(bad, "LossNotDecreasing", **RECOMMENDED["LossNotDecreasing"])[0].message
