"""What is known of one rule, as JSON on disk: `runs/<job>/rules/<RuleConfigurationName>.json`, replaced whole.

RuleReport(name="Overfit", rule="Overfit", status="NoIssuesFound", details="...").to_json()
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kennel.rule_files import Json, plain, shorten, write_json

NO_DATA: Final = (
    "ClientError: No debugging data was saved by the training job. Give it a DebugHookConfig, or -p debug=on."
)


@dataclass(frozen=True)
class RuleReport:
    """One rule's evaluation so far. `violations` counts all findings, of which the first 100 are kept."""

    name: str
    rule: str
    status: str
    details: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    steps_seen: int = 0
    steps_needed: int | None = None
    too_few: bool = False
    checks: Sequence[Json] = ()
    findings: Sequence[Json] = ()
    violations: int = 0
    datapoints: int = 0
    meaning: str = ""
    remedy: str = ""

    def to_json(self) -> Json:
        """The rule's JSON but for what its actions did. Numbers that JSON cannot hold are strings."""
        return {
            "RuleConfigurationName": self.name,
            "RuleName": self.rule,
            "kind": "debug",
            "RuleEvaluationStatus": self.status,
            "StatusDetails": shorten(self.details),
            "LastModifiedTime": time.time(),
            "parameters": {key: plain(value) for key, value in self.parameters.items()},
            "steps_seen": self.steps_seen,
            "steps_needed": self.steps_needed,
            "too_few": self.too_few,
            "checks": list(self.checks),
            "findings": [{key: plain(value) for key, value in finding.items()} for finding in self.findings],
            "violations": self.violations,
            "datapoints": self.datapoints,
            "meaning": self.meaning,
            "remedy": self.remedy,
            "stop_training": False,
            "actions": [],
        }


def has_tensors(folder: Path) -> bool:
    """Whether smdebug can open a trial there; of one that is not there yet it would wait for this file without end."""
    return any((folder / "collections").rglob("*_collections.json"))


class RuleFile:
    """One rule's file, written when something in it has changed."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.json"
        self._written: Json = {}

    def write(self, content: Json) -> None:
        """Replaces the file, unless all but LastModifiedTime is as it was."""
        essence = {key: value for key, value in content.items() if key != "LastModifiedTime"}
        if essence == self._written:
            return
        write_json(self.path, content)
        self._written = json.loads(json.dumps(essence))
