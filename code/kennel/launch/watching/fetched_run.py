"""What a report on a job of AWS is made from: where a training's output is, and a search as files.

fetched = fetch("dogs-1", open_place("aws"), runs=Path("runs"))

A search becomes the two files that the local SageMaker keeps of its own, in <runs>/<name>/aws, where that one does not
take them for its own. AWS keeps no history of a metric for us, so each training's log is read.
"""

import datetime
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from kennel.aws.words import in_words
from kennel.errors import UserError
from kennel.launch.places import Place
from kennel.launch.tuning import list_trials, trial_label
from kennel.launch.watching.kinds import TRAINING, TUNING, kinds_of
from kennel.launch.watching.log_lines import LogLines
from kennel.metrics import read_metrics

Json = dict[str, Any]
_READERS: Final = 8
# Of a very long search, the curves of so many trainings.
_MOST_LOGS: Final = 200


@dataclass(frozen=True)
class Fetched:
    """source: a folder, or an address in S3. job: DescribeTrainingJob's answer. page: where the report belongs."""

    source: str
    page: Path | None = None
    job: Json | None = None


def fetch(name: str, place: Place, *, runs: Path) -> Fetched:
    """Of a training or tuning job's name; an s3:// address is a source already.

    Raises UserError where there is no such job, or nothing to report on yet.
    """
    if name.startswith("s3://"):
        return Fetched(name)
    with in_words():
        found = [each for each in kinds_of(name, place) if each[0] in (TRAINING, TUNING)]
        if not found:
            raise UserError(f"'{name}' is neither a training nor a tuning job: there is no report on anything else.")
        kind, description = found[0]
        if kind is TRAINING:
            return _training(name, description)
        folder = write_search(description, place, folder=runs / name / "aws")
    return Fetched(str(folder), runs / name / "report.html")


def _training(name: str, description: Json) -> Fetched:
    status = description["TrainingJobStatus"]
    if status == "InProgress":
        raise UserError(
            f"Training job '{name}' is {description['SecondaryStatus']}: its output comes at its end. "
            "kennel attach follows it."
        )
    output = str(description["OutputDataConfig"]["S3OutputPath"]).rstrip("/")
    return Fetched(f"{output}/{name}", job=description)


def write_search(description: Json, place: Place, *, folder: Path) -> Path:
    """tuning.json and trials.json of a search, in `folder`."""
    name = str(description["HyperParameterTuningJobName"])
    summaries = list_trials(name, place)
    metric = str(_objective(description).get("MetricName", ""))
    with ThreadPoolExecutor(_READERS) as pool:
        histories = list(pool.map(lambda each: _history(each, metric, place), summaries[:_MOST_LOGS]))
    histories += [[]] * (len(summaries) - len(histories))
    trials = [_trial(*each, description) for each in zip(summaries, histories, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tuning.json").write_text(_text({"description": description}))
    (folder / "trials.json").write_text(_text(trials))
    return folder


def _objective(description: Mapping[str, Any]) -> Json:
    config = description["HyperParameterTuningJobConfig"]
    definition = description.get("TrainingJobDefinition") or {}
    return dict(config.get("HyperParameterTuningJobObjective") or definition.get("TuningObjective") or {})


def _trial(summary: Json, history: list[float], description: Json) -> Json:
    """As kennel.local.tuning_trials has it."""
    label = trial_label(summary["TrainingJobName"])
    metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric") or {}
    parent = summary.get("TuningJobName")
    # SageMaker says of a training that was stopped early no more than of one that a person stopped.
    is_auto = description["HyperParameterTuningJobConfig"].get("TrainingJobEarlyStoppingType") == "Auto"
    is_search_stopped = description["HyperParameterTuningJobStatus"] in ("Stopped", "Stopping")
    return {
        **({"number": int(label)} if label.isdigit() else {}),
        "TrainingJobName": summary["TrainingJobName"],
        "parameters": summary.get("TunedHyperParameters") or {},
        "status": summary["TrainingJobStatus"],
        "objective": metric.get("Value"),
        "objective_status": summary.get("ObjectiveStatus", "Pending"),
        "history": history,
        "seconds": _seconds(summary),
        "stopped_early": is_auto and not is_search_stopped and summary["TrainingJobStatus"] == "Stopped",
        "reason": summary.get("FailureReason"),
        "is_parents": parent is not None and parent != description["HyperParameterTuningJobName"],
    }


def _history(summary: Json, metric: str, place: Place) -> list[float]:
    """The objective after each epoch; [] where the log is gone or says it otherwise. The last line repeats one."""
    try:
        lines = list(LogLines(TRAINING, summary["TrainingJobName"], place).new())
    except (ClientError, BotoCoreError):
        return []
    found = [read_metrics(line) for line in lines if "epoch=" in line]
    return [each[metric] for each in found if metric in each]


def _seconds(summary: Json) -> float | None:
    began, ended = summary.get("TrainingStartTime"), summary.get("TrainingEndTime")
    return (ended - began).total_seconds() if began and ended else None


def _text(content: object) -> str:
    """JSON, times as text."""
    return json.dumps(content, indent=2, default=lambda each: each.isoformat() if _is_time(each) else str(each))


def _is_time(value: object) -> bool:
    return isinstance(value, datetime.datetime)
