"""Backbones, heads and classifiers: shapes, names, and what freezing leaves untouched."""

import pytest
import torch
from torch import Tensor, nn

from kennel.errors import HyperparameterError
from kennel.model.backbones import Backbone, backbone_names, build_backbone
from kennel.model.classifier import Classifier, build_classifier
from kennel.model.head import build_head

WIDTHS = {"resnet18": 512, "resnet50": 2048, "mobilenet_v3_small": 1024, "mobilenet_v3_large": 1280}


def images(count: int = 2, *, size_px: int = 64) -> Tensor:
    return torch.rand(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    return build_backbone("resnet18")


@pytest.mark.parametrize(("name", "width"), WIDTHS.items())
def test_backbone_gives_features(name: str, width: int) -> None:
    backbone = build_backbone(name).eval()
    with torch.no_grad():
        features = backbone(images())
    assert features.shape == (2, width)
    assert (backbone.name, backbone.feature_dim) == (name, width)


@pytest.mark.parametrize(
    "name", ["densenet121", "shufflenet_v2_x0_5", "efficientnet_b0", "googlenet", "mnasnet0_5", "regnet_x_400mf"]
)
def test_backbone_of_other_families_gives_features(name: str) -> None:
    backbone = build_backbone(name).eval()
    with torch.no_grad():
        assert backbone(images(1)).shape == (1, backbone.feature_dim)


def test_backbone_without_second_outputs_gives_features_in_train_mode() -> None:
    backbone = build_backbone("googlenet").train()
    assert isinstance(backbone(images()), Tensor)


def test_backbone_names_lists_what_can_be_built() -> None:
    names = backbone_names()
    assert set(WIDTHS) <= set(names)
    assert names == sorted(names)
    assert not any(name.startswith(("squeezenet", "fcn", "raft", "quantized")) for name in names)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "Unknown backbone 'resnet19'. Did you mean 'resnet1"),
        ("ResNet50", "Unknown backbone 'ResNet50'. Did you mean 'resnet50'?"),
        ("qqq", "Unknown backbone 'qqq'. Known are: alexnet, convnext_base"),
        ("fasterrcnn_resnet50_fpn", "Unknown backbone"),
        ("squeezenet1_0", "Backbone 'squeezenet1_0' ends in a convolution"),
    ],
)
def test_build_backbone_refuses_what_it_cannot_build(name: str, message: str) -> None:
    with pytest.raises(HyperparameterError) as caught:
        build_backbone(name)
    assert message in str(caught.value)


def test_stages_go_from_input_to_output() -> None:
    assert build_backbone("resnet18").stages == ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
    stages = build_backbone("mobilenet_v3_small").stages
    assert stages[:2] == ("features.0", "features.1")
    assert stages[-2:] == ("features.12", "classifier")


def trained(backbone: Backbone) -> set[str]:
    return {name.split(".")[0] for name, weights in backbone.network.named_parameters() if weights.requires_grad}


def in_train_mode(backbone: Backbone) -> set[str]:
    return {name for name, module in backbone.network.named_children() if module.training}


@pytest.mark.parametrize(
    ("trainable", "expected"),
    [
        ("head", set()),
        ("layer4", {"layer4"}),
        ("layer3", {"layer3", "layer4"}),
        ("conv1", {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
        ("all", {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
    ],
)
def test_freeze_trains_the_stage_and_everything_after_it(resnet: Backbone, trainable: str, expected: set[str]) -> None:
    resnet.freeze(trainable)
    assert trained(resnet) == expected
    assert set(resnet.frozen_stages) == set(resnet.stages) - expected
    assert resnet.is_frozen == (trainable == "head")
    resnet.train()
    assert in_train_mode(resnet) & set(resnet.stages) == expected
    resnet.eval()
    assert in_train_mode(resnet) == set()


def test_freeze_can_be_undone(resnet: Backbone) -> None:
    resnet.train()
    resnet.freeze("head")
    assert not any(module.training for module in resnet.network.modules())
    resnet.train()
    resnet.freeze("all")
    resnet.train()
    assert all(module.training for module in resnet.modules())
    assert all(weights.requires_grad for weights in resnet.parameters())


@pytest.mark.parametrize(
    ("trainable", "hint"), [("layer5", "Did you mean 'layer"), ("fc", "Expected head, all, or one")]
)
def test_freeze_lists_the_stages_when_the_name_is_unknown(resnet: Backbone, trainable: str, hint: str) -> None:
    with pytest.raises(HyperparameterError) as caught:
        resnet.freeze(trainable)
    message = str(caught.value)
    assert f"'trainable' has value '{trainable}', which is no stage of resnet18" in message
    assert hint in message
    assert "conv1, bn1, layer1, layer2, layer3, layer4" in message


@pytest.mark.parametrize(
    ("trainable", "frozen"), [("head", ("conv1", "bn1", "layer1", "layer4")), ("layer4", ("bn1", "layer1", "layer3"))]
)
def test_training_leaves_what_is_frozen_untouched_batchnorm_too(trainable: str, frozen: tuple[str, ...]) -> None:
    model = build_classifier("resnet18", "linear", 3)
    model.freeze(trainable)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.trained_parameters(), lr=0.1)
    model.train()
    nn.functional.cross_entropy(model(images(4)), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    after = model.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert not [name for name in changed if name.startswith(tuple(f"backbone.network.{stage}." for stage in frozen))]
    assert "head.weight" in changed
    assert ("backbone.network.layer4.1.bn2.running_mean" in changed) == (trainable == "layer4")


def test_dropout_of_a_frozen_backbone_is_off_in_training() -> None:
    backbone = build_backbone("mobilenet_v3_small")
    backbone.freeze("head")
    backbone.train()
    with torch.no_grad():
        assert torch.equal(backbone(images(1)), backbone(images(1)))


def test_dropout_of_a_trained_stage_is_on_in_training_and_off_in_evaluation() -> None:
    backbone = build_backbone("mobilenet_v3_small")
    backbone.freeze("classifier")
    backbone.train()
    assert backbone.frozen_stages[-1] == "features.12"
    with torch.no_grad():
        assert not torch.equal(backbone(images(1)), backbone(images(1)))
        backbone.eval()
        assert torch.equal(backbone(images(1)), backbone(images(1)))


def test_check_image_size_accepts_what_the_network_takes(resnet: Backbone) -> None:
    resnet.freeze("all")
    resnet.train()
    before = resnet.network.bn1.running_mean.clone()
    resnet.check_image_size(32)
    assert resnet.training
    assert torch.equal(resnet.network.bn1.running_mean, before)


def test_check_image_size_names_the_size_that_does_not_fit() -> None:
    with pytest.raises(HyperparameterError, match="Backbone 'alexnet' cannot take images of 32 px .*Set image-size"):
        build_backbone("alexnet").check_image_size(32)


@pytest.mark.parametrize(
    ("spec", "layers"), [("linear", [(8, 3)]), ("5", [(8, 5), (5, 3)]), ("6, 4", [(8, 6), (6, 4), (4, 3)])]
)
def test_head_has_the_layers_asked_for(spec: str, layers: list[tuple[int, int]]) -> None:
    head = build_head(8, 3, spec)
    found = [(each.in_features, each.out_features) for each in head.modules() if isinstance(each, nn.Linear)]
    assert found == layers
    assert len([each for each in head.modules() if isinstance(each, nn.ReLU)]) == len(layers) - 1
    assert head(torch.zeros(2, 8)).shape == (2, 3)


@pytest.mark.parametrize("spec", ["", "0", "-1", "128,", "big", "1.5", "²"])
def test_head_refuses_what_is_no_size(spec: str) -> None:
    with pytest.raises(HyperparameterError, match=f"'head' has value '{spec}'. Expected linear, or sizes such as"):
        build_head(8, 3, spec)


def test_classifier_is_head_after_backbone() -> None:
    model: Classifier = build_classifier("mobilenet_v3_small", "16", 4).eval()
    with torch.no_grad():
        logits = model(images())
        assert logits.shape == (2, 4)
        assert torch.equal(logits, model.head(model.backbone(images())))


def test_classifier_is_the_same_for_the_same_seed() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(build_classifier("mobilenet_v3_small", "8", 3).state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
