"""VanishingGradient and WeightUpdateRatio on nets that have just the fault and on sound ones; and what is no pass."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from real_runs import REDUCTIONS, Data, ReluAtTheEnd, Training, findings, fired, scaled, tell, write_trial, zero_head
from torch import nn

from kennel.debug.rules import RECOMMENDED, build_rule
from kennel.debug.tensors import Trial

SAVES: tuple[tuple[str, ...], ...] = ((), REDUCTIONS)  # raw tensors, and smdebug's reductions in place of them


@pytest.fixture(scope="module", params=SAVES, ids=["raw", "reductions"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A net that learns, as raw tensors and as reductions."""
    return Training(reductions=request.param, epochs=3).run(tmp_path_factory.mktemp("sound") / "out")


@pytest.fixture(scope="module", params=SAVES, ids=["raw", "reductions"])
def cut_off(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A ReLU after logits that start at zero: no gradient comes through."""
    training = Training(network=ReluAtTheEnd, reductions=request.param, epochs=3)
    return training.run(tmp_path_factory.mktemp("cut") / "out")


# --- VanishingGradient ---


@pytest.mark.parametrize("parameters", [{}, dict(RECOMMENDED["VanishingGradient"])])
def test_a_net_that_learns_has_gradients(sound: Trial, parameters: dict[str, str]) -> None:
    rule = build_rule("VanishingGradient", parameters)
    assert not findings(sound, rule)
    assert rule.steps_seen == 24 and not rule.too_few, "every step of training, and none of validation"


@pytest.mark.parametrize("parameters", [{}, dict(RECOMMENDED["VanishingGradient"])])
def test_a_relu_after_the_logits_is_found_and_named(cut_off: Trial, parameters: dict[str, str]) -> None:
    rule = build_rule("VanishingGradient", parameters)
    found = [each for step in findings(cut_off, rule).values() for each in step]
    assert "gradient/ReluAtTheEnd_fc.weight" in {each.tensor for each in found}
    assert {each.value for each in found} == {0.0} and {each.mode for each in found} == {"TRAIN"}
    assert "ReLU after the logits" in rule.remedy and "exactly zero" in rule.remedy


def test_gradients_vanish_in_a_deep_net_of_sigmoids(tmp_path: Path) -> None:
    trial = Training(network=scaled(0.1, depth=12, activation=nn.Sigmoid), epochs=1).run(tmp_path / "out")
    rule = build_rule("VanishingGradient", {})
    found = [each for step in findings(trial, rule).values() for each in step]
    assert "gradient/Deep_layers.0.weight" in {each.tensor for each in found}
    assert "Deep_layers.0.weight" in rule.remedy and "BatchNorm or skip connections" in rule.remedy


def test_recommended_waits_for_three_steps_and_for_a_loss_that_is_worth_it(tmp_path: Path) -> None:
    name, given = "gradient/fc.weight", dict(RECOMMENDED["VanishingGradient"])
    saved = {step: {name: np.full((2, 2), size), "loss": loss} for step, (size, loss) in enumerate(
        [(0.0, 3.0), (1.0, 2.0), (0.0, 1.5), (0.0, 1.0), (0.0, 0.9), (0.0, 0.01), (0.0, 0.01)])}  # fmt: skip
    collections = {"gradients": [name], "losses": ["loss"]}
    trial = write_trial(tmp_path / "trial", saved, collections=collections)
    assert list(findings(trial, build_rule("VanishingGradient", given))) == [4]
    assert list(findings(trial, build_rule("VanishingGradient", {}))) == [0, 2, 3, 4, 5, 6]


# --- WeightUpdateRatio ---


def test_weights_of_a_sound_training_move_by_little(tmp_path: Path) -> None:
    trial = Training(epochs=2).run(tmp_path / "out")
    for parameters in ({}, dict(RECOMMENDED["WeightUpdateRatio"]), {"num_steps": "4"}):
        rule = build_rule("WeightUpdateRatio", parameters)
        assert not findings(trial, rule) and not rule.too_few


def test_weights_thrown_about_and_weights_that_stay_are_found(tmp_path: Path) -> None:
    high = Training(lr=30.0, epochs=1).run(tmp_path / "high")
    (finding, *_) = fired(high, "WeightUpdateRatio")
    assert finding.value is not None and finding.value > 10 and "above 10" in finding.message
    never = Training(lr=0.0, epochs=1).run(tmp_path / "never")
    found = fired(never, "WeightUpdateRatio", **RECOMMENDED["WeightUpdateRatio"])
    assert {each.tensor for each in found} == {"Net_first.weight", "Net_fc.weight"}
    assert found[0].value == 0 and found[0].step == 3, "the third ratio in a row"


def test_a_frozen_weight_may_stay(tmp_path: Path) -> None:
    trial = Training(lr=0.0, epochs=1).run(tmp_path / "out")
    frozen = [{"name": "Net_first.weight", "is_frozen": True}, {"name": "Net_fc.weight", "is_frozen": False}]
    found = fired(tell(trial, parameters=frozen), "WeightUpdateRatio")
    assert {each.tensor for each in found} == {"Net_fc.weight"}


def test_a_head_that_starts_at_zero_is_found_by_aws_only(tmp_path: Path) -> None:
    trial = Training(network=lambda: zero_head(8, 4), lr=0.003, epochs=2).run(tmp_path / "out")
    assert fired(trial, "WeightUpdateRatio")
    assert not fired(trial, "WeightUpdateRatio", **RECOMMENDED["WeightUpdateRatio"])


class UpdateRatios:
    """A trial that holds only what the hook says of a weight: its size after the step, and the ratio to that."""

    facts: dict[str, Any] = {}
    ratios = {0: None, 5: 0.5, 10: 0.0, 15: 0.96}
    sizes = {0: 1.0, 5: 2.0, 10: 2.0, 15: 50.0}

    def mode_of(self, step: int) -> tuple[str, int]:
        return "TRAIN", step

    def steps(self, mode: str = "GLOBAL") -> list[int]:
        return list(self.ratios)

    def steps_of(self, name: str, mode: str = "GLOBAL") -> list[int]:
        return list(self.ratios)

    def names(self, *, collection: str | None = None, regex: str | None = None) -> list[str]:
        return ["fc.weight"] if collection == "weights" else []

    def value(self, name: str, step: int, mode: str = "GLOBAL") -> None:
        return None

    def statistic(self, name: str, step: int, which: str, mode: str = "GLOBAL") -> float | None:
        return {"update_ratio": self.ratios[step], "abs_mean": self.sizes[step]}.get(which)

    def activity(self, name: str, step: int, mode: str = "GLOBAL") -> None:
        return None


def test_the_hooks_ratio_is_turned_into_that_of_the_weight_before() -> None:
    """0.96 of a size of 50 was moved, from a size of 2: 24 times."""
    trial: Any = UpdateRatios()
    found = findings(trial, build_rule("WeightUpdateRatio", {}))
    assert list(found) == [10, 15] and found[10][0].value == 0
    assert found[15][0].value == pytest.approx(24)
    assert not findings(trial, build_rule("WeightUpdateRatio", {"num_steps": "5", "large_threshold": "25",
                                                                "small_threshold": "0"}))  # fmt: skip


# --- all of them ---

NAMES = ("VanishingGradient", "WeightUpdateRatio", "PoorWeightInitialization", "DeadRelu", "SaturatedActivation")


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_trial_and_one_without_their_tensors_are_no_pass(tmp_path: Path, name: str) -> None:
    for trial in (
        Trial(tmp_path / "none"),
        write_trial(tmp_path / "other", {0: {"x": 1.0}}, collections={"losses": []}),
    ):
        rule = build_rule(name, {})
        assert not findings(trial, rule)
        assert rule.too_few and "nothing can be said" in rule.account()
        assert {check.outcome for check in rule.summary(trial)} == {"no data"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings(
    "ignore:(overflow|invalid value):RuntimeWarning"
)  # smdebug's statistics of what is not finite
def test_tensors_that_are_not_finite_break_no_rule(tmp_path: Path, name: str) -> None:
    trial = Training(lr=1e30, epochs=1, data=Data(images=128), optimizer=torch.optim.SGD).run(tmp_path / "out")
    findings(trial, build_rule(name, {}))
