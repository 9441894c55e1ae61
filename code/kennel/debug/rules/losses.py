"""Rules over the loss of training and of validation."""

import math
from dataclasses import dataclass
from typing import ClassVar

from kennel.debug.rules.base import Finding, Rule, TrialLike
from kennel.debug.rules.beginning import Beginning, fallen_percent
from kennel.debug.rules.parameters import Patterns, parameter
from kennel.debug.rules.reading import Point, Series, choose, loss_names, mode_of
from kennel.debug.rules.words import counted, number

MODES = ("EVAL", "TRAIN", "GLOBAL")  # the order in which AWS's guide looks for a loss


class LossNotDecreasing(Rule):
    """Every `num_steps`: the loss against that of the newest saved step at least `num_steps` back.

    Fires when it has fallen by less than `diff_percent` (or not at all), or risen by more than
    `increase_threshold_percent`, which is a case of the first and is named as such. With our `reference` start it is
    compared with the beginning instead; see kennel.debug.rules.beginning.
    """

    @dataclass(frozen=True)
    class Parameters:
        """AWS's, and two of ours. mode None is AWS's order: the first of EVAL, TRAIN, GLOBAL that has losses.

        reference: "step" as AWS; "start" compares with the first loss of the training (then diff_percent is asked of
        the mean of a validation, and increase_threshold_percent is measured from the best one).
        patience: checks in a row that must fail.
        """

        collection_names: tuple[str, ...] = parameter(())
        tensor_regex: Patterns = parameter(Patterns())
        use_losses_collection: bool = parameter(True)
        num_steps: int = parameter(10, low=1)
        diff_percent: float = parameter(0.1, low=0, high=100)
        increase_threshold_percent: float = parameter(5.0, low=0, high=100)
        mode: str | None = parameter(None, choices=MODES)
        reference: str = parameter("step", choices=("step", "start"))
        patience: int = parameter(1, low=1)

    parameters: Parameters
    name = "LossNotDecreasing"
    collections: ClassVar = ("losses",)
    wants = "the losses"
    needs = 2
    meaning = "The network is not learning from its steps."
    advice = (
        "If the loss jumps or grows, divide the learning rate by 10. If it stays where it began (ln of the number of "
        "classes is guessing), look at labels that do not belong to their pictures, at a layer that passes no gradient "
        "(VanishingGradient names it), and then at a learning rate that is too low. If it had fallen and is flat now, "
        "the training is done: stop it here."
    )

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._series = Series()
        self._checked: dict[tuple[str, str], int] = {}  # (tensor, mode) -> step of the last check
        self._failed: dict[tuple[str, str], int] = {}  # (tensor, mode) -> checks in a row that failed
        self._beginning = Beginning(
            window=parameters.num_steps,
            fall_percent=parameters.diff_percent,
            rise_percent=parameters.increase_threshold_percent,
            patience=parameters.patience,
            mode=parameters.mode,
        )

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        new = self._series.read(trial, self._names(trial), step)
        if new and new[-1].step == step:
            self._see(step)
        if self.parameters.reference == "start":
            classes = len(trial.facts.get("classes") or ())
            chance = math.log(classes) if classes > 1 else None
            found = [finding for point in new for finding in self._beginning.add(point, chance=chance)]
            return [each for each in found if mode_of(trial, step) == (each.mode, each.step)]
        newest = [(name, points) for name, points in self._series.points.items() if points and points[-1].step == step]
        return [finding for name, points in newest for finding in self._judge(name, points)]

    @property
    def too_few(self) -> bool:
        if self.parameters.reference == "start":
            return self._beginning.too_few
        return not self._checked

    def account(self) -> str:
        looked = f"looked at {counted(self.steps_seen, 'step')}"
        if not self.too_few:
            return looked
        if self.parameters.reference == "start":
            return f"{looked}, {self._beginning.needs()}: nothing can be said"
        return f"{looked}, needs two that are {self.parameters.num_steps} apart: nothing can be said"

    def _names(self, trial: TrialLike) -> list[str]:
        given = self.parameters
        chosen: set[str] = set()
        if given.collection_names or given.tensor_regex:
            chosen.update(choose(trial, collections=given.collection_names, patterns=given.tensor_regex))
        if given.use_losses_collection:
            chosen.update(loss_names(trial))
        elif not chosen:
            chosen.update(trial.names())
        return sorted(chosen)

    def _judge(self, name: str, points: list[Point]) -> list[Finding]:
        """The check that is due at the newest point, if one is."""
        mode = self.parameters.mode or next((each for each in MODES if any(p.mode == each for p in points)), "GLOBAL")
        line = [(p.step if mode == "GLOBAL" else p.mode_step, p.value) for p in points if mode in (p.mode, "GLOBAL")]
        if not line or mode not in (points[-1].mode, "GLOBAL"):
            return []
        now, value = line[-1]
        earlier = [each for each in line if each[0] <= now - self.parameters.num_steps]
        last = self._checked.get((name, mode))
        if not earlier or (last is not None and now < last + self.parameters.num_steps):
            return []
        self._checked[name, mode] = now
        then, before = earlier[-1]
        finding = self._compare(name, mode, (then, before), (now, value))
        self._failed[name, mode] = self._failed.get((name, mode), 0) + 1 if finding else 0
        return [finding] if finding and self._failed[name, mode] >= self.parameters.patience else []

    def _compare(self, name: str, mode: str, then: tuple[int, float], now: tuple[int, float]) -> Finding | None:
        fall = fallen_percent(then[1], now[1])
        if fall > 0 and fall >= self.parameters.diff_percent:
            return None
        has_risen = -fall > self.parameters.increase_threshold_percent
        bound = -self.parameters.increase_threshold_percent if has_risen else self.parameters.diff_percent
        said = f"has risen by {number(-fall)} %" if fall < 0 else f"has fallen by {number(fall)} %"
        if math.isnan(fall):
            said = "is not a number"
        limit = f"more than the {number(-bound)} %" if has_risen else f"not the {number(bound)} %"
        message = (
            f"{name} {said} between {mode} step {then[0]} ({number(then[1])}) and step {now[0]} ({number(now[1])}), "
            f"{limit} that {'is allowed' if has_risen else 'is asked for'}."
        )
        return Finding(now[0], mode, name, "decrease of the loss, %", fall, bound, message)
