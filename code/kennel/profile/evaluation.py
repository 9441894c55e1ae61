"""A rule over a profiler folder, and what is written of it: Kennel's rule JSON, and SageMaker's result files.

evaluate_profiler(Path("runs/first/ml/output/profiler"), "StepOutlier", {"stddev": "3"})["findings"]
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kennel.errors import KennelError
from kennel.profile.readers import EventLog, SystemLog, read_timeline
from kennel.profile.rules import REPORT, RULES, build_rules
from kennel.profile.rules.base import Evidence, Finding, Judgement, Rule
from kennel.rule_files import (
    ERROR,
    FINDINGS_KEPT,
    IN_PROGRESS,
    ISSUES,
    NO_ISSUES,
    STOPPED,
    Json,
    condition_met,
    plain,
    shorten,
)

_NEVER_FIRING: Final = ("OverallSystemUsage", "OverallFrameworkMetrics")


class Folder:
    """A profiler folder that grows: `evidence` reads what is new."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._system, self._events = folder, SystemLog(folder), EventLog(folder)

    def evidence(self, *, is_over: bool) -> Evidence:
        """All that is known by now."""
        self._system.refresh()
        self._events.refresh()
        return Evidence(self._system.series(), self._events.events(), read_timeline(self._folder), is_over, time.time())


def evaluate_profiler(folder: Path, rule_name: str, parameters: Mapping[str, str], *, name: str | None = None) -> Json:
    """The rule JSON of a training that is over. name: the RuleConfigurationName. Raises UserError as build_rule."""
    rules = build_rules(rule_name, parameters)
    return describe(rules, Folder(folder).evidence(is_over=True), rule_name=rule_name, name=name or rule_name)[0]


def describe(
    rules: list[Rule], evidence: Evidence, *, rule_name: str, name: str, stopped: bool = False
) -> tuple[Json, dict[str, Json]]:
    """The rule JSON of a configuration, and SageMaker's result by rule. stopped: nothing more will be looked at."""
    judged = [(rule, rule.judge(evidence)) for rule in rules]
    contents = [_rule_json(rule, judgement, evidence, name=name, stopped=stopped) for rule, judgement in judged]
    results = {rule.name: aws_result(rule, judgement) for rule, judgement in judged}
    if rule_name != REPORT:
        return contents[0], results
    return _report_json(contents, name=name), results


def failed(rule_name: str, name: str, error: KennelError | Exception) -> Json:
    """The rule JSON of a rule that could not be evaluated."""
    said = str(error) if isinstance(error, KennelError) else f"InternalServerError: {type(error).__name__}: {error}"
    return _base(rule_name, name, ERROR, said)


def aws_result(rule: Rule, judgement: Judgement) -> Json:
    """What SageMaker's rule containers write."""
    parameters = "".join(f"{key}:{value}\n" for key, value in dataclasses.asdict(rule.parameters).items())
    return {
        "RuleTriggered": len(judgement.findings),
        "Violations": len(judgement.findings),
        "Details": plain(judgement.details),
        "Datapoints": judgement.datapoints,
        "RuleParameters": parameters,
    }


def _rule_json(rule: Rule, judgement: Judgement, evidence: Evidence, *, name: str, stopped: bool) -> Json:
    status = _status(judgement, evidence, stopped=stopped)
    said = judgement.account
    if judgement.findings:
        said = f"{condition_met(rule.name)}: {judgement.findings[0].message}; {judgement.account}"
    return _base(rule.name, name, status, said) | {
        "parameters": {key: plain(value) for key, value in dataclasses.asdict(rule.parameters).items()},
        "steps_seen": judgement.seen,
        "steps_needed": judgement.needed,
        "too_few": judgement.too_few,
        "checks": [dataclasses.asdict(check) for check in judgement.checks],
        "findings": [_finding_json(finding) for finding in judgement.findings[:FINDINGS_KEPT]],
        "violations": len(judgement.findings),
        "datapoints": judgement.datapoints,
        "meaning": rule.meaning,
        "remedy": rule.remedy,
        "details": plain(judgement.details),
    }


def _report_json(rules: list[Json], *, name: str) -> Json:
    """ProfilerReport's own: the sum of its rules."""
    judging = [rule for rule in rules if rule["RuleName"] not in _NEVER_FIRING]
    fired = [rule["RuleName"] for rule in judging if rule["findings"]]
    silent = [rule["RuleName"] for rule in judging if rule["too_few"]]
    without = [rule for rule in silent if RULES[rule].is_about_gpus]
    few = [rule for rule in silent if rule not in without]
    said = f"fired: {', '.join(fired)}" if fired else f"none of {len(judging)} rules fired"
    said += f"; too little was seen for {', '.join(few)}" if few else ""
    said += f"; no GPU, or too few samples of one, for {', '.join(without)}" if without else ""
    states = {rule["RuleEvaluationStatus"] for rule in rules}
    status = next((each for each in (ISSUES, STOPPED, IN_PROGRESS) if each in states), NO_ISSUES)
    return _base(REPORT, name, status, said) | {
        "parameters": {
            f"{rule['RuleName']}_{key}": value for rule in rules for key, value in rule["parameters"].items()
        },
        "steps_seen": max(rule["steps_seen"] for rule in rules),
        "too_few": len(silent) == len(judging),
        "findings": [finding for rule in rules for finding in rule["findings"]][:FINDINGS_KEPT],
        "violations": sum(rule["violations"] for rule in rules),
        "datapoints": max(rule["datapoints"] for rule in rules),
        "meaning": "All of the profiler's rules over one training.",
        "remedy": " ".join(dict.fromkeys(rule["remedy"] for rule in rules if rule["findings"])),
        "rules": rules,
    }


def _base(rule_name: str, name: str, status: str, details: str) -> Json:
    """Every key that a rule JSON has."""
    return {
        "RuleConfigurationName": name,
        "RuleName": rule_name,
        "kind": "profiler",
        "RuleEvaluationStatus": status,
        "StatusDetails": shorten(details),
        "LastModifiedTime": time.time(),
        "parameters": {},
        "steps_seen": 0,
        "steps_needed": None,
        "too_few": False,
        "checks": [],
        "findings": [],
        "violations": 0,
        "datapoints": 0,
        "meaning": "",
        "remedy": "",
        "stop_training": False,
        "actions": [],
    }


def _status(judgement: Judgement, evidence: Evidence, *, stopped: bool) -> str:
    if judgement.findings:
        return ISSUES
    if evidence.is_over:
        return NO_ISSUES
    return STOPPED if stopped else IN_PROGRESS


def _finding_json(finding: Finding) -> Json:
    return {
        "step": finding.step,
        "mode": finding.mode,
        "tensor": finding.subject,
        "measure": finding.measure,
        "value": plain(finding.value),
        "threshold": plain(finding.threshold),
        "message": finding.message,
    }
