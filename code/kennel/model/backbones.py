"""torchvision's classification networks, without their last layer: pictures in, features out.

    backbone = build_backbone("resnet18")       # random weights; kennel.model.weights loads pretrained ones
    backbone.stages                             # ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
    backbone.freeze("layer4")                   # layer4 is trained, everything before it is not
    backbone.train()                            # layer4 in train mode, everything before it stays in eval mode

A frozen stage stays in eval mode because BatchNorm in train mode moves its statistics even where no weight is trained:
on 20 dog breeds that alone takes a linear head from 92 % to about 50 %.
Exercise it: pytest tests/unit/model
"""

import difflib
from typing import Any, Final

import torch
import torchvision
from torch import Tensor, nn
from torch.func import functional_call

from kennel.errors import HyperparameterError

# Their last layer is a convolution, so there is no vector of features to put a head on.
_WITHOUT_FEATURES: Final = ("squeezenet1_0", "squeezenet1_1")
# Children that are the whole network in one: what is in them are the stages.
_CONTAINERS: Final = ("features", "layers", "blocks", "encoder", "trunk_output")
# transform_input is what torchvision sets with pretrained weights; init_weights silences a FutureWarning of theirs.
_INCEPTION: Final = {"aux_logits": False, "transform_input": True, "init_weights": True}
_OPTIONS: Final[dict[str, dict[str, Any]]] = {"googlenet": _INCEPTION, "inception_v3": _INCEPTION}


def backbone_names() -> list[str]:
    """Names that build_backbone takes: torchvision's classification networks that end in a linear layer."""
    names = torchvision.models.list_models(module=torchvision.models)
    return sorted(set(names) - set(_WITHOUT_FEATURES))


class Backbone(nn.Module):
    """A network that gives features, and what of it is trained.

    name: torchvision's. feature_dim: length of a feature vector. stages: names of the parts that have parameters, from
    input to output. classifier_name: the layer that was taken off, as pretrained weights call it.
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.classifier_name, self.feature_dim = _remove_classifier(name, network)
        self.network = network
        self._parts = tuple(_parts(network))
        self.stages = tuple(part for part in self._parts if _has_parameters(network.get_submodule(part)))
        self._frozen_parts: tuple[str, ...] = ()
        self._is_frozen = False

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, feature_dim) of images (N, 3, H, W)."""
        features: Tensor = self.network(images)
        return features

    @property
    def is_frozen(self) -> bool:
        """True where nothing of the backbone is trained: the features of a picture then never change."""
        return self._is_frozen

    @property
    def frozen_stages(self) -> tuple[str, ...]:
        """The stages that are not trained, from the input on."""
        return tuple(stage for stage in self.stages if stage in self._frozen_parts)

    def freeze(self, trainable: str) -> None:
        """Sets what is trained: "head" (nothing of the backbone), a stage and everything after it, or "all".

        Parameters outside of all stages (a vision transformer's class token) are trained with "all" only.
        Raises HyperparameterError for an unknown stage, listing the known ones.
        """
        if trainable not in ("head", "all", *self.stages):
            raise HyperparameterError(_unknown_stage(self, trainable))
        self._is_frozen = trainable == "head"
        first = {"head": len(self._parts), "all": 0}.get(trainable)
        first = self._parts.index(trainable) if first is None else first
        self._frozen_parts = self._parts[:first]
        self.network.requires_grad_(trainable == "all")
        for part in self._parts[first:]:
            self.network.get_submodule(part).requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """As nn.Module.train, but what is frozen stays in eval mode."""
        super().train(mode)
        if self._is_frozen:
            self.network.eval()
        for part in self._frozen_parts:
            self.network.get_submodule(part).eval()
        return self

    def check_image_size(self, image_size: int) -> None:
        """Raises HyperparameterError where the network cannot take pictures of `image_size` px.

        One forward pass on torch's meta device, where tensors have shapes and no values: nothing is computed.
        """
        shapes = {name: tensor.to("meta") for name, tensor in self.state_dict().items()}
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                functional_call(self, shapes, torch.zeros(1, 3, image_size, image_size, device="meta"))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise HyperparameterError(
                f"Backbone '{self.name}' cannot take images of {image_size} px ({error}). "
                f"Set image-size to what it was made for (224 for most), or choose another backbone."
            ) from error
        finally:
            self.train(was_training)


def build_backbone(name: str, *, is_empty: bool = False) -> Backbone:
    """The network `name` with random weights (from torch's global generator), nothing frozen.

    is_empty: for somebody who loads weights with `assign=True`. Shapes only, on torch's meta device, where the network
    can be built there; nothing is drawn. (To draw a ResNet-50's weights takes 0.2 s.)
    Raises HyperparameterError for an unknown name, with the nearest known one.
    """
    if name in _WITHOUT_FEATURES:
        raise HyperparameterError(
            f"Backbone '{name}' ends in a convolution, so no head can stand on it. Choose another, such as resnet18."
        )
    known = backbone_names()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known are: {', '.join(known)}."
        raise HyperparameterError(f"Unknown backbone '{name}'. {hint}")
    return Backbone(name, _empty_network(name) if is_empty else _network(name))


def _network(name: str) -> nn.Module:
    network: nn.Module = torchvision.models.get_model(name, weights=None, **_OPTIONS.get(name, {}))
    return network


def _empty_network(name: str) -> nn.Module:
    try:
        with torch.device("meta"):
            return _network(name)
    except NotImplementedError:  # RegNets read values of tensors while they are built
        with torch.random.fork_rng(devices=[]):
            return _network(name)


def _remove_classifier(name: str, network: nn.Module) -> tuple[str, int]:
    """Puts Identity for the last linear layer, whose name and width are returned.

    What stands before it in the classifier (MobileNetV3: a layer, hardswish, dropout) stays, as part of the backbone.
    """
    linear = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise HyperparameterError(f"Backbone '{name}' has no linear layer at its end. Choose another backbone.")
    path, module = linear[-1]
    network.set_submodule(path, nn.Identity())
    return path, module.in_features


def _parts(module: nn.Module, prefix: str = "") -> list[str]:
    """Paths of the children in the order of the forward pass, those of containers in their place."""
    paths: list[str] = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        paths += _parts(child, f"{path}.") if name in _CONTAINERS else [path]
    return paths


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _unknown_stage(backbone: Backbone, trainable: str) -> str:
    near = difflib.get_close_matches(trainable, ("head", "all", *backbone.stages), n=1, cutoff=0.6)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return (
        f"Hyperparameter 'trainable' has value '{trainable}', which is no stage of {backbone.name}. {hint}"
        f"Expected head, all, or one of: {', '.join(backbone.stages)}."
    )
