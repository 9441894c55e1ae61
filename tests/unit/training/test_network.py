"""kennel.training.network and .golden: what a training starts from, and what its archive is checked by."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from kennel.errors import HyperparameterError, WeightsError
from kennel.hyperparameters import Hyperparameters
from kennel.images.decode import decode_image
from kennel.model.backbones import build_backbone
from kennel.training.golden import golden_pictures
from kennel.training.network import Start, build_start

TINY = Hyperparameters(weights="none", image_size=32, trainable="all", batch_size=4)


def _start(settings: Hyperparameters, channels: dict[str, Path] | None = None) -> Start:
    return build_start(settings, classes=3, channels=channels or {}, device=torch.device("cpu"))


def test_random_weights_are_a_function_of_the_seed() -> None:
    first, again, other = (_start(dataclasses.replace(TINY, seed=seed, head="8")).model for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_linear_head_starts_at_zero() -> None:
    head = _start(TINY).model.head
    assert isinstance(head, nn.Linear)
    assert not head.weight.any() and not head.bias.any()


def test_weights_channel_is_loaded_and_its_digest_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(9)
    network = build_backbone("resnet18").network
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    start = _start(dataclasses.replace(TINY, weights="auto"), {"weights": tmp_path})
    assert start.is_pretrained
    assert torch.equal(
        start.model.backbone.network.get_parameter("conv1.weight"), network.get_parameter("conv1.weight")
    )
    assert f"weights file={tmp_path / 'resnet18.pth'} sha256={start.weights_sha256}" in capsys.readouterr().out


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    torch.save(build_backbone("resnet34").network.state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="has no weights of backbone resnet18"):
        _start(dataclasses.replace(TINY, weights=str(tmp_path / "other.pth")))


def test_unknown_stage_is_refused_with_the_known_ones() -> None:
    with pytest.raises(HyperparameterError, match="'layer9'.*layer4"):
        _start(dataclasses.replace(TINY, trainable="layer9"))


def test_batch_of_one_cannot_train_batch_norm() -> None:
    with pytest.raises(HyperparameterError, match="batch-size 1 cannot train the BatchNorm layers of resnet18"):
        _start(dataclasses.replace(TINY, batch_size=1))


def test_batch_of_one_can_train_a_head() -> None:
    assert _start(dataclasses.replace(TINY, batch_size=1, trainable="head")).model.backbone.is_frozen


def test_random_frozen_backbone_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    _start(dataclasses.replace(TINY, trainable="head"))
    assert "warning: weights=none and trainable=head" in capsys.readouterr().out


def test_golden_pictures_are_the_same_every_time_and_can_be_decoded() -> None:
    pictures = golden_pictures()
    assert pictures == golden_pictures()
    assert [decode_image(each).size for each in pictures] == [(320, 240), (200, 300), (256, 256)]
