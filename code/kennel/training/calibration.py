"""How far a model's probabilities can be trusted, and the numbers that make them so; all from the validation images.

temperature: what logits are divided by so that the validation loss is smallest. It changes no label.
abstain threshold: predictions whose probability is below it are better left to a person. It is the smallest one with
which 95 % of the validation images that are still answered are answered right: 0 where the model does that anyway, and
0.5 where no threshold gets there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from kennel.training.evaluation import negative_log, predicted

TARGET_ACCURACY: Final = 0.95
DEFAULT_THRESHOLD: Final = 0.5
TEMPERATURES: Final = (0.1, 10.0)
_BINS: Final = 15
_GOLDEN: Final = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Calibration:
    """ece: expected calibration error on the validation images, before and after dividing by the temperature."""

    temperature: float
    abstain_threshold: float
    ece_before: float
    ece_after: float


def calibrate(probabilities: Tensor, targets: Tensor) -> Calibration:
    """From the validation images' probabilities at temperature 1, float32 (N, C), and targets, int64 (N,)."""
    temperature = fit_temperature(probabilities, targets)
    after = with_temperature(probabilities, temperature)
    return Calibration(
        temperature=temperature,
        abstain_threshold=abstain_threshold(after, targets),
        ece_before=expected_calibration_error(probabilities, targets),
        ece_after=expected_calibration_error(after, targets),
    )


def with_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """float64 (N, C): what probabilities at temperature 1 become. (A softmax does not see a constant in its logits, so
    logarithms of probabilities do for logits.)"""
    return torch.softmax(-negative_log(probabilities) / temperature, dim=1)


def fit_temperature(probabilities: Tensor, targets: Tensor) -> float:
    """The temperature between 0.1 and 10 with the smallest loss; 1 if every image is right.

    Where nothing is wrong, the loss falls for ever as the probabilities go to 1: no temperature is learnt from that.
    """
    if bool((predicted(probabilities) == targets).all()):
        return 1.0

    def loss(log_temperature: float) -> float:
        likelihoods = with_temperature(probabilities, math.exp(log_temperature)).gather(1, targets[:, None])
        return float(negative_log(likelihoods).mean())

    return math.exp(_minimum(loss, math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1])))


def expected_calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    """The mean distance of confidence and accuracy, 0 to 1: over 15 bins of equal width, weighted by their images."""
    confidences = probabilities.double().max(dim=1).values
    right = (predicted(probabilities) == targets).double()
    bins = (confidences * _BINS).long().clamp(max=_BINS - 1)
    gaps = torch.zeros(_BINS, dtype=torch.float64).index_add_(0, bins, confidences - right)
    return float(gaps.abs().sum() / len(targets))


def abstain_threshold(probabilities: Tensor, targets: Tensor, *, target_accuracy: float = TARGET_ACCURACY) -> float:
    """The threshold of the module's docstring, half way between the last image answered and the first that is not."""
    confidences, order = probabilities.double().max(dim=1).values.sort(descending=True)
    right = (predicted(probabilities) == targets)[order].double()
    accuracies = right.cumsum(0) / torch.arange(1, len(right) + 1)
    # A threshold cannot part images of equal confidence: only the last of them may be the last answered.
    may_end = torch.cat([confidences[:-1] > confidences[1:], torch.tensor([True])])
    ends = ((accuracies >= target_accuracy) & may_end).nonzero().flatten()
    if not len(ends):
        return DEFAULT_THRESHOLD
    last = int(ends[-1])
    return 0.0 if last == len(right) - 1 else float(confidences[last] + confidences[last + 1]) / 2


def _minimum(function: Callable[[float], float], low: float, high: float, *, tolerance: float = 1e-6) -> float:
    """Where a function with one valley is smallest, by golden section search."""
    while high - low > tolerance:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if function(left) <= function(right):
            high = right
        else:
            low = left
    return (low + high) / 2
