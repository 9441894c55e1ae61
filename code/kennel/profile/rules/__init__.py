"""The profiler's rules by their AWS names, with AWS's parameters (kennel.profile.evaluation runs them over a folder).

build_rule("CPUBottleneck", {"threshold": "40"})          # strings, as SageMaker sends them
build_rules("ProfilerReport", {"CPUBottleneck_threshold": "40"})
"""

from collections.abc import Mapping
from typing import Final

from kennel.errors import UserError
from kennel.profile.rules.base import Rule
from kennel.profile.rules.bottlenecks import CPUBottleneck, IOBottleneck
from kennel.profile.rules.dataloader import Dataloader
from kennel.profile.rules.gpu import BatchSize, GPUMemoryIncrease, LoadBalancing, LowGPUUtilization
from kennel.profile.rules.overall import OverallFrameworkMetrics, OverallSystemUsage
from kennel.profile.rules.parameters import parse
from kennel.profile.rules.steps import MaxInitializationTime, StepOutlier

REPORT: Final = "ProfilerReport"
# Parameters of ProfilerReport that are no other rule's; none of them changes what is judged.
_OWN: Final = ("opt_out_telemetry", "scan_interval_us", "rule_to_invoke", "base_trial", "action_json")

_KINDS: tuple[type[Rule], ...] = (
    BatchSize,
    CPUBottleneck,
    Dataloader,
    GPUMemoryIncrease,
    IOBottleneck,
    LoadBalancing,
    LowGPUUtilization,
    MaxInitializationTime,
    OverallFrameworkMetrics,
    OverallSystemUsage,
    StepOutlier,
)
RULES: Final[dict[str, type[Rule]]] = {kind.name: kind for kind in _KINDS}


def build_rule(name: str, given: Mapping[str, str]) -> Rule:
    """One rule. Raises UserError for an unknown rule, parameter or value."""
    if name not in RULES:
        raise UserError(f"There is no profiler rule '{name}'. Known are: {', '.join([*RULES, REPORT])}.")
    kind = RULES[name]
    return kind(parse(kind.Parameters, given, rule=name))


def build_rules(name: str, given: Mapping[str, str]) -> list[Rule]:
    """The rule; of ProfilerReport all rules, with parameters written `<Rule>_<parameter>`. Raises as build_rule."""
    if name != REPORT:
        return [build_rule(name, given)]
    parts: dict[str, dict[str, str]] = {rule: {} for rule in RULES}
    known = {rule.lower(): rule for rule in RULES}
    for key, value in given.items():
        if key in _OWN:
            continue
        rule, _, parameter = key.partition("_")
        if rule.lower() not in known or not parameter:
            raise UserError(
                f"{REPORT}: there is no parameter '{key}' (its value is '{value}'). Expected <Rule>_<parameter>, for "
                f"example CPUBottleneck_threshold; rules are {', '.join(RULES)}."
            )
        parts[known[rule.lower()]][parameter.lower()] = value
    return [build_rule(rule, parameters) for rule, parameters in parts.items()]
