"""What the evaluators of rules (kennel.debug, kennel.profile) and those who start them share: their orders, the words
of a status, and one JSON a rule, `runs/<job>/rules/<RuleConfigurationName>.json`, replaced whole.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kennel.errors import ContractError

Json = dict[str, Any]

IN_PROGRESS: Final = "InProgress"
NO_ISSUES: Final = "NoIssuesFound"
ISSUES: Final = "IssuesFound"
ERROR: Final = "Error"
STOPPED: Final = "Stopped"

# The platform writes it where a program's output grows, when that has ended; smdebug's readers look for it too.
END_FILE: Final = "training_job_end.ts"
FINDINGS_KEPT: Final = 100
# DescribeTrainingJob's limit.
_DETAILS_CHARACTERS: Final = 1024


def condition_met(rule: str, step: object = None) -> str:
    """The sentence with which AWS says that a rule has fired."""
    where = "" if step is None else f" at step {step}"
    return f"RuleEvaluationConditionMet: Evaluation of the rule {rule}{where} resulted in the condition being met"


def shorten(text: str) -> str:
    """Within StatusDetails' 1,024 characters."""
    return text if len(text) <= _DETAILS_CHARACTERS else f"{text[: _DETAILS_CHARACTERS - 3]}..."


def plain(value: Any) -> Any:  # noqa: ANN401  whatever JSON may hold
    """A value as JSON holds it: NaN and infinities, which JSON lacks, as "nan", "inf" and "-inf"."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (bool, str, type(None))):
        return value
    number = value.item() if hasattr(value, "item") else value  # a numpy scalar's own Python number
    if isinstance(number, float) and not math.isfinite(number):
        return str(number)
    return number if isinstance(number, (bool, int, float)) else str(value)


def write_json(path: Path, content: object) -> None:
    """Replaces a file whole: a reader sees the old one or the new one. Not synchronised: it may be lost, not torn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_orders_json(path: Path) -> Json:
    """What runs/<job>/rules/rules.json holds. Raises ContractError if that is no object."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ContractError(f"The orders in {path} cannot be read: {error}. The local service writes them.") from error
    if not isinstance(content, dict):
        raise ContractError(f"The orders in {path} are no JSON object. The local service writes them.")
    return content


def answer_check(member: str, check_rules: Callable[[Sequence[Json]], Sequence[str | None]]) -> int:
    """Answers for the entries of `member` on standard input, a JSON object each; 2 if there is no list of objects.

    check_rules: what is wrong with each entry, or None.
    """
    try:
        entries = json.load(sys.stdin)
    except ValueError as error:
        print(f"standard input is no JSON: {error}", file=sys.stderr)
        return 2
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        print(f"standard input holds no list of {member} entries", file=sys.stderr)
        return 2
    print(json.dumps([_answer(*pair) for pair in zip(entries, check_rules(entries), strict=True)]))
    return 0


def _answer(entry: Json, problem: str | None) -> Json:
    given = entry.get("RuleParameters")
    parameters = given if isinstance(given, dict) else {}
    return {
        "RuleConfigurationName": entry.get("RuleConfigurationName"),
        "rule": parameters.get("rule_to_invoke"),
        "is_custom": bool(parameters.get("source_s3_uri")),
        "error": problem,
    }
