"""What a step makes smaller: cross-entropy over images, with label smoothing, class weights and mixup."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kennel.training.randomness import numpy_generator


@dataclass(frozen=True)
class Mixed:
    """A batch in which every picture is `share` of itself and the rest of another."""

    inputs: Tensor
    targets: Tensor
    others: Tensor
    share: float


@dataclass(frozen=True)
class Objective:
    """class_weights: float32 (C,) with an average of 1 over the training images, or None for equal weights."""

    label_smoothing: float = 0.0
    class_weights: Tensor | None = None

    def __call__(self, logits: Tensor, batch: Mixed, *, images: int | None = None) -> Tensor:
        """The mean over the batch's images, a scalar to go backward from.

        images: of the whole step, where this is one rank's share of it; the shares then add up to the mean.
        """
        losses = self._losses(logits, batch.targets)
        if batch.share < 1:
            losses = batch.share * losses + (1 - batch.share) * self._losses(logits, batch.others)
        return losses.mean() if images in (None, len(losses)) else losses.sum() / images

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            # Under bfloat16 autocast too: 8 bits of mantissa are too few for a logarithm.
            logits.to(torch.promote_types(logits.dtype, torch.float32)),
            targets,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )


def balanced_weights(targets: Sequence[int], classes: int) -> Tensor:
    """float32 (classes,): images / (classes * images of the class), so that every class counts the same in the loss."""
    counts = Counter(targets)
    weights = [len(targets) / (classes * counts[target]) if counts[target] else 0.0 for target in range(classes)]
    return torch.tensor(weights)


def mix(inputs: Tensor, targets: Tensor, *, alpha: float, purpose: tuple[str | int, ...]) -> Mixed:
    """Mixup: every input blended with another of the batch, by one share drawn from Beta(alpha, alpha); 0 is off.

    The share is never below a half, so `targets` names the picture that is seen best: accuracy is counted on it.
    """
    if alpha == 0:
        return Mixed(inputs, targets, targets, 1.0)
    numbers = numpy_generator("mixup", *purpose)
    share = float(numbers.beta(alpha, alpha))
    share = max(share, 1 - share)
    others = torch.from_numpy(numbers.permutation(len(targets))).to(targets.device)
    return Mixed(inputs * share + inputs[others] * (1 - share), targets, targets[others], share)
