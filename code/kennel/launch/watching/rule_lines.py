"""What a person is told of a job's rules: a line when one fires, and a table at the end. From DescribeTrainingJob."""

import json
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import Any, Final

from kennel.launch.jobs import describe_training_job
from kennel.launch.places import Place, runs_folder

_MEMBERS: Final = ("DebugRuleEvaluationStatuses", "ProfilerRuleEvaluationStatuses")
_POLL_S: Final = 0.5
_POLL_AWS_S: Final = 5.0
# The service gives rules a minute when the training has ended, and what does not end then a few seconds.
_SETTLE_S: Final = 75.0
_WIDTH: Final = 120


class RuleLines:
    """Says once of each rule that it has fired."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def new(self, description: dict[str, Any]) -> Iterator[str]:
        """A line for each rule that has fired since, or could not be evaluated."""
        for status in rule_statuses(description):
            name = status["RuleConfigurationName"]
            if status["RuleEvaluationStatus"] in ("IssuesFound", "Error") and name not in self._said:
                self._said.add(name)
                verb = "fired" if status["RuleEvaluationStatus"] == "IssuesFound" else "failed"
                yield f"rule {name} {verb}: {_in_short(status)}{_remedy(description['TrainingJobName'], name)}"


def rule_statuses(description: dict[str, Any]) -> list[dict[str, Any]]:
    """The statuses of a job's debug rules and profiler rules."""
    return [status for member in _MEMBERS for status in description.get(member) or ()]


def wait_for_rules(description: dict[str, Any], place: Place) -> dict[str, Any]:
    """The description of a job that has ended, once its rules have too, or a minute has passed."""
    end = time.monotonic() + _SETTLE_S
    while any(each["RuleEvaluationStatus"] in ("InProgress", "Stopping") for each in rule_statuses(description)):
        if time.monotonic() > end:
            print("the rules are still being evaluated", file=sys.stderr)
            break
        time.sleep(_POLL_AWS_S if place.is_aws else _POLL_S)
        description = describe_training_job(description["TrainingJobName"], place)
    return description


def rules_table(description: dict[str, Any]) -> str:
    """A line a rule: name, status, what it says; those that fired first. Empty without rules."""
    order = ("IssuesFound", "Error", "Stopped", "InProgress", "NoIssuesFound")
    statuses = sorted(
        rule_statuses(description),
        key=lambda each: order.index(each["RuleEvaluationStatus"]) if each["RuleEvaluationStatus"] in order else 0,
    )
    if not statuses:
        return ""
    width = max(len(each["RuleConfigurationName"]) for each in statuses)
    lines = [
        f"  {each['RuleConfigurationName']:<{width}}  {each['RuleEvaluationStatus']:<13}  "
        f"{textwrap.shorten(_in_short(each), _WIDTH)}"
        for each in statuses
    ]
    return "\n".join(["rules", *lines])


def _in_short(status: dict[str, Any]) -> str:
    """StatusDetails without AWS's long sentence before what was found."""
    details = str(status.get("StatusDetails", ""))
    before, found, after = details.partition("First: ")
    return after if found and before.startswith("RuleEvaluationConditionMet") else details


def _remedy(job: str, rule: str) -> str:
    """What to do, which the API has no member for: from the rule's own file, where the job runs on this machine."""
    try:
        content = json.loads((runs_folder() / job / "rules" / f"{rule}.json").read_text())
    except (OSError, ValueError):
        return ""
    remedy = content.get("remedy") if isinstance(content, dict) else None
    return f"\n  what to do: {remedy}" if remedy else ""
