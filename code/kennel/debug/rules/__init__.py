"""The rules: small classes over a trial, named and parameterized as SageMaker Debugger's.

    rule = build_rule("Overfit", {"patience": "3"})

A rule asked for by name has AWS's defaults. RECOMMENDED is what `--debug` runs: names, with parameters of our own
where AWS's defaults would fire on a healthy training. Exercise them: pytest tests/unit/debug -k rules
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kennel.debug.rules.base import Check, Finding, Rule, TrialLike
from kennel.debug.rules.gradients import VanishingGradient
from kennel.debug.rules.losses import LossNotDecreasing
from kennel.debug.rules.parameters import parse
from kennel.errors import UserError

__all__ = ["RECOMMENDED", "RULES", "Check", "Finding", "Rule", "TrialLike", "build_rule"]

RULES: Final[Mapping[str, type[Rule]]] = MappingProxyType(
    {rule.name: rule for rule in (LossNotDecreasing, VanishingGradient)}
)

# Rule -> parameters. Iterated as a tuple of names, or asked for the parameters of one.
RECOMMENDED: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        # A zero-initialised head gives the layers below it no gradient at the first step, hence three in a row;
        # biases before BatchNorm never have any, hence weights only.
        "VanishingGradient": {"tensor_regex": r"^gradient.*weight$", "patience": "3", "min_loss_percent": "2"},
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
