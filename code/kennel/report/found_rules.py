"""What rules found, from the files they leave: ours, and those of SageMaker's own profiler rules."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Rule = dict[str, Any]


def found_rules(files: Iterable[tuple[Path, Mapping[str, Any]]]) -> list[Rule]:
    """Each rule once, in our form (RuleName, RuleEvaluationStatus, ...); of one that was written twice, the newest.

    A ProfilerReport is followed by the rules it ran, and its own sum of their findings is left to them.
    """
    found: dict[tuple[str, str], Rule] = {}
    for path, content in files:
        for rule in _rules_of(path, content):
            key = str(rule.get("RuleConfigurationName") or ""), str(rule["RuleName"])
            if key not in found or rule.get("LastModifiedTime", 0) >= found[key].get("LastModifiedTime", 0):
                found[key] = rule
    ours = {name for configuration, name in found if configuration}
    return [rule for (configuration, name), rule in found.items() if configuration or name not in ours]


def _rules_of(path: Path, content: Mapping[str, Any]) -> list[Rule]:
    if "RuleTriggered" in content:
        return [_from_sagemaker(path.stem, content)]
    if "RuleName" not in content:
        return []
    nested = [rule for rule in content.get("rules") or [] if isinstance(rule, dict) and "RuleName" in rule]
    own = {name: value for name, value in content.items() if name != "rules"}
    return [{**own, "findings": []} if nested else own, *nested]


def _from_sagemaker(name: str, result: Mapping[str, Any]) -> Rule:
    """profiler-reports/<Rule>.json: {"RuleTriggered", "Violations", "Details", "Datapoints", "RuleParameters"}."""
    triggered, datapoints = int(result["RuleTriggered"]), int(result.get("Datapoints") or 0)
    lines = [line.partition(":") for line in str(result.get("RuleParameters") or "").splitlines()]
    return {
        "RuleName": name,
        "kind": "profiler",
        "RuleEvaluationStatus": "IssuesFound" if triggered else "NoIssuesFound",
        "StatusDetails": f"triggered {triggered} times over {datapoints} datapoints",
        "parameters": {key.strip(): value.strip() for key, parted, value in lines if parted},
        "violations": int(result.get("Violations") or 0),
        "datapoints": datapoints,
        "too_few": datapoints == 0 and not triggered,
    }
