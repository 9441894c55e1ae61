"""Rules over any tensors: all zero, not finite, unchanged, too wide or too narrow."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kennel.debug.rules.base import Check, Finding, Rule, TrialLike
from kennel.debug.rules.parameters import Patterns, parameter
from kennel.debug.rules.reading import choose, mode_of, present
from kennel.debug.rules.words import number


class TensorRule(Rule):
    """A rule that judges each of the chosen tensors by itself.

    AWS's guide asks for one of collection_names and tensor_regex, and says of an absent regex that all tensors are
    compared; SDK's rule_configs send neither. So neither means all tensors.
    """

    wants = "the chosen tensors"

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        given = self.parameters
        names = choose(trial, collections=given.collection_names, patterns=given.tensor_regex)
        found = [self._judge(trial, name, step) for name in present(trial, names, step)]
        return [finding for finding in found if finding is not None]

    def _judge(self, trial: TrialLike, name: str, step: int) -> Finding | None:
        raise NotImplementedError

    def _finding(
        self, trial: TrialLike, name: str, step: int, *, measure: str, value: float, threshold: float, said: str
    ) -> Finding:
        mode, mode_step = mode_of(trial, step)
        return Finding(mode_step, mode, name, measure, value, threshold, f"{name}: {said} at {mode} step {mode_step}.")


class AllZero(TensorRule):
    """At least `threshold` % of a tensor's values are zero."""

    @dataclass(frozen=True)
    class Parameters:
        collection_names: tuple[str, ...] = parameter(())
        tensor_regex: Patterns = parameter(Patterns())
        threshold: float = parameter(100.0, low=0, high=100)

    parameters: Parameters
    name = "AllZero"
    meaning = "The tensor holds nothing: what reads it learns nothing from it."
    advice = (
        "Weights: initialise them at random (only the last layer may start at zero). Gradients: a layer above passes "
        "none; see VanishingGradient. Activations: see DeadRelu. Inputs: look at the pictures the network is given."
    )

    def _judge(self, trial: TrialLike, name: str, step: int) -> Finding | None:
        share = trial.statistic(name, step, "zero_share")
        if share is None:
            share = self._from_reductions(trial, name, step)
        if share is None:
            return None
        self._see(step)
        percent, bound = 100.0 * share, self.parameters.threshold
        if percent < bound:
            return None
        said = f"{number(percent)} % of the values are zero"
        return self._finding(trial, name, step, measure="zeros, %", value=percent, threshold=bound, said=said)

    def _from_reductions(self, trial: TrialLike, name: str, step: int) -> float | None:
        """1 where everything is zero, 0 where something is not and all is asked; a share in between is unknown."""
        size = trial.statistic(name, step, "abs_mean")
        if size is None:
            size = trial.statistic(name, step, "l2")
        if size is None:
            least, most = trial.statistic(name, step, "min"), trial.statistic(name, step, "max")
            size = None if least is None or most is None else max(abs(least), abs(most))
        if size is None or (size and self.parameters.threshold < 100):
            return None
        return 0.0 if size else 1.0


class ExplodingTensor(TensorRule):
    """A tensor has an infinite value or a NaN (with `only_nan`, a NaN)."""

    @dataclass(frozen=True)
    class Parameters:
        collection_names: tuple[str, ...] = parameter(())
        tensor_regex: Patterns = parameter(Patterns())
        only_nan: bool = parameter(False)

    parameters: Parameters
    name = "ExplodingTensor"
    collections: ClassVar = ("losses",)
    wants = "any tensor"
    meaning = "Numbers ran out of range; from this step on the weights are worth nothing."
    advice = (
        "Divide the learning rate by 10 and clip gradients (norm 1); with reduced precision take bfloat16 or float32; "
        "look for a logarithm or a division of zero in the loss, and for pictures that are not finite. Start again "
        "from the last checkpoint before this step."
    )

    def _judge(self, trial: TrialLike, name: str, step: int) -> Finding | None:
        share = self._share(trial, name, step)
        if share is None:
            return None
        self._see(step)
        if not share > 0:
            return None
        kind = "NaN" if self.parameters.only_nan else "NaN or infinite"
        said = f"{number(100 * share)} % of the values are {kind}"
        return self._finding(trial, name, step, measure="not finite, share", value=share, threshold=0.0, said=said)

    def _share(self, trial: TrialLike, name: str, step: int) -> float | None:
        which = "nan_share" if self.parameters.only_nan else "nonfinite_share"
        share = trial.statistic(name, step, which)
        if share is not None:
            return share
        # min and max hand a NaN and an infinity on; a mean or a norm may run over by itself.
        known = [trial.statistic(name, step, each) for each in ("min", "max")]
        numbers = [value for value in known if value is not None]
        if not numbers:
            return None
        if self.parameters.only_nan:
            return float(any(math.isnan(value) for value in numbers))
        return float(not all(math.isfinite(value) for value in numbers))


class TensorVariance(TensorRule):
    """A tensor's variance lies above `max_threshold` or below `min_threshold`."""

    @dataclass(frozen=True)
    class Parameters:
        collection_names: tuple[str, ...] = parameter(())
        tensor_regex: Patterns = parameter(Patterns())
        max_threshold: float | None = parameter(None, low=0)
        min_threshold: float | None = parameter(None, low=0)

    parameters: Parameters
    name = "TensorVariance"
    meaning = "Values spread far too wide, or lie all at one place: units saturate, or cannot be told from each other."
    advice = (
        "Too wide: lower the learning rate, add weight decay or BatchNorm, normalise the inputs. Too narrow: "
        "initialise wider (Kaiming, Xavier), lower the weight decay, and look whether the layer gets any gradient."
    )

    def account(self) -> str:
        if self.parameters.max_threshold is None and self.parameters.min_threshold is None:
            return "neither max_threshold nor min_threshold was given: nothing was judged"
        return super().account()

    def summary(self, trial: TrialLike) -> list[Check]:
        return [] if self._seen else [Check(self.name, "no data", self.account())]

    def _judge(self, trial: TrialLike, name: str, step: int) -> Finding | None:
        low, high = self.parameters.min_threshold, self.parameters.max_threshold
        variance = trial.statistic(name, step, "variance")
        if variance is None or (low is None and high is None):
            return None
        self._see(step)
        for bound, is_beyond, word in (
            (high, high is not None and not variance <= high, "above"),
            (low, low is not None and not variance >= low, "below"),
        ):
            if bound is not None and is_beyond:
                said = f"variance {number(variance)}, {word} {number(bound)},"
                return self._finding(trial, name, step, measure="variance", value=variance, threshold=bound, said=said)
        return None


class UnchangedTensor(TensorRule):
    """The last `num_steps` saved values of a tensor are all close (numpy.allclose) to the newest.

    They are those of one mode; weights and biases are not judged in EVAL, which is not to change them. From statistics
    alone, all that are known must be the same to a thousandth of the tolerances: a mean moves less than its values do.
    History before the first step judged counts.
    """

    @dataclass(frozen=True)
    class Parameters:
        collection_names: tuple[str, ...] = parameter(())
        tensor_regex: Patterns = parameter(Patterns())
        num_steps: int = parameter(3, low=2)
        rtol: float = parameter(1e-5, low=0)
        atol: float = parameter(1e-8, low=0)
        equal_nan: bool = parameter(False)

    parameters: Parameters
    name = "UnchangedTensor"
    meaning = "The tensor stays as it is, so whatever should change it does not reach it."
    advice = (
        "A weight: is the layer frozen, given to the optimizer, its learning rate above zero? A loss: the network's "
        "answer does not depend on its weights or its pictures; look at what stands after the last layer. An input: "
        "the loader hands out the same pictures again."
    )

    @property
    def steps_needed(self) -> int:
        return self.parameters.num_steps

    @property
    def too_few(self) -> bool:
        return not self._seen

    def account(self) -> str:
        if self._seen:
            return super().account()
        return f"found no tensor saved at {self.parameters.num_steps} steps: nothing can be said"

    def summary(self, trial: TrialLike) -> list[Check]:
        return [] if self._seen else [Check(self.name, "no data", self.account())]

    def _judge(self, trial: TrialLike, name: str, step: int) -> Finding | None:
        count = self.parameters.num_steps
        mode, mode_step = mode_of(trial, step)
        steps = [each for each in trial.steps_of(name, mode) if each <= mode_step][-count:]
        if len(steps) < count or (mode == "EVAL" and self._is_learnt(trial, name)):
            return None
        known = [self._known(trial, name, each, mode) for each in steps]
        if any(each is None for each in known):
            return None
        self._see(step)
        newest = known[-1]
        is_raw = trial.value(name, mode_step, mode) is not None
        if newest is None or not all(e is not None and self._is_close(e, newest, is_raw=is_raw) for e in known[:-1]):
            return None
        said = f"the same at the last {count} saved steps ({', '.join(map(str, steps))}),"
        return self._finding(
            trial, name, step, measure="saved steps unchanged", value=count, threshold=count, said=said
        )

    def _is_close(self, before: np.ndarray, now: np.ndarray, *, is_raw: bool) -> bool:
        given, share = self.parameters, 1.0 if is_raw else 1e-3
        if before.shape != now.shape:
            return False
        return bool(
            np.allclose(before, now, rtol=share * given.rtol, atol=share * given.atol, equal_nan=given.equal_nan)
        )

    def _is_learnt(self, trial: TrialLike, name: str) -> bool:
        return any(name in trial.names(collection=each) for each in ("weights", "biases"))

    def _known(self, trial: TrialLike, name: str, step: int, mode: str) -> np.ndarray | None:
        """The raw tensor, or what is known of it: two tensors with the same numbers are taken for the same."""
        raw = trial.value(name, step, mode)
        if raw is not None:
            return np.asarray(raw, dtype=np.float64)
        which = ("min", "max", "mean", "abs_mean", "l2", "p5", "p95")
        numbers = [trial.statistic(name, step, each, mode) for each in which]
        found = [value for value in numbers if value is not None]
        return np.asarray(found) if len(found) > 1 else None
