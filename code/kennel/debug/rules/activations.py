"""Rules over what goes into and comes out of activation functions."""

import re
from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kennel.debug.rules.base import Finding, Rule, TrialLike
from kennel.debug.rules.parameters import Patterns, parameter
from kennel.debug.rules.reading import choose, mode_of, present
from kennel.debug.rules.words import number

RELU_OUTPUT = Patterns((".*relu_output",))
SATURABLE_INPUT = Patterns((".*tanh_input|.*sigmoid_input",))


class DeadRelu(Rule):
    """More than `threshold_layer` % of a layer's units are active for less than `threshold_inactivity` % of values."""

    @dataclass(frozen=True)
    class Parameters:
        """AWS's, and one of ours. The default regex also takes the collection relu_output: a ReLU need not be named so.

        steps: saved steps of a mode over which a unit's activity is taken together. One batch of 32 does not show each
        unit what it is for: half of a sound layer was off in one (measured: a head of 64 over 20 classes).
        """

        tensor_regex: Patterns = parameter(RELU_OUTPUT)
        threshold_inactivity: float = parameter(1.0, low=0, high=100)
        threshold_layer: float = parameter(50.0, low=0, high=100)
        steps: int = parameter(1, low=1)

    parameters: Parameters
    name = "DeadRelu"
    collections: ClassVar = ("relu_output",)
    wants = "the outputs of ReLU layers"
    meaning = (
        "Most units of the layer are off for every picture: they give nothing on and, having no gradient, stay so."
    )
    advice = (
        "Units die when a step throws their bias far below zero: divide the learning rate by 10, or warm it up. Then "
        "initialise by Kaiming with biases of zero, put BatchNorm before the ReLU, or take LeakyReLU or GELU. A ReLU "
        "after the logits has no place there at all."
    )

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._activity: dict[tuple[str, str], deque[NDArray[np.float64]]] = {}  # (tensor, mode) -> of the last steps

    @property
    def steps_needed(self) -> int:
        return self.parameters.steps

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        collections = ("relu_output",) if self.parameters.tensor_regex == RELU_OUTPUT else ()
        names = choose(trial, collections=collections, patterns=self.parameters.tensor_regex)
        found = []
        for name in present(trial, names, step):
            dead = self._dead_percent(trial, name, step)
            if dead is None:
                continue
            if dead > self.parameters.threshold_layer:
                found.append(self._finding(trial, name, step, dead))
        return found

    def _dead_percent(self, trial: TrialLike, name: str, step: int) -> float | None:
        """Over the last steps of the mode; None while they are too few."""
        activity = trial.activity(name, step)
        if activity is None or not activity.size:
            highest = trial.statistic(name, step, "max")  # all that reductions tell: nothing at all came out
            activity = None if highest is None else np.array([float(highest > 0)])
        if activity is None:
            return None
        self._see(step)
        row = self._activity.setdefault((name, mode_of(trial, step)[0]), deque(maxlen=self.parameters.steps))
        if row and row[-1].shape != activity.shape:
            row.clear()
        row.append(activity)
        if len(row) < self.parameters.steps:
            return None
        return 100.0 * float((100.0 * np.mean(row, axis=0) < self.parameters.threshold_inactivity).mean())

    def _finding(self, trial: TrialLike, name: str, step: int, dead: float) -> Finding:
        mode, mode_step = mode_of(trial, step)
        message = (
            f"{name}: {number(dead)} % of the units are active for less than "
            f"{number(self.parameters.threshold_inactivity)} % of the values at {mode} step {mode_step}"
            f"{f' and the {self.parameters.steps - 1} saved before' if self.parameters.steps > 1 else ''}."
        )
        return Finding(mode_step, mode, name, "dead units, %", dead, self.parameters.threshold_layer, message)


class SaturatedActivation(Rule):
    """More than `threshold_layer` % of a layer's units have inputs where tanh or sigmoid is flat.

    A unit is saturated when less than `threshold_inactivity` % of its inputs lie between the two thresholds.
    """

    @dataclass(frozen=True)
    class Parameters:
        """AWS's: beyond these inputs the slope is below 1e-7. The default regex also takes the collections."""

        collection_names: tuple[str, ...] = parameter(())
        tensor_regex: Patterns = parameter(SATURABLE_INPUT)
        threshold_tanh_min: float = parameter(-9.4999)
        threshold_tanh_max: float = parameter(9.4999)
        threshold_sigmoid_min: float = parameter(-23.0)
        threshold_sigmoid_max: float = parameter(16.99999)
        threshold_inactivity: float = parameter(1.0, low=0, high=100)
        threshold_layer: float = parameter(50.0, low=0, high=100)

    parameters: Parameters
    name = "SaturatedActivation"
    collections: ClassVar = ("tanh_input", "sigmoid_input")
    wants = "the inputs of tanh and sigmoid layers"
    meaning = "The units sit where the function is flat: no gradient passes, and what is below them stops learning."
    advice = (
        "Make the inputs smaller: BatchNorm before the activation, Xavier initialisation, a learning rate divided by "
        "10, weight decay, and inputs normalised to mean 0 and deviation 1. Or take ReLU, which saturates on one side "
        "only."
    )

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        given = self.parameters
        names = choose(trial, collections=given.collection_names, patterns=given.tensor_regex)
        if not given.collection_names and given.tensor_regex == SATURABLE_INPUT:
            names = sorted({*names, *choose(trial, collections=self.collections)})
        found = []
        for name in present(trial, names, step):
            low, high = self._bounds(trial, name)
            saturated = self._saturated_percent(trial, name, step, low=low, high=high)
            if saturated is None:
                continue
            self._see(step)
            if saturated > given.threshold_layer:
                found.append(self._finding(trial, name, step, saturated))
        return found

    def _bounds(self, trial: TrialLike, name: str) -> tuple[float, float]:
        """Those of sigmoid for what is called or collected so, else those of tanh."""
        given = self.parameters
        is_sigmoid = re.search("sigmoid", name, re.IGNORECASE) or name in trial.names(collection="sigmoid_input")
        if is_sigmoid:
            return given.threshold_sigmoid_min, given.threshold_sigmoid_max
        return given.threshold_tanh_min, given.threshold_tanh_max

    def _saturated_percent(self, trial: TrialLike, name: str, step: int, *, low: float, high: float) -> float | None:
        raw = trial.value(name, step)
        if raw is not None and raw.size:
            inside = unit_share((raw > low) & (raw < high))
            return 100.0 * float((100.0 * inside < self.parameters.threshold_inactivity).mean())
        return self._from_statistics(trial, name, step, low=low, high=high)

    def _from_statistics(self, trial: TrialLike, name: str, step: int, *, low: float, high: float) -> float | None:
        """The share of values, as far as the statistics make it sure; they know no units.

        None where they leave it open: values on both sides, with the middle unknown.
        """
        least, most = trial.statistic(name, step, "min"), trial.statistic(name, step, "max")
        if least is None or most is None:
            return None
        if most <= low or least >= high:
            return 100.0
        p5, p95 = trial.statistic(name, step, "p5"), trial.statistic(name, step, "p95")
        if p5 is not None and p95 is not None:
            if p95 <= low or p5 >= high:
                return 95.0
            return 0.0 if p5 > low and p95 < high else None
        return 0.0 if least > low and most < high else None

    def _finding(self, trial: TrialLike, name: str, step: int, saturated: float) -> Finding:
        mode, mode_step = mode_of(trial, step)
        low, high = self._bounds(trial, name)
        message = (
            f"{name}: {number(saturated)} % of the units are saturated at {mode} step {mode_step} "
            f"(inputs outside {number(low)} to {number(high)})."
        )
        return Finding(mode_step, mode, name, "saturated units, %", saturated, self.parameters.threshold_layer, message)


def unit_share(holds: NDArray[Any]) -> NDArray[np.float64]:
    """float64 (units,): the share of True of each channel (N, C, ...) or neuron (N, D)."""
    if holds.ndim < 2:
        return holds.astype(np.float64).ravel()
    return np.asarray(holds.mean(axis=(0, *range(2, holds.ndim))), dtype=np.float64)
