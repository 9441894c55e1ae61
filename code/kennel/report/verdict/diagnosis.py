"""One diagnosis: the advice it gives, where it stands among others, and the rules that it explains."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kennel.report.advice import Advice

FAULT, IMPROVEMENT, NOTE = "fault", "improvement", "note"
_QUOTED: Final = 2  # findings of a rule that are worth reading twice


@dataclass(frozen=True)
class Diagnosis:
    """What one look at a run found.

    worth: among diagnoses of one severity the larger stands first: points of accuracy for what makes a model better,
    the share of time (below 1) for what makes it faster. explains: rules that fire because of this; what they
    found is evidence here, and no advice of its own.
    """

    advice: Advice
    worth: float = 0.0
    explains: tuple[str, ...] = ()


def fired(rules: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rules that found something."""
    return [rule for rule in rules if rule.get("RuleEvaluationStatus") == "IssuesFound"]


def told(rule: Mapping[str, Any]) -> list[str]:
    """What a rule found, as evidence: its first findings, and how many there are."""
    messages = [str(each.get("message")) for each in rule.get("findings") or [] if each.get("message")]
    messages = list(dict.fromkeys(messages)) or [str(rule.get("StatusDetails") or "it fired")]
    count = int(rule.get("violations") or 0)
    more = f" ({count} times in all)" if count > 1 else ""
    return [f"Rule {rule.get('RuleName')}: {' / '.join(messages[:_QUOTED])}{more}"]


def percent(share: float) -> str:
    """0.925 as "92.5 %"."""
    return f"{100 * share:.1f} %"
