"""How a job's rules stand: what the evaluators write in files, as DescribeTrainingJob tells it."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from kennel.local.debug_layout import RULE_MEMBERS
from kennel.local.store import Store, now
from kennel.local.validation import Json

_DETAILS: Final = 1024


class RuleStatuses:
    """The statuses of one job's rules. rules: the folder of the evaluators' files.

    stop_training: called once with the reason when a rule that fired asks for it.
    """

    def __init__(self, name: str, store: Store, rules: Path, *, stop_training: Callable[[str], None]) -> None:
        self._name = name
        self._store = store
        self._rules = rules
        self._stop_training = stop_training
        self._given_up: dict[str, Json] = {}
        self._stop_asked = False

    def refresh(self) -> None:
        """Brings the description's statuses up to what the evaluators have written."""
        record = self._store.get(self._name)
        description, changes = record.description if record else {}, {}
        for member in RULE_MEMBERS.values():
            statuses = description.get(member, [])
            new = [self._status(each) for each in statuses]
            if new != statuses:
                changes[member] = new
        if changes:
            self._store.update(self._name, changes)

    def give_up(self, rules: Iterable[Json], status: str, reason: str) -> None:
        """These rules are evaluated no more; those that are InProgress have this status from now on."""
        for rule in rules:
            ended = {"RuleEvaluationStatus": status, "StatusDetails": _line(reason), "LastModifiedTime": now()}
            self._given_up.setdefault(name_of(rule), ended)
        self.refresh()

    def begin(self, rules: Iterable[Json]) -> None:
        """These rules are evaluated from now on, perhaps again."""
        for rule in rules:
            self._given_up.pop(name_of(rule), None)

    def forget(self, rules: Iterable[Json]) -> None:
        """Removes what an evaluator wrote that another will take over from."""
        for rule in rules:
            self._file(name_of(rule)).unlink(missing_ok=True)

    def _status(self, status: Json) -> Json:
        name = name_of(status)
        report = self._report(name)
        if report.get("stop_training") and not self._stop_asked:
            self._stop_asked = True
            details = _line(report.get("StatusDetails"))
            self._stop_training(f"Rule '{name}' ({report.get('RuleName', name)}) fired and stopped the job: {details}")
        new = {**status, **_told(report)}
        if new["RuleEvaluationStatus"] == "InProgress" and name in self._given_up:
            new |= self._given_up[name]
        return new

    def _report(self, rule: str) -> Json:
        """What the evaluator has written of a rule; nothing if that is not there or cannot be read."""
        try:
            content = json.loads(self._file(rule).read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            print(f"{self._name}: rule '{rule}': its file cannot be read: {error}", file=sys.stderr, flush=True)
            return {}
        return content if isinstance(content, dict) else {}

    def _file(self, rule: str) -> Path:
        return self._rules / f"{rule}.json"


def name_of(rule: Json) -> str:
    """The name of a rule's configuration, of an entry or of a status."""
    return str(rule["RuleConfigurationName"])


def _told(report: Json) -> Json:
    """A rule's report as DescribeTrainingJob repeats it."""
    if "RuleEvaluationStatus" not in report:
        return {}
    told = {
        "RuleEvaluationStatus": report["RuleEvaluationStatus"],
        "LastModifiedTime": round(float(report.get("LastModifiedTime", 0)), 3) or now(),
    }
    details = _line(report.get("StatusDetails"))
    return {**told, **({"StatusDetails": details} if details else {})}


def _line(details: object) -> str:
    """StatusDetails as the API has it: one line, 1,024 characters."""
    return " ".join(str(details or "").split())[:_DETAILS]
