"""Everything a report says, as one mapping: report.json, and all that the page is made from.

Numbers stay as they are, not rounded; what is no finite number is a text ("NaN", "Infinity"). Where a section has
nothing to show, `missing` says why, under the section's name.
"""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kennel import __version__
from kennel.report import answers, learning, timing
from kennel.report.advice import SEVERITIES, Advice
from kennel.report.record import RunRecord

_FIGURES: Final = ("images", "loss", "accuracy", "top5", "macro_f1")
_LOG_LINES: Final = 40
_DEBUG: Final = "Train with --debug (hyperparameter debug=on), and it will be here."
_FIRST: Final = {"IssuesFound": 0, "Error": 1, "Stopped": 2, "Stopping": 2, "InProgress": 3, "NoIssuesFound": 5}


def build_content(record: RunRecord, advice: Sequence[Advice]) -> dict[str, Any]:
    """The report of a run, ready for JSON."""
    evaluation = record.evaluation or {}
    classes = [str(each) for each in evaluation.get("classes") or []]
    facts = timing.job_facts(record.job, record.timeline, record.log)
    content: dict[str, Any] = {
        "version": 1,
        "kennel": __version__,
        "made": time.time(),
        "name": record.name,
        "source": record.source,
        "status": record.status,
        "failure": record.failure,
        "log_end": [line for _, line in record.log[-_LOG_LINES:]] if _is_trouble(record) else [],
        "problems": record.problems,
        "verdict": [_advice(each) for each in sorted(advice, key=_severity)],
        "results": {split: _figures(evaluation[split]) for split in ("test", "valid") if evaluation.get(split)},
        "learning": learning.learning(record.history, record.best_epoch),
        "rules": [_rule(each) for each in sorted(record.rules, key=_urgency)],
        "time": timing.timing(record.timeline, record.spans),
        "hook": record.facts.get("overhead") or {},
        "system": record.system,
        "answers": _answers(record, classes),
        "calibration": _calibration(record, evaluation),
        "classes": _classes(evaluation, record),
        "settings": record.hyperparameters,
        "model": _model(record),
        "job": facts,
    }
    content["missing"] = _missing(content, record)
    plain: dict[str, Any] = _plain(content)
    return plain


def _is_trouble(record: RunRecord) -> bool:
    return record.status in ("Failed", "Stopped", "Stopping") or record.failure is not None


def _severity(advice: Advice) -> int:
    """Faults first; within a severity the verdict's own order stays, which is by gain."""
    return SEVERITIES.index(advice.severity) if advice.severity in SEVERITIES else len(SEVERITIES)


def _urgency(rule: Mapping[str, Any]) -> tuple[int, str]:
    """What fired first; a rule that saw too little before those that saw enough, one that saw nothing last."""
    status = str(rule.get("RuleEvaluationStatus"))
    place = _FIRST.get(status, 3)
    if rule.get("too_few") and status == "NoIssuesFound":
        place = 4 if rule.get("steps_seen") else 6
    return place, str(rule.get("RuleConfigurationName") or rule.get("RuleName"))


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """The rule with every member that the page asks for."""
    texts = ("RuleName", "RuleConfigurationName", "RuleEvaluationStatus", "StatusDetails", "meaning", "remedy")
    numbers = ("steps_seen", "steps_needed", "violations", "datapoints")
    lists = {
        "checks": ("name", "outcome", "detail"),
        "findings": ("step", "mode", "tensor", "measure", "value", "threshold", "message"),
        "actions": ("name", "outcome"),
    }
    return {
        **{name: rule.get(name) for name in (*texts, *numbers)},
        "too_few": bool(rule.get("too_few")),
        "parameters": rule.get("parameters") or {},
        **{
            name: [{member: each.get(member) for member in members} for each in rule.get(name) or []]
            for name, members in lists.items()
        },
    }


def _advice(advice: Advice) -> dict[str, Any]:
    return dataclasses.asdict(advice)


def _figures(split: Mapping[str, Any]) -> dict[str, Any]:
    return {name: split.get(name) for name in _FIGURES}


def _answers(record: RunRecord, classes: Sequence[str]) -> dict[str, Any]:
    """Confusion and mistakes of the test pictures; of the validation pictures where none were tested."""
    for split in ("test", "valid"):
        found = answers.read_answers(split, record.predictions.get(split, []), classes)
        if found:
            confusion = answers.confusion(found)
            return {
                "split": split,
                "images": len(found.paths),
                "right": int(found.is_right.sum()),
                "confusion": confusion,
                "pairs": answers.pairs(found, confusion["mistakes"]),
                "worst": answers.worst_errors(found),
                "least_sure": answers.least_sure(found),
            }
    return {}


def _calibration(record: RunRecord, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    classes = [str(each) for each in evaluation.get("classes") or []]
    splits = {}
    for split in ("test", "valid"):
        found = answers.read_answers(split, record.predictions.get(split, []), classes)
        if found:
            splits[split] = answers.reliability(found)
    names = ("temperature", "abstain_threshold", "ece_before", "ece_after")
    return {**{name: evaluation.get(name) for name in names}, "splits": splits} if splits else {}


def _classes(evaluation: Mapping[str, Any], record: RunRecord) -> list[dict[str, Any]]:
    """A row a class: its pictures in training, and what the test (else the validation) says of it."""
    split = "test" if evaluation.get("test") else "valid"
    trained: dict[str, int] = {}
    for path in record.split.get("train") or []:
        folder = str(path).rsplit("/", 1)[0]
        trained[folder] = trained.get(folder, 0) + 1
    rows = (evaluation.get(split) or {}).get("per_class") or []
    return [
        {
            "class": row["class"],
            "train_images": trained.get(row["class"]),
            **{name: row.get(name) for name in ("images", "accuracy", "precision", "f1")},
        }
        for row in rows
    ]


def _model(record: RunRecord) -> dict[str, Any]:
    card = record.card or {}
    names = ("backbone", "head", "temperature", "abstain_threshold", "data_digest", "git_commit", "created")
    found = {name: card.get(name) for name in names}
    return (
        {**found, "transform": card.get("eval_transform") or {}, "versions": card.get("versions") or {}} if card else {}
    )


def _missing(content: Mapping[str, Any], record: RunRecord) -> dict[str, str]:
    """Section -> why it has nothing to show."""
    went = {"Failed": "the training failed before", "Stopped": "the training was stopped before"}.get(record.status)
    no_results = f"No results: {went or 'there is no evaluation.json or predictions file'}."
    reasons = {
        "learning": (content["learning"]["epochs"], f"No epoch has ended{': ' + went if went else ''}."),
        "rules": (content["rules"], f"No rule looked at this run. {_rules_remedy(record)}"),
        "time": (content["time"], f"No timeline was kept: only the log says when things happened. {_DEBUG}"),
        "system": (content["system"], f"The machine was not sampled. {_DEBUG}"),
        "answers": (content["answers"], no_results),
        "calibration": (content["calibration"], no_results),
        "classes": (content["classes"], no_results),
        "settings": (content["settings"], "Neither the model nor the job says what it was trained with."),
        "model": (content["model"], "No model was kept."),
        "parts": (content["job"]["parts"], "When the training loop began or ended is not known."),
    }
    return {section: reason for section, (there, reason) in reasons.items() if not there}


def _rules_remedy(record: RunRecord) -> str:
    """Of a training that saved tensors by itself (debug=on), the rules can be asked afterwards."""
    if record.trial is None:
        return _DEBUG
    there = "Its tensors are there, and rules can look at them now:"
    if record.source.startswith("s3://"):
        return f"{there} kennel debug, on its debug-output (in S3, or unpacked from output.tar.gz)."
    return f"{there} kennel debug {record.name} --save {record.source}/rules. Then make this report again."


def _plain(value: Any) -> Any:  # noqa: ANN401  anything JSON has
    """The same without numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
