"""What the saved tensors say of causes: whether validation pictures resemble those trained on, what the logits are,
whether any gradient came through, and how the loss began.

All are small statistics that Kennel's hook saves by default; of a trial without them the answers are None or empty.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kennel.debug.tensors import Trial

_STEPS: Final = 48  # of a long training: as much as a mean needs
_FEWEST: Final = 3  # training batches, below which their spread is not known


@dataclass(frozen=True)
class InputShift:
    """How far the mean validation picture is from the mean training picture.

    distance: of the means, in standard deviations of one training picture; both pooled over the numbers, which a few
    batches are enough for. by_chance: what two sets of these sizes of the same kind differ by. numbers: of a picture
    that were compared: 3 channels, or the features of a frozen backbone.
    """

    distance: float
    by_chance: float
    numbers: int

    @property
    def is_large(self) -> bool:
        """Measured on 800 and 200 photos of dogs (features of a ResNet-18 at 96 and 224 px; 3 to 25 batches seen): the
        same kind 0.06 to 0.16, also against augmented views; upside down, tinted, dark or grey 0.23 to 0.47, inverted
        0.33 to 0.51, blurred or noisy 0.40 to 1.0. Channels move together, so that chance reaches further with them."""
        return self.distance > max(0.2, (1.7 if self.numbers > 16 else 4.0) * self.by_chance)


@dataclass(frozen=True)
class Range:
    """Of the logits over the saved steps, without the first of training, at which a new head may give zeros only."""

    low: float
    high: float
    mean: float
    zero_share: float
    steps: int


@dataclass(frozen=True)
class Signals:
    """losses: of saved training steps, in their order. inputs_nonfinite: share of the network's inputs that
    is no finite number. silent_gradients: (tensors whose gradient was zero at every saved step, tensors
    with gradients)."""

    shift: InputShift | None = None
    logits: Range | None = None
    losses: tuple[float, ...] = ()
    inputs_nonfinite: float = 0.0
    silent_gradients: tuple[int, int] = (0, 0)


def read_signals(trial: "Trial | None") -> Signals:
    """The signals of a trial, or none."""
    if trial is None:
        return Signals()
    return Signals(
        shift=_shift(trial),
        logits=_logits(trial),
        losses=_losses(trial),
        inputs_nonfinite=max(_values(trial, "inputs", "nonfinite_share"), default=0.0),
        silent_gradients=_silent_gradients(trial),
    )


def _spread(steps: list[int]) -> list[int]:
    """Up to _STEPS of the steps, evenly over them."""
    if len(steps) <= _STEPS:
        return steps
    return [steps[index] for index in np.linspace(0, len(steps) - 1, _STEPS).round().astype(int)]


def _values(trial: "Trial", name: str, which: str, *, first: int = 0, mode: str = "TRAIN") -> list[float]:
    """A statistic of a tensor at the steps of a mode, from the `first` saved one on."""
    steps = _spread(trial.steps_of(name, mode)[first:])
    found = [trial.statistic(name, step, which, mode) for step in steps]
    return [value for value in found if value is not None]


@dataclass(frozen=True)
class _Means:
    """means: float64 (steps, numbers), of the pictures in a batch. sizes: pictures in it."""

    means: NDArray[np.float64]
    sizes: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        return np.asarray(np.average(self.means, axis=0, weights=self.sizes))

    @property
    def picture_spread(self) -> NDArray[np.float64]:
        """The standard deviation of one picture, from how far means of batches lie apart."""
        squares = self.sizes[:, None] * (self.means - self.mean) ** 2
        return np.asarray(np.sqrt(squares.sum(axis=0) / (len(self.means) - 1)))


def _means(trial: "Trial", mode: str) -> _Means | None:
    pairs = []
    for step in _spread(trial.steps_of("inputs_mean", mode)):
        mean, labels = trial.value("inputs_mean", step, mode), trial.value("labels", step, mode)
        if mean is not None and labels is not None and labels.size and np.isfinite(mean).all():
            pairs.append((mean.ravel().astype(np.float64), float(labels.size)))
    shapes = {mean.shape for mean, _ in pairs}
    if len(shapes) != 1:
        return None
    return _Means(np.stack([mean for mean, _ in pairs]), np.array([size for _, size in pairs]))


def _shift(trial: "Trial") -> InputShift | None:
    train, valid = _means(trial, "TRAIN"), _means(trial, "EVAL")
    if train is None or valid is None or len(train.means) < _FEWEST or train.means.shape[1:] != valid.means.shape[1:]:
        return None
    spread = train.picture_spread
    if not spread.any():
        return None
    distance = np.sqrt(((valid.mean - train.mean) ** 2).mean() / (spread**2).mean())
    # Validation sees the same pictures in every epoch.
    eval_pictures = min(valid.sizes.sum(), _an_epoch(trial) or valid.sizes.sum())
    return InputShift(
        distance=float(distance),
        by_chance=float(np.sqrt(1 / train.sizes.sum() + 1 / eval_pictures)),
        numbers=len(spread),
    )


def _an_epoch(trial: "Trial") -> float | None:
    """Validation pictures of one epoch, as far as they were saved: up to where a batch's mean comes again."""
    seen: list[NDArray[Any]] = []
    pictures = 0.0
    for step in trial.steps_of("inputs_mean", "EVAL")[:_STEPS]:
        mean, labels = trial.value("inputs_mean", step, "EVAL"), trial.value("labels", step, "EVAL")
        if mean is None or labels is None:
            continue
        if any(np.allclose(mean, each, rtol=1e-4, atol=1e-6) for each in seen):
            break
        seen.append(mean)
        pictures += float(labels.size)
    return pictures or None


def _logits(trial: "Trial") -> Range | None:
    found = {
        which: [
            *_values(trial, "logits", which, first=1),
            *_values(trial, "logits", which, mode="EVAL"),
        ]
        for which in ("min", "max", "mean", "zero_share")
    }
    if len(found["min"]) < _FEWEST or any(not values for values in found.values()):
        return None
    return Range(
        low=min(found["min"]),
        high=max(found["max"]),
        mean=float(np.mean(found["mean"])),
        zero_share=float(np.mean(found["zero_share"])),
        steps=len(found["min"]),
    )


def _losses(trial: "Trial") -> tuple[float, ...]:
    names = trial.names(collection="losses")
    if not names:
        return ()
    steps = _spread(trial.steps_of(names[0], "TRAIN"))
    found = [trial.value(names[0], step, "TRAIN") for step in steps]
    return tuple(float(np.mean(value)) for value in found if value is not None and value.size)


def _silent_gradients(trial: "Trial") -> tuple[int, int]:
    names = trial.names(collection="gradients")
    found = [_values(trial, name, "abs_mean") for name in names]
    found = [values for values in found if len(values) >= _FEWEST]
    return sum(not any(values) for values in found), len(found)
