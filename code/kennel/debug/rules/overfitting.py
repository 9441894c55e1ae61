"""Rules that hold the loss of validation against that of training."""

import math
from dataclasses import dataclass
from typing import ClassVar

from kennel.debug.rules.base import Check, Finding, Rule, TrialLike
from kennel.debug.rules.parameters import Patterns, parameter
from kennel.debug.rules.passes import Pass, Passes
from kennel.debug.rules.reading import Point, Series, loss_names
from kennel.debug.rules.words import counted, number

MEANT_PERCENT = 2.0  # of the first loss: a rise below it is which pictures were saved, where the loss is nearly zero


class Overfit(Rule):
    """(mean validation loss - mean training loss) / mean training loss above `ratio_threshold`.

    The means are those of the validation so far and of the training steps before it; fires when it has been so for
    more than `patience` saved validation steps in a row.
    """

    @dataclass(frozen=True)
    class Parameters:
        """AWS's, and two of ours.

        per: "step" as AWS: each saved validation step counts; "pass": each whole validation.
        rise_percent: the validation loss must also be this much above its best, and by more than MEANT_PERCENT of the
        training's first loss, while the training loss has gone on falling since; None asks nothing, as AWS.
        """

        tensor_regex: Patterns = parameter(Patterns())
        start_step: int = parameter(0, low=0)
        patience: int = parameter(1, low=0)
        ratio_threshold: float = parameter(0.1, low=0)
        per: str = parameter("step", choices=("step", "pass"))
        rise_percent: float | None = parameter(None, low=0)

    parameters: Parameters
    name = "Overfit"
    collections: ClassVar = ("losses",)
    wants = "the losses of both TRAIN and EVAL"
    meaning = "The network learns the training pictures by heart; what it learns now does not hold for others."
    advice = (
        "Keep the weights of the best validation (early stopping: patience above 0), then in order of gain: more or "
        "more varied pictures (views, mixup), fewer layers to train (trainable head), label smoothing, more weight "
        "decay."
    )

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._series, self._passes = Series(), Passes()
        self._first: float | None = None
        self._exceeded = 0
        self._judged: set[int] = set()

    @property
    def steps_needed(self) -> int:
        return self.parameters.patience + 1

    @property
    def too_few(self) -> bool:
        return len(self._judged) < self.steps_needed

    def account(self) -> str:
        unit = "whole validations" if self.parameters.per == "pass" else "steps of validation"
        looked = f"looked at {counted(self.steps_seen, 'step')}, {len(self._judged)} {unit} with training before"
        return f"{looked}, needs {self.steps_needed}: nothing can be said" if self.too_few else looked

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        found = []
        for point in self._series.read(trial, loss_names(trial, self.parameters.tensor_regex), step):
            self._see(point.step)
            self._first = point.value if self._first is None else self._first
            self._passes.add(point)
            finding = self._judge(point)
            if finding and point.step == step:
                found.append(finding)
        return found

    def _judge(self, point: Point) -> Finding | None:
        """Counts the newest validation, and says so when it was once too often."""
        if point.mode != "EVAL" or point.step < self.parameters.start_step:
            return None
        last = self._passes.open
        if last is None or last.train is None or not self._is_due(last):
            return None
        self._judged.add(last.number if self.parameters.per == "pass" else point.step)
        ratio = (last.validation - last.train) / last.train if last.train else math.inf
        is_over = ratio > self.parameters.ratio_threshold and self._is_rising(last)
        self._exceeded = self._exceeded + 1 if is_over else 0
        if self._exceeded <= self.parameters.patience:
            return None
        return self._finding(point, last, ratio)

    def _is_due(self, last: Pass) -> bool:
        if self.parameters.per == "step":
            return True
        closed = self._passes.closed
        return bool(closed) and last.number not in self._judged and last.count >= closed[-1].count

    def _is_rising(self, last: Pass) -> bool:
        if self.parameters.rise_percent is None:
            return True
        earlier = [each for each in self._passes.closed if each.train is not None]
        if not earlier or last.train is None:
            return False
        best = min(earlier, key=lambda each: each.validation)
        meant = best.validation + MEANT_PERCENT / 100 * (self._first or 0.0)
        has_risen = last.validation > max(meant, best.validation * (1 + self.parameters.rise_percent / 100))
        return has_risen and best.train is not None and last.train < best.train

    def _finding(self, point: Point, last: Pass, ratio: float) -> Finding:
        message = (
            f"Validation loss {number(last.validation)}, training loss {number(last.train or 0.0)}: "
            f"{number(100 * ratio)} % apart at EVAL step {point.mode_step}, validation {last.number}."
        )
        if self.parameters.rise_percent is not None:
            best = min(self._passes.closed, key=lambda each: each.validation)
            message += f" It was best at validation {best.number}, {number(best.validation)}, and rises since."
        bound = self.parameters.ratio_threshold
        return Finding(point.mode_step, point.mode, "loss", "loss ratio", ratio, bound, message)

    def summary(self, trial: TrialLike) -> list[Check]:
        if self._judged:
            return []
        modes = [mode for mode in ("TRAIN", "EVAL") if any(trial.steps_of(n, mode) for n in loss_names(trial))]
        there = f"only those of {modes[0]} were saved" if len(modes) == 1 else "too few were saved"
        return [Check(self.name, "no data", f"needs {self.wants}: {there if modes else 'none was saved'}")]


class Overtraining(Rule):
    """Neither the training loss nor the validation loss has improved by `delta` for its patience, in saved steps."""

    @dataclass(frozen=True)
    class Parameters:
        patience_train: int = parameter(5, low=1)
        patience_validation: int = parameter(10, low=1)
        delta: float = parameter(0.01, low=0)

    parameters: Parameters
    name = "Overtraining"
    collections: ClassVar = ("losses",)
    wants = "the losses of both TRAIN and EVAL"
    meaning = "The training goes on without getting better: it costs time, and the network may begin to overfit."
    advice = (
        "Stop where the validation loss was best: fewer epochs, or early stopping (patience 5). If that loss is not "
        "good enough yet, the learning rate is the thing to change: lower where the loss jumps, higher where it creeps."
    )

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._series = Series()
        self._best: dict[str, Point] = {}
        self._waited = {"TRAIN": 0, "EVAL": 0}
        self._count = {"TRAIN": 0, "EVAL": 0}

    @property
    def steps_needed(self) -> int:
        return self.parameters.patience_train + self.parameters.patience_validation + 2

    @property
    def too_few(self) -> bool:
        given = self.parameters
        return self._count["TRAIN"] <= given.patience_train or self._count["EVAL"] <= given.patience_validation

    def account(self) -> str:
        looked = f"looked at {self._count['TRAIN']} steps of TRAIN and {self._count['EVAL']} of EVAL"
        given = self.parameters
        needed = f"needs {given.patience_train + 1} and {given.patience_validation + 1}"
        return f"{looked}, {needed}: nothing can be said" if self.too_few else looked

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        new = [point for point in self._series.read(trial, loss_names(trial), step) if point.mode in self._waited]
        for point in new:
            self._take(point)
        is_over = (
            self._waited["TRAIN"] >= self.parameters.patience_train
            and self._waited["EVAL"] >= self.parameters.patience_validation
        )
        return [self._finding(new[-1])] if is_over and new and new[-1].step == step else []

    def _take(self, point: Point) -> None:
        self._see(point.step)
        self._count[point.mode] += 1
        best = self._best.get(point.mode)
        if best is None or point.value < best.value - self.parameters.delta:
            self._best[point.mode] = point
            self._waited[point.mode] = 0
        else:
            self._waited[point.mode] += 1

    def _finding(self, point: Point) -> Finding:
        best, waited = self._best["EVAL"], self._waited
        message = (
            f"No loss has improved by {number(self.parameters.delta)}: training for {waited['TRAIN']} saved steps, "
            f"validation for {waited['EVAL']}, since {number(best.value)} at EVAL step {best.mode_step}."
        )
        bound = self.parameters.patience_validation
        measure = "saved steps without improvement"
        return Finding(point.mode_step, point.mode, "loss", measure, waited["EVAL"], bound, message)
