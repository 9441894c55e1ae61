"""Whether the weights began well: three checks, each reported by itself."""

import math
import re
from dataclasses import dataclass
from typing import ClassVar

from kennel.debug.rules.base import Check, Finding, Rule, TrialLike
from kennel.debug.rules.parameters import Patterns, parameter
from kennel.debug.rules.reading import Point, Series, choose, loss_names, mode_of, present
from kennel.debug.rules.words import number

RELU_INPUT = Patterns((".*relu_input",))
VARIANCE, GRADIENT, LOSS = "variance of activation inputs", "spread of gradients", "loss falls"
# What a first gradient is called: gradient/ResNet_layer1.0.bn1.weight. torchvision names its BatchNorms so.
BATCH_NORM = re.compile(r"(\.|_)(bn\d*|norm\d*|downsample\.1)\.(weight|bias)$", re.IGNORECASE)


class PoorWeightInitialization(Rule):
    """In the first `steps` steps of training, any of three:

    - the largest variance of an activation's inputs is more than `threshold` times the smallest, over the layers;
    - the smallest p95 - p5 of the gradients is below `distribution_range`;
    - the loss has had no new lowest value for `patience` steps.

    BatchNorm and frozen layers are left out of the second: their gradients do not depend on an initialisation. With a
    pretrained backbone (kennel.json) all of it is moot: its weights were trained, not drawn.
    """

    @dataclass(frozen=True)
    class Parameters:
        """AWS's, and two of ours.

        skip_steps: first steps whose gradients are not judged; a last layer that starts at zero gives the layers below
        it no gradient at step 0.
        signal_steps: first steps of which variances and gradients are judged, where the loss is to be watched for
        longer; None: `steps`, as AWS.
        """

        activation_inputs_regex: Patterns = parameter(RELU_INPUT)
        threshold: float = parameter(10.0, low=1)
        distribution_range: float = parameter(0.001, low=0)
        patience: int = parameter(5, low=1)
        steps: int = parameter(10, low=1)
        skip_steps: int = parameter(0, low=0)
        signal_steps: int | None = parameter(None, low=1)

    parameters: Parameters
    name = "PoorWeightInitialization"
    collections: ClassVar = ("relu_input", "gradients", "losses")
    meaning = "The first weights are too large, too small or alike: the signal grows or dies from layer to layer."
    advice = (
        "Begin with pretrained weights; without any, initialise by Kaiming (ReLU) or Xavier (tanh, sigmoid) with "
        "biases of zero, never with a constant, and put BatchNorm between the layers. If only the loss check fired, "
        "lower the learning rate first."
    )

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._series = Series()
        self._losses: list[Point] = []
        self._numbers: dict[str, str] = {}  # check -> what it found last
        self._fired: dict[str, str] = {}  # check -> what it found when it fired
        self._is_moot = False

    @property
    def too_few(self) -> bool:
        return not self._is_moot and not self._numbers

    def account(self) -> str:
        looked = f"looked at {self.steps_seen} of the first {self.parameters.steps} steps"
        if self._is_moot:
            return "moot: the backbone is pretrained, so its weights were not drawn at random"
        if self.too_few:
            return f"{looked}; needs activation inputs, gradients or losses of them: nothing can be said"
        open_checks = [name for name in (VARIANCE, GRADIENT, LOSS) if name not in self._numbers]
        return looked + (f"; not judged: {', '.join(open_checks)}" if open_checks else "")

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        self._is_moot = bool(trial.facts.get("is_pretrained"))
        mode, mode_step = mode_of(trial, step)
        if self._is_moot or mode == "EVAL" or mode_step >= self.parameters.steps:
            return []
        self._losses += [p for p in self._series.read(trial, loss_names(trial), step) if p.mode != "EVAL"]
        found = [self._loss(step)]
        if mode_step < (self.parameters.signal_steps or self.parameters.steps):
            found += [self._variance(trial, step), self._gradient(trial, step)]
        return [Finding(mode_step, mode, *finding) for finding in found if finding]

    def summary(self, trial: TrialLike) -> list[Check]:
        checks = []
        for name in (VARIANCE, GRADIENT, LOSS):
            if trial.facts.get("is_pretrained"):
                checks.append(Check(name, "moot", "the backbone is pretrained: its weights were trained, not drawn"))
            elif name in self._fired:
                checks.append(Check(name, "fired", self._fired[name]))
            elif name in self._numbers:
                checks.append(Check(name, "ok", self._numbers[name]))
            else:
                checks.append(Check(name, "no data", self._missing(name)))
        return checks

    def _missing(self, name: str) -> str:
        first = f"the first {self.parameters.steps} steps"
        if name == LOSS:
            return (
                f"needs losses at {first} that lie {self.parameters.patience} apart (save_steps, or a small interval)"
            )
        return f"needs {'relu_input of two layers' if name == VARIANCE else 'gradients'}, saved in {first}"

    def _variance(self, trial: TrialLike, step: int) -> tuple[str, str, float, float, str] | None:
        patterns = self.parameters.activation_inputs_regex
        collections = ("relu_input",) if patterns == RELU_INPUT else ()
        names = present(trial, choose(trial, collections=collections, patterns=patterns), step)
        known = {name: trial.statistic(name, step, "variance") for name in names}
        spread = {name: value for name, value in known.items() if value is not None}
        if len(spread) < 2:
            return None
        self._see(step)
        low, high = min(spread, key=spread.__getitem__), max(spread, key=spread.__getitem__)
        ratio = spread[high] / spread[low] if spread[low] else math.inf
        said = f"{high} {number(spread[high])} is {number(ratio)} times {low} {number(spread[low])}"
        return self._conclude(
            VARIANCE, high, ratio, self.parameters.threshold, said, is_bad=not ratio <= self.parameters.threshold
        )

    def _gradient(self, trial: TrialLike, step: int) -> tuple[str, str, float, float, str] | None:
        if mode_of(trial, step)[1] < self.parameters.skip_steps:
            return None
        spread: dict[str, float] = {}
        for name in present(trial, trial.names(collection="gradients"), step):
            low, high = trial.statistic(name, step, "p5"), trial.statistic(name, step, "p95")
            if low is not None and high is not None and not is_left_out(trial, name):
                spread[name] = high - low
        if not spread:
            return None
        self._see(step)
        least, bound = min(spread, key=spread.__getitem__), self.parameters.distribution_range
        said = f"p95 - p5 is smallest in {least}: {number(spread[least])}"
        return self._conclude(GRADIENT, least, spread[least], bound, said, is_bad=not spread[least] >= bound)

    def _loss(self, step: int) -> tuple[str, str, float, float, str] | None:
        if not self._losses or self._losses[-1].step != step:
            return None
        self._see(step)
        now = self._losses[-1]
        if now.mode_step - self._losses[0].mode_step < self.parameters.patience:
            return None
        best = min(self._losses, key=lambda point: math.inf if math.isnan(point.value) else point.value)
        waited = now.mode_step - best.mode_step
        said = f"the lowest loss, {number(best.value)}, is {waited} steps before step {now.mode_step}"
        is_bad = waited >= self.parameters.patience or not math.isfinite(now.value)
        return self._conclude(LOSS, "loss", waited, self.parameters.patience, said, is_bad=is_bad)

    def _conclude(
        self, check: str, tensor: str, value: float, bound: float, said: str, *, is_bad: bool
    ) -> tuple[str, str, float, float, str] | None:
        self._numbers[check] = said
        if not is_bad:
            return None
        self._fired.setdefault(check, said)
        return tensor, check, value, bound, f"{check}: {said} (bound {number(bound)})."


def is_left_out(trial: TrialLike, gradient: str) -> bool:
    """Whether the parameter of this gradient is frozen or of a BatchNorm, by kennel.json, else by its name."""
    parameters = {each.get("name"): each for each in trial.facts.get("parameters", [])}
    facts = parameters.get(gradient.removeprefix("gradient/"))
    if facts is None:
        return BATCH_NORM.search(gradient) is not None
    return bool(facts.get("is_frozen")) or "BatchNorm" in str(facts.get("kind"))
