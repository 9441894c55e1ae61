"""The verdict on a run: what to change, in the order of what it gains, each with the numbers of this run.

    for advice in verdict(read_run(Path("runs/look"))):
        print(advice.severity, advice.title, advice.change, *advice.evidence, sep="\\n  ")

Faults come first (the result is worthless or wrong), then what makes a model better, then what makes it faster, then
what is good to know. A rule that fired for a cause that is named is evidence there; one that nobody can explain is
advice of its own. Exercise it: pytest tests/unit/report -k verdict
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kennel.report.advice import Advice
from kennel.report.record import RunRecord
from kennel.report.verdict.better import improvements
from kennel.report.verdict.case import Case
from kennel.report.verdict.diagnosis import FAULT, IMPROVEMENT, NOTE, Diagnosis, fired, told
from kennel.report.verdict.faults import faults
from kennel.report.verdict.notes import notes
from kennel.report.verdict.speed import speed

__all__ = ["Advice", "verdict"]

# Rules whose finding alone says that the numbers are wrong.
_GRAVE: Final = ("ExplodingTensor",)
# They only sum up.
_SUMMARIES: Final = ("ProfilerReport", "OverallSystemUsage", "OverallFrameworkMetrics")


def verdict(run: RunRecord) -> list[Advice]:
    """What to change about a run, what gains most first. Never empty for a run of which anything is known."""
    case = Case(run)
    wrong = faults(case)
    # Of a result that is worth nothing, nothing is worth improving.
    grave = [each for each in wrong if each.advice.severity == FAULT]
    is_sound = all(each.advice.source == "data_wait" for each in grave)
    known = notes(case, is_sound=is_sound, has_fault=bool(grave))
    found = [*wrong, *(improvements(case) if is_sound else []), *speed(case), *known]
    found = _with_rules(found, run.rules)
    return [
        each.advice for severity in (FAULT, IMPROVEMENT, NOTE) for each in found if each.advice.severity == severity
    ]


def _with_rules(found: Sequence[Diagnosis], rules: Sequence[Mapping[str, Any]]) -> list[Diagnosis]:
    """Each rule that fired as evidence of the first diagnosis that explains it, or as advice of its own."""
    complete, own = list(found), []
    for rule in fired(rules):
        name = str(rule.get("RuleName"))
        if name in _SUMMARIES:
            continue
        place = next((index for index, each in enumerate(complete) if name in each.explains), None)
        if place is None:
            own.append(_of_rule(rule))
            continue
        advice = complete[place].advice
        told_too = dataclasses.replace(advice, evidence=[*advice.evidence, *told(rule)])
        complete[place] = dataclasses.replace(complete[place], advice=told_too)
    return [*complete, *own]


def _of_rule(rule: Mapping[str, Any]) -> Diagnosis:
    name = str(rule.get("RuleName"))
    return Diagnosis(
        Advice(
            title=f"Rule {name} found an issue",
            change=str(rule.get("remedy") or "Look at what it found."),
            gain=str(rule.get("meaning") or ""),
            evidence=told(rule),
            severity=FAULT if name in _GRAVE else IMPROVEMENT,
            source=name,
        )
    )
