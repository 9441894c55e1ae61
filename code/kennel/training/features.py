"""The features of a frozen backbone: computed once for every picture and view, then trained on in milliseconds.

    table = train_features(model.backbone, pictures, views=4, precision="float32", stop=stop)
    for batch in table.batches(epoch=1, first_step=0): ...      # batch.inputs are features, for model.head

With one view that is the plain picture, as in evaluation; with more, each is an augmented one, and epoch e trains on
view (e - 1) % views. A view is a function of (seed, view, index of the picture).

Several processes that train together compute them in turn, batch by batch, and each ends with all of them. Trainings
that share a folder compute each view, and each split, once (kennel.training.shared_features).
"""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kennel.dataset.folders import Example
from kennel.model.backbones import Backbone
from kennel.profile.timeline import OFF, Timeline
from kennel.training.device import arithmetic, exact_arithmetic, module_to_device, to_device
from kennel.training.distributed import ALONE, World
from kennel.training.evaluation import in_turn
from kennel.training.loader import EVAL_BATCH, Batch, EvalPictures, TrainPictures, cut, stacked, train_batches
from kennel.training.randomness import permutation
from kennel.training.shared_features import NOT_SHARED, Part, SharedFeatures
from kennel.training.stopping import StopRequest


@dataclass(frozen=True)
class EvalFeatures:
    """features: float32 (N, D). targets: int64 (N,)."""

    features: Tensor
    targets: Tensor
    world: World = ALONE

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def steps(self) -> int:
        """1, or 0 where it is not this process's turn."""
        return len(self.world.turns([self.features]))

    def batches(self) -> Iterator[Tensor]:
        """All of them at once, by the leader: a head takes little."""
        yield from self.world.turns([self.features])


@dataclass(frozen=True)
class TrainFeatures:
    """features: float32 (views, N, D). targets: int64 (N,)."""

    features: Tensor
    targets: Tensor
    batch_size: int
    seed: int
    world: World = ALONE

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return len(train_batches(range(len(self)), self.batch_size))

    def batches(self, epoch: int, first_step: int) -> Generator[Batch, None, None]:
        """The batches of `epoch` (from 1), without the first `first_step`; the order is the one of TrainPictures."""
        view = self.features[(epoch - 1) % len(self.features)]
        order = permutation(len(self), "order", self.seed, epoch)
        for step in train_batches(order, self.batch_size)[first_step:]:
            indexes = torch.tensor(self.world.share(step), dtype=torch.int64)
            yield Batch(view[indexes], self.targets[indexes], len(step), self.world.first(len(step)))


def eval_features(
    backbone: Backbone,
    pictures: EvalPictures,
    *,
    name: str,
    stop: StopRequest,
    timeline: Timeline = OFF,
    shared: SharedFeatures = NOT_SHARED,
) -> EvalFeatures:
    """The features of `pictures`, float32 throughout. `name` stands beside the progress bar.

    Raises Stopped between two batches if a signal came, DataError for a picture that cannot be read.
    """

    def compute() -> Tensor:
        with exact_arithmetic():
            return _features(backbone, pictures, pictures.batches(), name=name, stop=stop, timeline=timeline)

    part = Part(name, {"pictures": _list_digest(pictures.examples)}, (len(pictures), backbone.feature_dim))
    features = shared.rows(part, compute, device=next(backbone.parameters()).device, stop=stop)
    return EvalFeatures(features, pictures.targets, pictures.world)


def train_features(
    backbone: Backbone,
    pictures: TrainPictures,
    *,
    views: int,
    precision: str,
    stop: StopRequest,
    timeline: Timeline = OFF,
    shared: SharedFeatures = NOT_SHARED,
) -> TrainFeatures:
    """The features of every view of `pictures`, computed in `precision`, kept as float32. Raises as eval_features."""
    device = next(backbone.parameters()).device
    found = []
    for view in range(views):

        def compute(view: int = view) -> Tensor:
            batches = pictures.plain().batches() if views == 1 else _view(pictures, view)
            with arithmetic(precision, device):
                name = f"view {view + 1} of {views}"
                return _features(backbone, pictures, batches, name=name, stop=stop, timeline=timeline)

        part = _train_part(backbone, pictures, view=None if views == 1 else view, precision=precision)
        found.append(shared.rows(part, compute, device=device, stop=stop))
    targets = pictures.plain().targets
    return TrainFeatures(torch.stack(found), targets, pictures.batch_size, pictures.seed, pictures.world)


def _train_part(backbone: Backbone, pictures: TrainPictures, *, view: int | None, precision: str) -> Part:
    """view: None for the plain pictures, which depend on no seed; more views begin with the same ones as fewer."""
    name = "train" if view is None else f"train-view{view + 1}"
    drawn = {} if view is None else {"view": view, "seed": pictures.seed}
    facts = {"pictures": _list_digest(pictures.examples), "precision": precision, **drawn}
    return Part(name, facts, (len(pictures), backbone.feature_dim))


def _list_digest(examples: Sequence[Example]) -> str:
    """Of the pictures' names in their order; what is in them is in the data's digest."""
    names = "".join(f"{example.relative}\n" for example in examples)
    return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()


def _view(pictures: TrainPictures, view: int) -> Iterator[Tensor]:
    indexes = pictures.world.turns(cut(range(len(pictures)), EVAL_BATCH))
    return stacked(lambda index: pictures.view(index, view), indexes, readers=pictures.readers)


def _features(
    backbone: nn.Module,
    pictures: EvalPictures | TrainPictures,
    batches: Iterator[Tensor],
    *,
    name: str,
    stop: StopRequest,
    timeline: Timeline,
) -> Tensor:
    """float32 (pictures, D) on the backbone's device."""
    device = next(backbone.parameters()).device
    module_to_device(backbone, device)
    backbone.eval()

    def answer(images: Tensor) -> Tensor:
        with timeline.phase("transfer"):
            images = to_device(images, device)
        with timeline.phase("forward"), torch.no_grad():
            features: Tensor = backbone(images).float()
        return features

    none = torch.empty(0, device=device)
    batches = timeline.waiting(batches)
    return in_turn(answer, batches, none, total=len(pictures), world=pictures.world, name=name, stop=stop)
