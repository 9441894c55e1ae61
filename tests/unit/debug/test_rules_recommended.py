"""What runs by default: silent over a sound training of a head like ours, and not over one that is ill."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from real_runs import REDUCTIONS, Data, ReluAtTheEnd, Training, findings, zero_head
from torch import Tensor, nn

from kennel.debug.rules import RECOMMENDED, build_rule
from kennel.debug.tensors import Trial

# 20 classes that a linear layer learns as a head learns a backbone's features: training loss 3.0 to below 0.1,
# validation loss to 0.3, flat in the last epochs.
FEATURES = Data(classes=20, width=128, images=640, spread=5.0)


class Head(nn.Module):
    """As ours: one linear layer that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = zero_head(FEATURES.width, FEATURES.classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(features)


def head(**changes: object) -> Training:
    """Our defaults: adamw at 0.003 with cosine; five saved steps an epoch."""
    defaults = {"network": Head, "data": FEATURES, "epochs": 30, "lr": 0.003, "optimizer": torch.optim.AdamW}
    return Training(**{**defaults, "is_cosine": True, "interval": 4, **changes})  # type: ignore[arg-type]


def recommended(trial: Trial) -> dict[str, str]:
    """The rules that fire, each with what it says first."""
    found = {name: findings(trial, build_rule(name, given)) for name, given in RECOMMENDED.items()}
    return {name: next(iter(steps.values()))[0].message for name, steps in found.items() if steps}


@pytest.mark.parametrize("reductions", [(), REDUCTIONS], ids=["raw", "reductions"])
def test_a_sound_training_trips_none_of_them(tmp_path: Path, reductions: tuple[str, ...]) -> None:
    trial = head(saves_labels=not reductions, reductions=reductions).run(tmp_path / "out")
    assert recommended(trial) == {}
    (loss,) = trial.names(collection="losses")
    first, last = (float(trial.value(loss, step, "TRAIN") or 0) for step in (0, trial.steps_of(loss, "TRAIN")[-1]))
    assert first == pytest.approx(2.9957, abs=1e-4) and last < 0.2, "it is the training that is meant"


def test_aws_defaults_would_trip_on_it(tmp_path: Path) -> None:
    """Why there are parameters of ours at all."""
    trial = head().run(tmp_path / "out")
    names = ("LossNotDecreasing", "Overfit", "Overtraining", "WeightUpdateRatio")
    assert all(findings(trial, build_rule(name, {})) for name in names)


def shuffled(labels: Tensor) -> Tensor:
    return labels[torch.randperm(len(labels))]


def of_another_kind(features: Tensor) -> Tensor:
    return -features.roll(1, dims=1)


class BadHead(ReluAtTheEnd):
    def __init__(self) -> None:
        super().__init__(width=FEATURES.width, classes=FEATURES.classes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lr": 100.0}, {"LossNotDecreasing"}),
        ({"lr": 1e-9}, {"LossNotDecreasing"}),
        ({"labels": shuffled}, {"LossNotDecreasing"}),
        ({"validation": of_another_kind}, {"LossNotDecreasing"}),
        ({"network": BadHead}, {"LossNotDecreasing", "VanishingGradient", "UnchangedTensor", "DeadRelu"}),
        ({"lr": 1e38, "optimizer": torch.optim.SGD}, {"ExplodingTensor", "LossNotDecreasing"}),
    ],
    ids=["rate far too high", "rate far too low", "shuffled labels", "other validation", "relu at the end", "explodes"],
)
@pytest.mark.parametrize("reductions", [(), REDUCTIONS], ids=["raw", "reductions"])
@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # smdebug's reductions of infinities
def test_an_ill_training_is_found(
    tmp_path: Path, changes: dict[str, Callable[..., object]], expected: set[str], reductions: tuple[str, ...]
) -> None:
    trial = head(**{"epochs": 8, **changes}, reductions=reductions).run(tmp_path / "out")
    found = recommended(trial)
    assert expected <= set(found), found
