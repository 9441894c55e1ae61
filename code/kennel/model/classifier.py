"""Backbone and head as one network: pictures in, logits out. Exercise it: pytest tests/unit/model"""

from torch import Tensor, nn

from kennel.model.backbones import Backbone, build_backbone
from kennel.model.head import build_head


class Classifier(nn.Module):
    """What is trained, stored and served. `model.head(features)` gives logits where features are cached."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, H, W)."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def freeze(self, trainable: str) -> None:
        """Sets what is trained beside the head; see Backbone.freeze."""
        self.backbone.freeze(trainable)

    def trained_parameters(self) -> list[nn.Parameter]:
        """What an optimizer is given: the parameters that are not frozen, from input to output."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def build_classifier(backbone: str, head: str, classes: int, *, has_empty_backbone: bool = False) -> Classifier:
    """A network with random weights (from torch's global generator), all of it trainable.

    has_empty_backbone: leaves the backbone without weights, as build_backbone says.
    Raises HyperparameterError for an unknown backbone or a head that is none.
    """
    network = build_backbone(backbone, is_empty=has_empty_backbone)
    return Classifier(network, build_head(network.feature_dim, classes, head))
