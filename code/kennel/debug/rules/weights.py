"""Rules over what a step does to the weights."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kennel.debug.rules.base import Finding, Rule, TrialLike
from kennel.debug.rules.parameters import parameter
from kennel.debug.rules.reading import mode_of
from kennel.debug.rules.words import number


@dataclass(frozen=True)
class Update:
    """What happened to a weight between two saved steps of a mode: mean|w - w_before| and mean|w_before|."""

    before: int
    moved: float
    size: float


class WeightUpdateRatio(Rule):
    """mean|w - w_before| / (mean|w_before| + epsilon) above `large_threshold` or below `small_threshold`.

    w_before is the newest saved step at least `num_steps` back; None: the saved step before. Steps of EVAL change
    nothing and are left out.
    """

    @dataclass(frozen=True)
    class Parameters:
        """AWS's, and two of ours.

        patience: saved steps in a row at which a weight's ratio must be too small (or too large).
        skip_zero_start: leave a weight out of the large test that is all zero at its first saved step: its ratio is
        infinite at first, and says nothing.
        """

        num_steps: int | None = parameter(None, low=1)
        large_threshold: float = parameter(10.0, low=0)
        small_threshold: float = parameter(1e-8, low=0)
        epsilon: float = parameter(1e-9, low=0)
        patience: int = parameter(1, low=1)
        skip_zero_start: bool = parameter(False)

    parameters: Parameters
    name = "WeightUpdateRatio"
    collections: ClassVar = ("weights",)
    wants = "the collection weights at two steps of TRAIN"
    meaning = "The size of a step does not fit the weights: they are thrown about, or they do not move."
    advice = (
        "Ratio too large: divide the learning rate by 10 or warm it up. Too small: multiply it by 10; if the ratio is "
        "zero, the layer is frozen, was not given to the optimizer, or gets no gradient. About 0.001 a step is healthy."
    )

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._in_row: dict[tuple[str, bool], int] = {}
        self._starts_at_zero: dict[str, bool] = {}

    @property
    def steps_needed(self) -> int:
        return self.parameters.patience

    def account(self) -> str:
        if self._seen:
            return super().account()
        return "found no weight saved at two steps of TRAIN: nothing can be said"

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        mode, mode_step = mode_of(trial, step)
        if mode == "EVAL":
            return []
        found = []
        for name in trial.names(collection="weights"):
            update = self._update(trial, name, mode, mode_step)
            if update is None or self._is_frozen(trial, name):
                continue
            self._see(step)
            finding = self._judge(trial, name, mode, mode_step, update)
            if finding:
                found.append(finding)
        return found

    def _is_frozen(self, trial: TrialLike, name: str) -> bool:
        return any(each.get("name") == name and each.get("is_frozen") for each in trial.facts.get("parameters", []))

    def _update(self, trial: TrialLike, name: str, mode: str, step: int) -> Update | None:
        steps = trial.steps_of(name, mode)
        earlier = [each for each in steps if each <= step - (self.parameters.num_steps or 1)]
        if not earlier or step not in steps:
            return None
        before = earlier[-1]
        then, now = trial.value(name, before, mode), trial.value(name, step, mode)
        if then is not None and now is not None:
            with np.errstate(all="ignore"):  # weights that are not finite are another rule's
                return Update(before, float(np.abs(now - then).mean()), float(np.abs(then).mean()))
        is_next = not any(before < each < step for each in steps)
        return self._from_statistics(trial, name, mode, before, step) if is_next else None

    def _from_statistics(self, trial: TrialLike, name: str, mode: str, before: int, step: int) -> Update | None:
        """The hook's ratio is by the weights after the step, ours by those before it."""
        ratio = trial.statistic(name, step, "update_ratio", mode)
        size, then = (trial.statistic(name, each, "abs_mean", mode) for each in (step, before))
        if ratio is None or size is None or then is None:
            return None
        return Update(before, ratio * size if size else then, then)

    def _judge(self, trial: TrialLike, name: str, mode: str, step: int, update: Update) -> Finding | None:
        given = self.parameters
        ratio = update.moved / (update.size + given.epsilon) if update.size + given.epsilon else float("inf")
        is_large, is_small = ratio > given.large_threshold, ratio < given.small_threshold
        if is_large and given.skip_zero_start and self._began_at_zero(trial, name, mode):
            is_large = False
        for key, holds in (((name, True), is_large), ((name, False), is_small)):
            self._in_row[key] = self._in_row.get(key, 0) + 1 if holds else 0
        if max(self._in_row[name, True], self._in_row[name, False]) < given.patience:
            return None
        bound = given.large_threshold if is_large else given.small_threshold
        said = f"moved by {number(ratio)} of its size between {mode} steps {update.before} and {step}"
        message = f"{name} {said}, {'above' if is_large else 'below'} {number(bound)}."
        return Finding(step, mode, name, "update / weight", ratio, bound, message)

    def _began_at_zero(self, trial: TrialLike, name: str, mode: str) -> bool:
        if name not in self._starts_at_zero:
            first = trial.steps_of(name, mode)[0]
            size = trial.statistic(name, first, "abs_mean", mode)
            self._starts_at_zero[name] = size is not None and size <= self.parameters.epsilon
        return self._starts_at_zero[name]
