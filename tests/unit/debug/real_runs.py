"""Trainings of a second for the tests of rules: real nets on generated data, saved by smdebug's own hook; and trials
written tensor by tensor, for the vectors that say what a rule does at which step.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kennel.debug.quiet import quiet_import
from kennel.debug.rules import Finding, Rule, build_rule
from kennel.debug.tensors import FACTS_FILE, Trial, open_trial

with quiet_import():
    import smdebug.pytorch as smd
    from smdebug.core.collection_manager import CollectionManager
    from smdebug.core.modes import ModeKeys
    from smdebug.core.writer import FileWriter

ALL = ("weights", "gradients", "losses")
REDUCTIONS = ("min", "max", "mean", "std")
LOSS = "CrossEntropyLoss_output_0"


@dataclass
class Data:
    """Points around a centre for each class: learnable, as far apart as `spread` is small."""

    classes: int = 4
    width: int = 8
    images: int = 256
    spread: float = 1.0
    seed: int = 0
    share: Sequence[float] = ()

    def drawn(self, seed: int) -> tuple[Tensor, Tensor]:
        """float (N, D) and int (N,); the centres do not depend on the seed."""
        centres = torch.randn(self.classes, self.width, generator=torch.Generator().manual_seed(self.seed)) * 2
        random = torch.Generator().manual_seed(seed)
        weights = torch.tensor(self.share or [1.0] * self.classes)
        labels = torch.multinomial(weights, self.images, replacement=True, generator=random)
        noise = torch.randn(self.images, self.width, generator=random) * self.spread
        return (centres[labels] + noise) / max(1.0, self.spread), labels


class Net(nn.Module):
    """smdebug names an activation by its attribute: `relu` gives relu_input_0 and relu_output_0."""

    def __init__(self, *, width: int = 8, hidden: int = 32, classes: int = 4, activation: str = "relu") -> None:
        super().__init__()
        self.first = nn.Linear(width, hidden)
        self.activation = activation
        setattr(self, activation, {"relu": nn.ReLU(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid()}[activation])
        self.fc = nn.Linear(hidden, classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(getattr(self, self.activation)(self.first(features)))


class ReluAtTheEnd(nn.Module):
    """The fault: a ReLU after the logits, over a head that starts at zero, as ours does."""

    def __init__(self, *, width: int = 8, classes: int = 4) -> None:
        super().__init__()
        self.fc, self.relu = zero_head(width, classes), nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        return self.relu(self.fc(features))


def zero_head(width: int, classes: int) -> nn.Linear:
    head = nn.Linear(width, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


@dataclass
class Training:
    """A training as its hook saves it. change: what is done before an optimizer step, to plant a fault there."""

    network: Callable[[], nn.Module] = Net
    data: Data = field(default_factory=Data)
    epochs: int = 5
    batch: int = 32
    lr: float = 0.01
    optimizer: type[torch.optim.Optimizer] = torch.optim.Adam
    is_cosine: bool = False
    labels: Callable[[Tensor], Tensor] = lambda labels: labels
    validation: Callable[[Tensor], Tensor] = lambda features: features
    validates: bool = True
    interval: int = 1
    collections: Sequence[str] = ALL
    regex: Sequence[str] = ("relu_input", "relu_output", "tanh_input", "sigmoid_input")
    reductions: Sequence[str] = ()
    saves_labels: bool = False

    def run(self, folder: Path) -> Trial:
        torch.manual_seed(0)
        network, criterion = self.network(), nn.CrossEntropyLoss()
        hook = self._hook(folder)
        hook.register_module(network)
        hook.register_loss(criterion)
        optimizer = self.optimizer(network.parameters(), lr=self.lr)
        steps = self.epochs * -(-self.data.images // self.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if self.is_cosine else None
        features, labels = self.data.drawn(1)
        labels = self.labels(labels)
        for _ in range(self.epochs):
            self._train(hook, network, criterion, optimizer, schedule, features, labels)
            if self.validates:
                self._validate(hook, network, criterion)
        hook.close()
        return open_trial(folder)

    def _hook(self, folder: Path) -> smd.Hook:
        reductions = None
        if self.reductions:
            reductions = smd.ReductionConfig(reductions=list(self.reductions), abs_reductions=["mean"], norms=["l2"])
        named = ("labels", "predictions") if self.saves_labels else ()
        hook = smd.Hook(
            out_dir=str(folder),
            save_config=smd.SaveConfig(save_interval=self.interval),
            include_collections=[*self.collections, *named],
            include_regex=list(self.regex),
            reduction_config=reductions,
        )
        for name in named:  # a collection unknown at the first step cannot be saved to
            hook.get_collection(name).include(f"^{name}$")
        return hook

    def _train(self, hook: smd.Hook, network: nn.Module, criterion: nn.Module, optimizer: torch.optim.Optimizer,
               schedule: torch.optim.lr_scheduler.LRScheduler | None,
               features: Tensor, labels: Tensor) -> None:  # fmt: skip
        hook.set_mode(smd.modes.TRAIN)
        for part in torch.randperm(len(features)).split(self.batch):
            optimizer.zero_grad()
            logits = network(features[part])
            self._save_labels(hook, logits, labels[part])
            criterion(logits, labels[part]).backward()
            optimizer.step()
            if schedule:
                schedule.step()

    def _validate(self, hook: smd.Hook, network: nn.Module, criterion: nn.Module) -> None:
        hook.set_mode(smd.modes.EVAL)
        features, labels = self.data.drawn(2)
        with torch.no_grad():
            for part in torch.arange(len(features)).split(self.batch):
                logits = network(self.validation(features[part]))
                self._save_labels(hook, logits, labels[part])
                criterion(logits, labels[part])

    def _save_labels(self, hook: smd.Hook, logits: Tensor, labels: Tensor) -> None:
        if self.saves_labels:
            hook.save_tensor("labels", labels, "labels")
            hook.save_tensor("predictions", logits.argmax(1), "predictions")


def write_trial(
    folder: Path,
    saved: Mapping[int, Mapping[str, Any]],
    *,
    modes: Mapping[int, tuple[str, int]] | None = None,
    collections: Mapping[str, Sequence[str]] | None = None,
) -> Trial:
    """Tensors by step and name, in smdebug's files. modes: (mode, step within it) of each step; all GLOBAL without."""
    manager = CollectionManager()
    for name, tensors in (collections or {"losses": ["loss"]}).items():
        manager.get(name, create=True).tensor_names = set(tensors)
    manager.get("all", create=True).tensor_names = {name for tensors in saved.values() for name in tensors}
    path = folder / "collections" / "000000000" / "worker_0_collections.json"
    path.parent.mkdir(parents=True)
    manager.export(str(folder), "worker_0_collections.json")
    for step, tensors in saved.items():
        mode, mode_step = (modes or {}).get(step, ("GLOBAL", step))
        with FileWriter(trial_dir=str(folder), step=step, worker="worker_0") as writer:
            for name, value in tensors.items():
                array = np.asarray(value)
                writer.write_tensor(tdata=array, tname=name, mode=ModeKeys[mode], mode_step=mode_step)
    return open_trial(folder)


def findings(trial: Trial, rule: Rule, *, start: int = 0, end: int | None = None) -> dict[int, list[Finding]]:
    """What a rule finds at each of the GLOBAL steps from `start` to before `end`, where it finds anything."""
    steps = [step for step in trial.steps() if step >= start and (end is None or step < end)]
    found = {step: rule.check(trial, step) for step in steps}
    return {step: each for step, each in found.items() if each}


def fired(trial: Trial, name: str, **parameters: str) -> list[Finding]:
    """All findings of a rule over a whole trial."""
    return [finding for each in findings(trial, build_rule(name, parameters)).values() for finding in each]


def alternating(epochs: int, *, train: int, evaluate: int) -> Iterator[tuple[int, tuple[str, int]]]:
    """(GLOBAL step, (mode, step within it)) of epochs of so many steps each."""
    counts = {"TRAIN": 0, "EVAL": 0}
    for step in range(epochs * (train + evaluate)):
        mode = "TRAIN" if step % (train + evaluate) < train else "EVAL"
        yield step, (mode, counts[mode])
        counts[mode] += 1


def tell(trial: Trial, **facts: Any) -> Trial:  # noqa: ANN401  as kennel.json
    """The trial with these facts of its training."""
    (trial.folder / FACTS_FILE).write_text(json.dumps(facts))
    return open_trial(trial.folder)


def scaled(factor: float, *, depth: int = 6, activation: Callable[[], nn.Module] = nn.ReLU) -> Callable[[], nn.Module]:
    """A deep net whose weights are drawn `factor` times as wide as Kaiming's."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [8] + [32] * depth
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
            self.relu = activation()
            self.fc = nn.Linear(32, 4)
            for layer in self.layers:
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
                with torch.no_grad():
                    layer.weight *= factor

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                features = self.relu(layer(features))
            return self.fc(features)

    return Deep
