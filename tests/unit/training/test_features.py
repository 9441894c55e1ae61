"""kennel.training.features: a frozen backbone's answers, computed once."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from kennel.dataset.folders import find_folder
from kennel.images.augmentation import TrainTransform
from kennel.images.transforms import EvalTransform
from kennel.model.backbones import Backbone, build_backbone
from kennel.training.features import eval_features, train_features
from kennel.training.loader import TrainPictures
from kennel.training.stopping import Stopped, StopRequest

TRANSFORM = EvalTransform.for_size(32)


@pytest.fixture
def backbone() -> Backbone:
    torch.manual_seed(0)
    network = build_backbone("resnet18")
    network.freeze("head")
    return network


@pytest.fixture
def pictures(make_folder: Callable[..., Path]) -> TrainPictures:
    examples = find_folder(make_folder(images={"train": 3, "valid": 1, "test": 1}), seed=0).splits["train"]
    return TrainPictures(examples, TrainTransform(TRANSFORM), 4, 0, 2)


def _views(backbone: nn.Module, pictures: TrainPictures, views: int, precision: str = "float32") -> torch.Tensor:
    return train_features(backbone, pictures, views=views, precision=precision, stop=StopRequest()).features


def test_one_view_is_the_plain_picture(backbone: Backbone, pictures: TrainPictures) -> None:
    plain = eval_features(backbone, pictures.plain(), name="train", stop=StopRequest())
    assert torch.equal(_views(backbone, pictures, 1)[0], plain.features)
    assert plain.features.shape == (9, 512)


def test_several_views_are_augmented_and_differ(backbone: Backbone, pictures: TrainPictures) -> None:
    views = _views(backbone, pictures, 2)
    assert views.shape == (2, 9, 512)
    assert not torch.equal(views[0], views[1])
    assert torch.equal(views, _views(backbone, pictures, 2))


def test_epochs_take_the_views_in_turn(backbone: Backbone, pictures: TrainPictures) -> None:
    table = train_features(backbone, pictures, views=2, precision="float32", stop=StopRequest())
    for epoch, view in [(1, 0), (2, 1), (3, 0)]:
        seen = torch.cat([batch.inputs for batch in table.batches(epoch, 0)])
        assert torch.equal(
            seen.sum(0, dtype=torch.float64).round(decimals=3),
            table.features[view].sum(0, dtype=torch.float64).round(decimals=3),
        )


def test_order_is_the_one_of_the_pictures(backbone: Backbone, pictures: TrainPictures) -> None:
    table = train_features(backbone, pictures, views=1, precision="float32", stop=StopRequest())
    assert table.steps == pictures.steps
    for ours, theirs in zip(table.batches(2, 1), pictures.batches(2, 1), strict=True):
        assert torch.equal(ours.targets, theirs.targets)


def test_bfloat16_features_are_close_and_kept_as_float32(backbone: Backbone, pictures: TrainPictures) -> None:
    exact, short = _views(backbone, pictures, 1), _views(backbone, pictures, 1, "bfloat16")
    assert short.dtype == torch.float32
    assert not torch.equal(exact, short)
    assert torch.allclose(exact, short, rtol=0.1, atol=0.1)


def test_features_do_not_move_the_statistics_of_the_backbone(backbone: Backbone, pictures: TrainPictures) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone.train()
    _views(backbone, pictures, 2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_features_stop_when_told(backbone: Backbone, pictures: TrainPictures) -> None:
    stop = StopRequest()
    stop.make(15)
    with pytest.raises(Stopped):
        train_features(backbone, pictures, views=1, precision="float32", stop=stop)
