"""PoorWeightInitialization, DeadRelu and SaturatedActivation, on nets that have just the fault, and on sound ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from real_runs import REDUCTIONS, Net, Training, findings, fired, scaled, tell, write_trial
from torch import nn

from kennel.debug.rules import build_rule

SAVES: tuple[tuple[str, ...], ...] = ((), REDUCTIONS)  # raw tensors, and smdebug's reductions in place of them


# --- PoorWeightInitialization ---


def test_a_sound_initialisation_passes_its_three_checks(tmp_path: Path) -> None:
    trial = Training(network=scaled(1.0), epochs=2, validates=False).run(tmp_path / "out")
    rule = build_rule("PoorWeightInitialization", {"distribution_range": "1e-5"})
    assert not findings(trial, rule) and not rule.too_few
    assert {check.name: check.outcome for check in rule.summary(trial)} == {
        "variance of activation inputs": "ok",
        "spread of gradients": "ok",
        "loss falls": "ok",
    }


@pytest.mark.parametrize(
    ("factor", "lr", "check", "number"),
    [
        (3.0, 1e-6, "variance of activation inputs", "times"),
        (0.01, 1e-4, "spread of gradients", "p95 - p5"),
        (1.0, 5.0, "loss falls", "steps before step"),
    ],
)
def test_the_check_that_fired_is_named(tmp_path: Path, factor: float, lr: float, check: str, number: str) -> None:
    trial = Training(network=scaled(factor), lr=lr, epochs=2, validates=False).run(tmp_path / "out")
    rule = build_rule("PoorWeightInitialization", {"distribution_range": "1e-6"})
    found = [each for step in findings(trial, rule).values() for each in step]
    assert check in {each.measure for each in found}
    assert number in next(each.message for each in found if each.measure == check)
    assert next(each for each in rule.summary(trial) if each.name == check).outcome == "fired"
    assert all(each.step < 10 for each in found), "only the first ten steps"


def test_a_pretrained_backbone_makes_it_moot(tmp_path: Path) -> None:
    trial = Training(network=scaled(0.01), epochs=1).run(tmp_path / "out")
    assert fired(trial, "PoorWeightInitialization")
    pretrained, rule = tell(trial, is_pretrained=True), build_rule("PoorWeightInitialization", {})
    assert not findings(pretrained, rule) and not rule.too_few
    assert {check.outcome for check in rule.summary(pretrained)} == {"moot"}
    assert rule.account().startswith("moot: the backbone is pretrained")


class Normed(nn.Module):
    """The gradient of a bias before BatchNorm is zero, and that of BatchNorm's own weights small."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.bn1, self.relu, self.fc = nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.fc(self.relu(self.bn1(self.first(features))))


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {
            "parameters": [
                {"name": "Normed_bn1.weight", "kind": "BatchNorm1d"},
                {"name": "Normed_bn1.bias", "kind": "BatchNorm1d"},
                {"name": "Normed_first.bias", "kind": "Linear", "is_frozen": True},
            ]
        },
    ],
)
def test_batch_norm_and_frozen_layers_are_left_out(tmp_path: Path, facts: dict[str, Any]) -> None:
    trial = tell(Training(network=Normed, epochs=1).run(tmp_path / "out"), **facts)
    judged = {each.tensor for each in fired(trial, "PoorWeightInitialization", distribution_range="1000", patience="9")}
    gradients = {each for each in judged if each and each.startswith("gradient/")}
    assert gradients and not {each for each in gradients if "bn1" in each}
    assert ("gradient/Normed_first.bias" in gradients) == (not facts)


def test_an_interval_of_500_shows_one_step_of_ten(tmp_path: Path) -> None:
    trial = Training(interval=500, epochs=2).run(tmp_path / "out")
    rule = build_rule("PoorWeightInitialization", {"distribution_range": "1e-5"})
    findings(trial, rule)
    outcomes = {check.name: check.outcome for check in rule.summary(trial)}
    assert outcomes["loss falls"] == "no data" and outcomes["spread of gradients"] == "ok"
    assert rule.account() == "looked at 1 of the first 10 steps; not judged: variance of activation inputs, loss falls"


# --- DeadRelu and SaturatedActivation ---


def dead() -> nn.Module:
    """Biases far below zero: what a step far too long leaves behind."""
    network = Net()
    nn.init.constant_(network.first.bias, -100.0)
    return network


@pytest.mark.parametrize("reductions", SAVES, ids=["raw", "reductions"])
def test_relus_of_a_sound_net_are_active(tmp_path: Path, reductions: tuple[str, ...]) -> None:
    trial = Training(reductions=reductions, epochs=1).run(tmp_path / "out")
    rule = build_rule("DeadRelu", {})
    assert not findings(trial, rule) and rule.steps_seen == 16


@pytest.mark.parametrize("reductions", SAVES, ids=["raw", "reductions"])
def test_dead_relus_are_found(tmp_path: Path, reductions: tuple[str, ...]) -> None:
    trial = Training(network=dead, reductions=reductions, epochs=1, lr=1e-4).run(tmp_path / "out")
    found = fired(trial, "DeadRelu")
    assert {each.tensor for each in found} == {"relu_output_0"} and {each.mode for each in found} == {"TRAIN", "EVAL"}
    assert found[0].value == 100.0 and "100 % of the units" in found[0].message


def test_a_relu_is_dead_by_its_share_of_positive_values(tmp_path: Path) -> None:
    """Of four units one is active in 1 of 200 values (0.5 %), one in 3 (1.5 %), one never, one always."""
    outputs = np.zeros((200, 4), dtype=np.float32)
    outputs[:1, 0] = outputs[:3, 1] = outputs[:, 3] = 1.0
    trial = write_trial(tmp_path / "trial", {0: {"relu_output_0": outputs}}, collections={"relu_output": []})
    assert not fired(trial, "DeadRelu")  # 50 % are dead, and more than that is asked for
    assert fired(trial, "DeadRelu", threshold_layer="49.9")[0].value == 50.0
    assert not fired(trial, "DeadRelu", threshold_layer="49.9", threshold_inactivity="0.5")


def test_units_that_take_turns_are_not_dead_over_several_steps(tmp_path: Path) -> None:
    """Each batch has one of four classes, and each unit one class that it is for."""
    saved = {step: {"relu_output_0": np.eye(4)[[step % 4] * 8]} for step in range(8)}
    trial = write_trial(tmp_path / "trial", saved, collections={"relu_output": []})
    assert fired(trial, "DeadRelu")[0].value == 75.0
    rule = build_rule("DeadRelu", {"steps": "4"})
    assert not findings(trial, rule) and not rule.too_few
    assert [each.step for each in fired(trial, "DeadRelu", steps="2", threshold_layer="49")] == [1, 2, 3, 4, 5, 6, 7]
    assert build_rule("DeadRelu", {"steps": "9"}).steps_needed == 9


@pytest.mark.parametrize("reductions", SAVES, ids=["raw", "reductions"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_saturated_activations_are_found(tmp_path: Path, activation: str, reductions: tuple[str, ...]) -> None:
    def saturated() -> nn.Module:
        network = Net(activation=activation)
        nn.init.constant_(network.first.bias, 100.0)
        return network

    trial = Training(network=saturated, reductions=reductions, epochs=1, lr=1e-4).run(tmp_path / "out")
    found = fired(trial, "SaturatedActivation")
    assert {each.tensor for each in found} == {f"{activation}_input_0"}
    assert found[0].value == 100.0


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_activations_of_a_sound_net_are_not_saturated(tmp_path: Path, activation: str) -> None:
    trial = Training(network=lambda: Net(activation=activation), epochs=1).run(tmp_path / "out")
    rule = build_rule("SaturatedActivation", {})
    assert not findings(trial, rule) and not rule.too_few


def test_statistics_with_values_on_both_sides_leave_saturation_open(tmp_path: Path) -> None:
    def wide() -> nn.Module:
        network = Net(activation="tanh")
        with torch.no_grad():
            network.first.weight *= 1000
        return network

    raw = Training(network=wide, epochs=1, lr=1e-4).run(tmp_path / "raw")
    assert fired(raw, "SaturatedActivation")
    rule = build_rule("SaturatedActivation", {})
    assert not findings(Training(network=wide, reductions=REDUCTIONS, epochs=1, lr=1e-4).run(tmp_path / "few"), rule)
    assert rule.too_few and "nothing can be said" in rule.account()
