"""What a check of the contract found: the one type that checks produce and reports read."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """FAIL: SageMaker would not run this image as meant. WARN: it would, and its owner will regret it."""

    PASS = "pass"  # noqa: S105  a verdict, no password
    FAIL = "fail"
    WARN = "warn"
    SKIP = "skip"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    check: its name, as in "train.sigterm". tried, seen: what was done and what came of it, with figures and units.
    consequence: what SageMaker would do; remedy: what to change. Both are empty for a check that passed.
    """

    check: str
    verdict: Verdict
    tried: str
    seen: str
    consequence: str = ""
    remedy: str = ""
    seconds: float = 0.0
