"""The layers after the backbone: features in, logits out. Exercise it: pytest tests/unit/model"""

from torch import nn

from kennel.errors import HyperparameterError


def build_head(in_features: int, classes: int, spec: str) -> nn.Module:
    """Layers from features (N, in_features) to logits (N, classes), with random weights.

    spec: "linear" for one layer, or the sizes of hidden layers, such as "128" or "256,128" (ReLU between them).
    Raises HyperparameterError for any other spec.
    """
    layers: list[nn.Module] = []
    width = in_features
    for size in _sizes(spec):
        layers += [nn.Linear(width, size), nn.ReLU(inplace=False)]  # in place, debuggers see its output as its input
        width = size
    return nn.Sequential(*layers, nn.Linear(width, classes)) if layers else nn.Linear(width, classes)


def _sizes(spec: str) -> list[int]:
    if spec == "linear":
        return []
    parts = [part.strip() for part in spec.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise HyperparameterError(
            f"Hyperparameter 'head' has value '{spec}'. Expected linear, or sizes such as 256,128."
        )
    return [int(part) for part in parts]
