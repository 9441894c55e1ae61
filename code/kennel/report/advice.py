"""What a run should have done otherwise: one piece of advice, as the verdict gives it and the page shows it."""

from dataclasses import dataclass, field
from typing import Final

SEVERITIES: Final = ("fault", "improvement", "note")


@dataclass(frozen=True)
class Advice:
    """One thing to change.

    severity: "fault" (the result cannot be trusted), "improvement" or "note". evidence: sentences with the numbers.
    source: the rule or check that says so.
    """

    title: str
    change: str
    gain: str
    evidence: list[str] = field(default_factory=list)
    severity: str = "note"
    source: str = ""
