"""The rules: small classes over a trial, named and parameterized as SageMaker Debugger's.

    rule = build_rule("Overfit", {"patience": "3"})

A rule asked for by name has AWS's defaults. RECOMMENDED is what `--debug` runs: names, with parameters of our own
where AWS's defaults would fire on a healthy training. Exercise them: pytest tests/unit/debug -k rules
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kennel.debug.rules.activations import DeadRelu, SaturatedActivation
from kennel.debug.rules.base import Check, Finding, Rule, TrialLike
from kennel.debug.rules.classes import ClassImbalance, Confusion
from kennel.debug.rules.gradients import VanishingGradient
from kennel.debug.rules.initialization import PoorWeightInitialization
from kennel.debug.rules.losses import LossNotDecreasing
from kennel.debug.rules.overfitting import Overfit, Overtraining
from kennel.debug.rules.parameters import parse
from kennel.debug.rules.stalled import StalledTrainingRule
from kennel.debug.rules.tensors import AllZero, ExplodingTensor, TensorVariance, UnchangedTensor
from kennel.debug.rules.weights import WeightUpdateRatio
from kennel.errors import UserError

__all__ = ["RECOMMENDED", "RULES", "Check", "Finding", "Rule", "TrialLike", "build_rule"]

RULES: Final[Mapping[str, type[Rule]]] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            LossNotDecreasing,
            VanishingGradient,
            ExplodingTensor,
            Overfit,
            Overtraining,
            PoorWeightInitialization,
            DeadRelu,
            SaturatedActivation,
            WeightUpdateRatio,
            AllZero,
            UnchangedTensor,
            ClassImbalance,
            StalledTrainingRule,
            TensorVariance,
            Confusion,
        )
    }
)

# Rule -> parameters, the reason above each. Iterated, it is the names. Left out: Overtraining (a training that is flat
# in its last epochs is done, not ill; Overfit speaks when it gets worse), SaturatedActivation (no torchvision network
# has a tanh, and the sigmoids of squeeze-and-excitation are meant to saturate), AllZero and TensorVariance (which
# tensor may be zero or wide depends on the tensor), Confusion (batches are too small; the report shows the matrix).
RECOMMENDED: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        # Against the first loss, not the one ten steps back: batches are noisy, and cosine's last epochs are flat.
        # 1 % below guessing at one of three validations is little; a rise by half of both losses is divergence.
        "LossNotDecreasing": {
            "reference": "start",
            "patience": "3",
            "diff_percent": "1",
            "increase_threshold_percent": "50",
        },
        # A zero-initialised head gives the layers below it no gradient at the first step, hence three in a row; biases
        # before BatchNorm never have any, hence weights; and a loss that is nearly gone takes its gradients with it.
        "VanishingGradient": {"tensor_regex": "^gradient.*weight$", "patience": "3", "min_loss_percent": "2"},
        "ExplodingTensor": {},
        # 10 % apart is every training that works. It is overfitting when the validation loss goes up again.
        "Overfit": {"per": "pass", "rise_percent": "15", "patience": "2"},
        # The loss of ten steps is noise. A head that starts at zero gives the layers below it no gradient at step 0,
        # and a tenth of the usual one after it.
        "PoorWeightInitialization": {
            "steps": "100",
            "patience": "50",
            "signal_steps": "10",
            "skip_steps": "1",
            "distribution_range": "1e-7",
        },
        # Half of a sound head's units are off in one batch of 32; over ten batches it is a few.
        "DeadRelu": {"steps": "10"},
        # Heads start at zero, so their first ratio is infinite; and one step without an update may be the last of
        # cosine.
        "WeightUpdateRatio": {"skip_zero_start": "True", "patience": "3"},
        # Five losses of a mode that are the same to the fifth digit: the answer does not depend on the pictures.
        "UnchangedTensor": {"collection_names": "losses", "num_steps": "5"},
        # Early mispredictions are no fault, and 500 labels of 133 classes are four each; the report has recall by
        # class.
        "ClassImbalance": {"threshold_misprediction": "1", "samples_per_class": "50", "mode": "TRAIN"},
        "StalledTrainingRule": {},
    }
)


def build_rule(name: str, parameters: Mapping[str, str]) -> Rule:
    """A rule with its parameters, strings as SageMaker sends them.

    Raises UserError for an unknown rule, an unknown parameter or a value outside its range.
    """
    if name not in RULES:
        close = difflib.get_close_matches(name, RULES, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise UserError(f"There is no rule '{name}'. Known are: {', '.join(sorted(RULES))}.{hint}")
    kind = RULES[name]
    return kind(parse(kind.Parameters, parameters, rule=name))
