"""The layout that serving builds networks from is the one torchvision builds, tensor by tensor."""

import pytest
import torch
from torch import nn

from kennel.errors import HyperparameterError
from kennel.model.backbones import backbone_names
from kennel.model.classifier import build_classifier
from kennel.model.layout import BATCH_NORM_EPSILON, RESNETS, Convolution, hidden_sizes, state_shapes, tensor_name


def convolutions(backbone: str) -> list[Convolution]:
    network = RESNETS[backbone]
    return [network.stem, *(each for block in network.blocks() for each in block.convolutions)]


def test_every_resnet_that_can_be_trained_has_a_layout() -> None:
    assert set(RESNETS) == {name for name in backbone_names() if name.startswith(("resnet", "resnext", "wide_resnet"))}


@pytest.mark.parametrize("backbone", RESNETS)
@pytest.mark.parametrize("head", ["linear", "16,8"])
def test_a_layout_has_the_tensors_and_layers_of_torchvisions_network(backbone: str, head: str) -> None:
    with torch.device("meta"):  # shapes only
        model = build_classifier(backbone, head, 5)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = state_shapes(RESNETS[backbone], hidden=hidden_sizes(head), classes=5)
    assert list(found.items()) == list(expected.items())
    for layer in convolutions(backbone):
        module, norm = (model.get_submodule(tensor_name(name)) for name in (layer.name, layer.norm))
        assert isinstance(module, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert (module.bias, module.dilation, module.groups) == (None, (1, 1), layer.groups)
        assert module.stride == (layer.stride, layer.stride)
        assert module.padding == (layer.kernel // 2, layer.kernel // 2)
        assert norm.eps == BATCH_NORM_EPSILON


def test_hidden_sizes_are_those_of_the_spec() -> None:
    assert (hidden_sizes("linear"), hidden_sizes("128"), hidden_sizes("256, 128")) == ([], [128], [256, 128])
    for spec in ("", "wide", "0", "16,", "-3"):
        with pytest.raises(HyperparameterError, match="'head' has value"):
            hidden_sizes(spec)
