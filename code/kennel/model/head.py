"""The layers after the backbone: features in, logits out. Exercise it: pytest tests/unit/model"""

from torch import nn

from kennel.model.layout import hidden_sizes


def build_head(in_features: int, classes: int, spec: str) -> nn.Module:
    """Layers from features (N, in_features) to logits (N, classes), with random weights.

    spec: "linear" for one layer, or the sizes of hidden layers, such as "128" or "256,128" (ReLU between them).
    Raises HyperparameterError for any other spec.
    """
    layers: list[nn.Module] = []
    width = in_features
    for size in hidden_sizes(spec):
        layers += [nn.Linear(width, size), nn.ReLU(inplace=False)]  # in place, debuggers see its output as its input
        width = size
    return nn.Sequential(*layers, nn.Linear(width, classes)) if layers else nn.Linear(width, classes)
