"""The training loop: steps, epochs, the best epoch so far, and how it all goes on after a stop.

    fitting = Fitting(model, hyperparameters, classes=20, pretrained=True)
    fitting.resume(store)                         # where the store's last checkpoint was, if there is one
    if not fitting.progress.is_finished:
        fitting.run(train, valid, store, stop=stop)
    fitting.load_best()                           # the model now is the epoch with the smallest validation loss

`train` and `valid` are pictures for a whole network, or a frozen backbone's features for its head.

Where several processes train together (`world`), a step's images are shared out and their gradients added up, so that
every process makes the step that one alone would make, up to the rounding of sums. What differs beyond that is dropout:
each draws its own.
"""

import dataclasses
import json
import math
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from kennel.errors import HyperparameterError
from kennel.hyperparameters import Hyperparameters
from kennel.metrics import epoch_line
from kennel.model.classifier import Classifier
from kennel.training.checkpoint import Checkpoint, CheckpointStore
from kennel.training.device import arithmetic, fitting_threads, to_device
from kennel.training.distributed import ALONE, World, told_to_stop
from kennel.training.evaluation import EvalInputs, Score, predict, score
from kennel.training.loader import Batch
from kennel.training.objective import Mixed, Objective, balanced_weights, mix
from kennel.training.progress import progress_bar
from kennel.training.randomness import seed_torch
from kennel.training.schedules import learning_rate_factor
from kennel.training.stopping import Stopped, StopRequest
from kennel.training.watching import UNWATCHED, Watch

# What pretrained layers are trained with, as a share of `lr`: they are nearly right, the head is not.
PRETRAINED_SHARE: Final = 0.1


class TrainInputs(Protocol):
    """What a network is trained on: TrainPictures for a whole one, TrainFeatures for a head."""

    @property
    def targets(self) -> Tensor:
        """int64 (N,)."""

    @property
    def steps(self) -> int:
        """Steps in an epoch."""

    def __len__(self) -> int: ...

    def batches(self, epoch: int, first_step: int) -> Generator[Batch, None, None]:
        """The batches of an epoch, from a step on: a function of the two."""


@dataclass
class Progress:
    """How far a training is; plain values, stored in checkpoints as they are.

    epoch: epochs that are finished. step: steps done since. images, loss_sum, hits, seconds: of those steps.
    """

    epoch: int = 0
    step: int = 0
    images: int = 0
    loss_sum: float = 0.0
    hits: float = 0.0
    seconds: float = 0.0
    best_epoch: int = 0
    best_loss: float = 0.0
    is_finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """The mean loss of a step's images before it, how many of them were right, and whether a signal came."""

    loss: float
    hits: int
    is_last: bool


class Fitting:
    """One training: a model, how far it is, and the best epoch so far.

    pretrained: whether the backbone's weights are worth keeping; they are then trained with a tenth of `lr`.
    best_probabilities: float32 (N, C) of the validation images in the best epoch; empty before the first has ended.
    """

    def __init__(
        self, model: Classifier, settings: Hyperparameters, *, classes: int, pretrained: bool, world: World = ALONE
    ) -> None:
        self.model, self.settings, self.classes, self.world = model, settings, classes, world
        # The features of a frozen backbone are its answer already.
        self.network: nn.Module = model.head if model.backbone.is_frozen else model
        self.device = next(model.parameters()).device
        self.optimizer = _optimizer(model, settings, pretrained=pretrained)
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self.best_probabilities = torch.empty(0)
        self.watch = UNWATCHED

    def resume(self, store: CheckpointStore) -> None:
        """Goes to the store's last checkpoint, if there is one. Raises ContractError as the store."""
        found = store.load(self.world)
        if found:
            self.restore(found)
            place = "the end" if self.progress.is_finished else f"epoch={found.epoch + 1} step={found.step}"
            print(f"resumed at {place}", flush=True)

    def run(
        self,
        train: TrainInputs,
        valid: EvalInputs,
        store: CheckpointStore,
        *,
        stop: StopRequest,
        watch: Watch = UNWATCHED,
    ) -> None:
        """Trains to the end: `epochs`, or `patience` without a better epoch. A checkpoint is written after every epoch.

        watch: is told of every step; weights do not depend on it.
        Raises Stopped after the step in which a signal came, with a checkpoint written; HyperparameterError if the loss
        is no number any more; DiskFullError if a checkpoint finds no room.
        """
        self.watch, timeline = watch, watch.timeline
        objective = _objective(self.settings, train.targets, self.classes, self.device)
        with fitting_threads(self.network):
            try:
                while not self.progress.is_finished:
                    timeline.begin_epoch(self.progress.epoch + 1)
                    self._train_epoch(train, objective, stop)
                    with timeline.phase("eval"):
                        self._validate(valid, stop)
                    self._save(store, kept=1 if self.progress.is_finished else 2)
                    timeline.end_epoch()
            except Stopped:
                self._save(store)
                raise

    def _save(self, store: CheckpointStore, *, kept: int = 2) -> None:
        if self.world.is_leader:
            with self.watch.timeline.phase("checkpoint"):
                store.save(self.snapshot(), kept=kept)

    def load_best(self) -> None:
        """Puts the best epoch's weights into the model, which is left in eval mode."""
        self.model.load_state_dict({**self.model.state_dict(), **self.best})
        self.model.eval()

    def snapshot(self) -> Checkpoint:
        """Everything that `restore` needs, copied; of a finished training that is the best epoch only."""
        tensors = {"best_probabilities": self.best_probabilities}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        state = dict(vars(self.progress))  # a new epoch has a new history: no deep copy
        if self.progress.is_finished:
            return Checkpoint(self.progress.epoch, self.progress.step, state, tensors)
        tensors |= {f"model.{name}": tensor for name, tensor in _copies(_trained_state(self.model)).items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": tensor for key, tensor in _copies(values).items()}
        return Checkpoint(self.progress.epoch, self.progress.step, state, tensors)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to where `snapshot` was taken."""
        self.progress = Progress(**checkpoint.state)
        self.best_probabilities = checkpoint.tensors["best_probabilities"]
        self.best = _under("best.", checkpoint.tensors)
        self.model.load_state_dict({**self.model.state_dict(), **_under("model.", checkpoint.tensors)})
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", checkpoint.tensors).items():
            index, _, key = name.partition(".")
            states.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": states})

    def _train_epoch(self, train: TrainInputs, objective: Objective, stop: StopRequest) -> None:
        """The steps of the epoch that are left. Raises Stopped after the one in which a signal came, to any rank."""
        progress, timeline = self.progress, self.watch.timeline
        epoch, clock = progress.epoch + 1, time.monotonic()
        self.network.train()
        with (
            progress_bar(f"epoch {epoch}/{self.settings.epochs}", total=len(train)) as bar,
            closing(train.batches(epoch, progress.step)) as batches,
        ):
            for batch in timeline.waiting(batches):
                number = (epoch - 1) * train.steps + progress.step
                self._set_learning_rate(number, self.settings.epochs * train.steps)
                with timeline.step("TRAIN", number):
                    self.watch.hook.begin_step(number)
                    step = self._train_step(batch, objective, stop, purpose=(self.settings.seed, epoch, progress.step))
                    self.watch.hook.end_step(step.loss, step.hits / batch.images)
                now = time.monotonic()
                progress.step += 1
                progress.images += batch.images
                progress.loss_sum += step.loss * batch.images
                progress.hits += step.hits
                progress.seconds += now - clock
                clock = now
                bar.update(batch.images)
                if step.is_last:
                    raise told_to_stop(stop)

    def _train_step(self, batch: Batch, objective: Objective, stop: StopRequest, *, purpose: tuple[int, ...]) -> Step:
        # The phases add no waiting: on a GPU they measure how long it takes to ask for the work, and the last of them
        # waits for all of it, where the loss is read.
        hook, phase = self.watch.hook, self.watch.timeline.phase
        rank = () if self.world.is_alone else (self.world.rank,)
        seed_torch("step", *purpose, *rank)  # for dropout inside the network
        with phase("transfer"):
            mixed = self._mixed(batch, purpose)
        with phase("forward"):
            with arithmetic(self.settings.precision, self.device):
                logits = self.network(mixed.inputs)
            loss = objective(logits, mixed, images=batch.images)
        hook.see(mixed.targets, logits)
        with phase("backward"):
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            hits = (logits.argmax(dim=1) == mixed.targets).sum()
            counts = self._counts(loss, hits, stop)
        hook.see_gradients()
        with phase("optimizer"):
            self.optimizer.step()
            if counts:
                return Step(counts[0], round(counts[1]), counts[2] > 0)
            return Step(loss.item(), int(hits), stop.is_made)  # waits for a GPU; what is left of the step is short

    def _counts(self, loss: Tensor, hits: Tensor, stop: StopRequest) -> list[float]:
        """Adds the ranks' gradients up; loss, hits and stop requests over all ranks. [] where there is one."""
        if self.world.is_alone:
            return []
        return self._add_up(torch.stack([loss.detach(), hits.float(), torch.tensor(float(stop.is_made)).to(loss)]))

    def _mixed(self, batch: Batch, purpose: tuple[int, ...]) -> Mixed:
        """This rank's share of the batch, blended with pictures of all of it."""
        alpha, world = self.settings.mixup, self.world
        inputs = to_device(batch.inputs, self.device)
        targets = batch.targets.to(self.device, non_blocking=True)
        if alpha == 0 or world.is_alone:
            return mix(inputs, targets, alpha=alpha, purpose=purpose)
        whole = mix(torch.cat(world.gather(inputs)), torch.cat(world.gather(targets)), alpha=alpha, purpose=purpose)
        ours = slice(batch.first, batch.first + len(targets))
        return Mixed(whole.inputs[ours], whole.targets[ours], whole.others[ours], whole.share)

    def _add_up(self, counts: Tensor) -> list[float]:
        """The sums over ranks, of gradients in their place and of `counts`, in one message."""
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        message = torch.cat([counts, *(gradient.flatten() for gradient in gradients)])
        self.world.sum(message)
        rest = torch.split(message[len(counts) :], [gradient.numel() for gradient in gradients])
        for gradient, total in zip(gradients, rest, strict=True):
            gradient.copy_(total.view(gradient.shape))
        sums: list[float] = message[: len(counts)].tolist()
        return sums

    def _set_learning_rate(self, step: int, steps: int) -> None:
        factor = learning_rate_factor(self.settings.scheduler, step, steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * factor * group["share"]

    def _validate(self, valid: EvalInputs, stop: StopRequest) -> None:
        """Ends the epoch: counts and prints it, keeps it if it is the best, decides whether it is the last."""
        progress, started, hook = self.progress, time.monotonic(), self.watch.hook
        epoch = progress.epoch + 1
        self.world.align(_trained_state(self.model).values())
        hook.begin_validation(epoch, valid.targets)
        probabilities = predict(
            self.network,
            valid,
            temperature=1.0,
            name="validation",
            stop=stop,
            world=self.world,
            watch=self.watch,
            first_step=progress.epoch * valid.steps,
        )
        found = self._agreed(score(probabilities, valid.targets))
        hook.end_validation(probabilities, found.loss)
        self._check_loss(found.loss)
        values = {
            "train_loss": progress.loss_sum / progress.images,
            "train_accuracy": progress.hits / progress.images,
            "valid_loss": found.loss,
            "valid_accuracy": found.accuracy,
            "valid_top5": found.top5,
            "images_per_s": progress.images / max(progress.seconds, 1e-9),
            "seconds": progress.seconds + time.monotonic() - started,
        }
        print(epoch_line(epoch, self.settings.epochs, values), flush=True)
        if not progress.best_epoch or found.loss < progress.best_loss:
            progress.best_epoch, progress.best_loss = epoch, found.loss
            self.best, self.best_probabilities = _copies(_trained_state(self.model)), probabilities
        self.progress = Progress(
            epoch=epoch,
            best_epoch=progress.best_epoch,
            best_loss=progress.best_loss,
            is_finished=epoch == self.settings.epochs or self._is_early_end(epoch, progress.best_epoch),
            history=[*progress.history, {"epoch": epoch, "lr": self.optimizer.param_groups[0]["lr"], **values}],
        )

    def _agreed(self, found: Score) -> Score:
        """The leader's numbers: all must take the same epoch for the best, and the same one for the last."""
        ours = json.dumps(dataclasses.asdict(found)).encode()
        return Score(**json.loads(self.world.from_leader(ours)))

    def _is_early_end(self, epoch: int, best_epoch: int) -> bool:
        if not 0 < self.settings.patience <= epoch - best_epoch:
            return False
        print(f"early stop: no better validation loss for {epoch - best_epoch} epochs", flush=True)
        return True

    def _check_loss(self, valid_loss: float) -> None:
        """Raises HyperparameterError if the training has diverged."""
        if not math.isfinite(self.progress.loss_sum) or not math.isfinite(valid_loss):
            raise HyperparameterError(
                f"The loss is no number any more in epoch {self.progress.epoch + 1}: lr={self.settings.lr:g} is too "
                f"high for this network and data. Try lr={self.settings.lr / 10:g}."
            )


def _optimizer(model: Classifier, settings: Hyperparameters, *, pretrained: bool) -> torch.optim.Optimizer:
    """Over what is trained; a group's `share` is what `lr` is multiplied by for it."""
    groups: list[dict[str, Any]] = [{"params": list(model.head.parameters()), "share": 1.0}]
    backbone = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    if backbone:
        groups.append({"params": backbone, "share": PRETRAINED_SHARE if pretrained else 1.0})
    decay = settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, weight_decay=decay, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.lr, weight_decay=decay, eps=settings.eps)


def _objective(settings: Hyperparameters, targets: Tensor, classes: int, device: torch.device) -> Objective:
    if settings.class_weights == "none":
        return Objective(settings.label_smoothing)
    return Objective(settings.label_smoothing, balanced_weights(targets.tolist(), classes).to(device))


def _trained_state(model: Classifier) -> dict[str, Tensor]:
    """The part of the state that training changes: without the frozen stages, which are as they were loaded."""
    backbone = model.backbone
    if backbone.is_frozen:
        return {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}
    stages = tuple(f"backbone.network.{stage}." for stage in backbone.frozen_stages)
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(stages)}


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, which later steps do not change."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
