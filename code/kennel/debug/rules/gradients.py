"""Rules over gradients."""

from dataclasses import dataclass
from typing import ClassVar

from kennel.debug.rules.base import Finding, Rule, TrialLike
from kennel.debug.rules.parameters import Patterns, parameter
from kennel.debug.rules.reading import Series, choose, loss_names, mode_of, present
from kennel.debug.rules.words import number

CUT_OFF = (
    "nothing comes back from the loss. A ReLU after the logits does this (its output and its gradient are zero for "
    "every negative logit); so do detach(), no_grad() or an argmax before the loss. Give the loss the plain output of "
    "the last linear layer."
)


class VanishingGradient(Rule):
    """The mean of a gradient's absolute values is below `threshold`."""

    @dataclass(frozen=True)
    class Parameters:
        """threshold is AWS's; the others are ours, and by default change nothing.

        tensor_regex: only these; none means the collection `gradients`.
        patience: saved steps in a row at which a tensor must be below the threshold.
        min_loss_percent: judged only while the loss is at least this share of the first one (%).
        """

        threshold: float = parameter(1e-7, low=0)
        tensor_regex: Patterns = parameter(Patterns())
        patience: int = parameter(1, low=1)
        min_loss_percent: float = parameter(0.0, low=0, high=100)

    parameters: Parameters
    name = "VanishingGradient"
    collections: ClassVar = ("gradients",)
    wants = "the collection gradients"
    meaning = "No signal reaches these weights: they are hardly moved, whatever the learning rate, and do not learn."
    advice = (
        "Look at what stands behind the layer. A ReLU after the logits, or units that are always off, pass no "
        "gradient: take the ReLU away, or use LeakyReLU or GELU. Sigmoid and tanh far from zero pass none either: "
        "normalise their inputs. In deep networks add BatchNorm or skip connections, and initialise by "
        "Kaiming (ReLU) or Xavier."
    )

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._below: dict[str, int] = {}
        self._losses = Series()
        self._loss: tuple[float, float] | None = None  # the first and the newest
        self._flat: dict[str, bool] = {}

    @property
    def steps_needed(self) -> int:
        return self.parameters.patience

    @property
    def remedy(self) -> str:
        if not self._flat:
            return self.advice
        gone = sorted(name.removeprefix("gradient/") for name in self._flat)
        if all(self._flat.values()) and len(gone) == len(self._below):
            return f"The gradient of {gone[-1]}, as of all that was judged, is exactly zero: {CUT_OFF}"
        few = ", ".join(gone[:3]) + (f" and {len(gone) - 3} more" if len(gone) > 3 else "")
        return f"It is {few} that the signal does not reach. {self.advice}"

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        names = present(trial, choose(trial, patterns=self.parameters.tensor_regex, otherwise="gradients"), step)
        self._read_loss(trial, step)
        if not names or not self._is_worth_judging():
            return []
        found = []
        for name in names:
            size = trial.statistic(name, step, "abs_mean")
            if size is None:
                continue
            self._see(step)
            self._below[name] = self._below.get(name, 0) + 1 if size < self.parameters.threshold else 0
            if self._below[name] >= self.parameters.patience:
                found.append(self._finding(trial, name, step, size))
        return found

    def _read_loss(self, trial: TrialLike, step: int) -> None:
        if self.parameters.min_loss_percent:
            for point in self._losses.read(trial, loss_names(trial), step):
                self._loss = (self._loss[0] if self._loss else point.value, point.value)

    def _is_worth_judging(self) -> bool:
        """Where the loss has nearly gone, its gradients may go too: what could be learnt has been."""
        if self._loss is None:
            return True
        first, newest = self._loss
        return not newest < first * self.parameters.min_loss_percent / 100

    def _finding(self, trial: TrialLike, name: str, step: int, size: float) -> Finding:
        mode, mode_step = mode_of(trial, step)
        self._flat[name] = size == 0
        row = f", at {self._below[name]} saved steps in a row" if self.parameters.patience > 1 else ""
        bound = self.parameters.threshold
        where = f"{name}: mean absolute value {number(size)} at {mode} step {mode_step}"
        return Finding(
            mode_step, mode, name, "mean absolute gradient", size, bound, f"{where}, below {number(bound)}{row}."
        )
