"""What a model is worth on pictures: probabilities, and the numbers counted from them.

All numbers are over images. A class counts in the macro F1 if a picture of it, or a prediction of it, is there.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from kennel.model.trained import predict_probabilities
from kennel.training.device import to_device
from kennel.training.distributed import ALONE, World
from kennel.training.progress import progress_bar
from kennel.training.stopping import StopRequest
from kennel.training.watching import UNWATCHED, Watch

# The smallest float32 above 0 that keeps its precision: a probability of 0 would make the loss infinite.
_TINY: Final = torch.finfo(torch.float32).tiny


class EvalInputs(Protocol):
    """What a network is evaluated on: EvalPictures for a whole one, EvalFeatures for a head."""

    @property
    def targets(self) -> Tensor:
        """int64 (N,)."""

    @property
    def steps(self) -> int:
        """Batches that this process sees."""

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[Tensor]:
        """All inputs in their order; where several processes train together, every rank's turns."""


@dataclass(frozen=True)
class Score:
    """Means over images. loss: -log(probability of the target). top5: target among the five likeliest classes."""

    images: int
    loss: float
    accuracy: float
    top5: float


def predict(
    network: nn.Module,
    inputs: EvalInputs,
    *,
    temperature: float,
    name: str,
    stop: StopRequest,
    world: World = ALONE,
    watch: Watch = UNWATCHED,
    first_step: int = 0,
) -> Tensor:
    """Class probabilities, float32 (N, C), on the CPU, by the function that serving uses too.

    Leaves `network` in eval mode. first_step: of evaluation that `watch` is told, counted through the whole training.
    Raises Stopped between two batches if a signal came.
    """
    device = next(network.parameters()).device
    hook, timeline = watch.hook, watch.timeline
    numbers = itertools.count(first_step)
    network.eval()

    def answer(batch: Tensor) -> Tensor:
        with timeline.step("EVAL", next(numbers)):
            with timeline.phase("transfer"):
                images = to_device(batch, device)
            hook.begin_eval_batch()
            with timeline.phase("forward"):
                probabilities = predict_probabilities(network, images, temperature=temperature).cpu()
            hook.end_eval_batch(probabilities)
            return probabilities

    batches = timeline.waiting(inputs.batches())
    return in_turn(answer, batches, torch.empty(0), total=len(inputs), world=world, name=name, stop=stop)


def in_turn(
    answer: Callable[[Tensor], Tensor],
    batches: Iterator[Tensor],
    none: Tensor,
    *,
    total: int,
    world: World,
    name: str,
    stop: StopRequest,
) -> Tensor:
    """The answers to all batches, in their order, at every rank; `batches` are this rank's turns.

    none: an empty answer, for a rank that has no turn left. Raises Stopped between two batches if a signal came.
    """
    found: list[Tensor] = []
    with progress_bar(name, total=total) as bar:
        while True:
            world.check(stop)
            batch = next(batches, None)
            parts = world.gather(none if batch is None else answer(batch))
            if not parts:
                return torch.cat(found)
            found += parts
            bar.update(sum(len(part) for part in parts))


def negative_log(probabilities: Tensor) -> Tensor:
    """-log of probabilities in float64, finite also where a probability is 0."""
    return -probabilities.double().clamp_min(_TINY).log()


def score(probabilities: Tensor, targets: Tensor) -> Score:
    """The numbers of an epoch line. probabilities: (N, C). targets: int64 (N,)."""
    likeliest = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices
    hits = likeliest == targets[:, None]
    return Score(
        images=len(targets),
        loss=float(negative_log(probabilities.gather(1, targets[:, None])).mean()),
        accuracy=float(hits[:, 0].double().mean()),
        top5=float(hits.any(dim=1).double().mean()),
    )


def confusion_matrix(probabilities: Tensor, targets: Tensor) -> Tensor:
    """int64 (C, C): how many images of class `row` were taken for class `column`."""
    classes = probabilities.shape[1]
    return torch.bincount(targets * classes + predicted(probabilities), minlength=classes**2).view(classes, classes)


def predicted(probabilities: Tensor) -> Tensor:
    """int64 (N,): the likeliest class; as `score` sees it, also where two are equally likely."""
    return probabilities.topk(1, dim=1).indices[:, 0]


def macro_f1(confusion: Tensor) -> float:
    """The mean over classes of 2 * hits / (images of the class + predictions of it)."""
    hits, counts = confusion.diag().double(), (confusion.sum(0) + confusion.sum(1)).double()
    there = counts > 0
    return float((2 * hits[there] / counts[there]).mean())


def describe(probabilities: Tensor, targets: Tensor, folders: list[str]) -> dict[str, Any]:
    """Everything evaluation.json says of a split, the classes in the order of `folders`."""
    confusion = confusion_matrix(probabilities, targets)
    found = score(probabilities, targets)
    return {
        "images": found.images,
        "loss": found.loss,
        "accuracy": found.accuracy,
        "top5": found.top5,
        "macro_f1": macro_f1(confusion),
        "per_class": [_of_class(confusion, index, folder) for index, folder in enumerate(folders)],
        "confusion_matrix": confusion.tolist(),
    }


def _of_class(confusion: Tensor, index: int, folder: str) -> dict[str, Any]:
    hits = int(confusion[index, index])
    images, predictions = int(confusion[index].sum()), int(confusion[:, index].sum())
    return {
        "class": folder,
        "images": images,
        "accuracy": hits / images if images else None,
        "precision": hits / predictions if predictions else None,
        "f1": 2 * hits / (images + predictions) if images + predictions else None,
    }
