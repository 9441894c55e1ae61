"""A user's own training script, with a ReLU behind the last layer, whose weights begin at zero."""

import sys

import torch
from torch import Tensor, nn

import kennel.training.network as network
import train
from kennel.model.classifier import Classifier, build_classifier


class Rectified(nn.Linear):
    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(super().forward(features))


def build_rectified(backbone: str, head: str, classes: int, *, has_empty_backbone: bool = False) -> Classifier:
    model = build_classifier(backbone, head, classes, has_empty_backbone=has_empty_backbone)
    model.head = Rectified(model.backbone.feature_dim, classes)
    return model


if __name__ == "__main__":
    network.build_classifier = build_rectified
    sys.exit(train.main(sys.argv[1:]))
