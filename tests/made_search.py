"""A tuning job as the local SageMaker leaves it and tells of it, made up in a moment: for what starts no training."""

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NAME = "dogs-1"
STARTED = datetime.datetime(2026, 11, 21, 11, 0, 0, tzinfo=datetime.UTC)
RANGES: Mapping[str, Any] = {
    "ContinuousParameterRanges": [
        {"Name": "lr", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    ],
    "IntegerParameterRanges": [{"Name": "views", "MinValue": "1", "MaxValue": "8"}],
    "CategoricalParameterRanges": [
        {"Name": "batch-size", "Values": ['"16"', '"32"', '"64"']},
        {"Name": "optimizer", "Values": ['"adamw"', '"sgd"']},
    ],
}
Json = dict[str, Any]


def made_trial(number: int, *, objective: float | None = None, status: str = "Completed", **changes: Any) -> Json:  # noqa: ANN401
    """An entry of trials.json; its loss has its least at lr=0.003 unless `objective` says otherwise."""
    share = (number * 0.37) % 1
    lr = 10 ** (-4 + 3 * share)
    loss = 0.4 + 0.3 * (math.log10(lr) + 2.5) ** 2 + 0.02 * (number % 3)
    value = loss if objective is None and status == "Completed" else objective
    parameters = {"lr": repr(lr), "views": str(1 + number % 8)}
    parameters["batch-size"] = ('"16"', '"32"', '"64"')[number % 3]
    parameters["optimizer"] = ('"adamw"', '"sgd"')[number // 2 % 2]
    return {
        "number": number,
        "TrainingJobName": f"{NAME}-{number:03}-{number:08x}",
        "parameters": parameters,
        "status": status,
        "objective": value,
        "objective_status": "Failed" if value is None else "Succeeded",
        "history": [] if value is None else [value + 0.5 / epoch for epoch in range(1, 5)] + [value],
        "seconds": 3 + number % 4,
        "stopped_early": status == "Stopped",
        "reason": f"AlgorithmError: lr {lr:.3g} <b>fell</b> over" if status == "Failed" else None,
        "is_parents": False,
        **changes,
    }


def made_trials(count: int = 12) -> list[Json]:
    """Among them one that failed and one that was stopped early."""
    trials = [made_trial(number) for number in range(1, count + 1)]
    if count > 4:
        trials[2] = made_trial(3, status="Failed")
        trials[4] = made_trial(5, status="Stopped", objective=2.5)
    return trials


def made_description(trials: Sequence[Json], *, status: str = "Completed", **changes: Any) -> Json:  # noqa: ANN401
    """DescribeHyperParameterTuningJob's answer on such a search for the least loss."""
    found = [trial for trial in trials if trial["objective"] is not None]
    best = min(found, key=lambda trial: float(trial["objective"]), default=None)
    counts = {"Completed": 0, "InProgress": 0, "Stopped": 0, "NonRetryableError": 0, "RetryableError": 0}
    for trial in trials:
        counts["NonRetryableError" if trial["status"] == "Failed" else trial["status"]] += 1
    description = {
        "HyperParameterTuningJobName": NAME,
        "HyperParameterTuningJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:hyper-parameter-tuning-job/{NAME}",
        "HyperParameterTuningJobStatus": status,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": max(len(trials), 1), "MaxParallelTrainingJobs": 2},
            "ParameterRanges": dict(RANGES),
            "TrainingJobEarlyStoppingType": "Off",
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": {"_tuning_objective_metric": "validation:loss", "epochs": '"4"'},
            "InputDataConfig": [
                {"ChannelName": "data", "DataSource": {"S3DataSource": {"S3Uri": "file:///photos/my dogs"}}}
            ],
        },
        "CreationTime": STARTED,
        "TrainingJobStatusCounters": counts,
        **({"BestTrainingJob": made_summary(best)} if best else {}),
        **changes,
    }
    if status != "InProgress":
        description["HyperParameterTuningEndTime"] = STARTED + datetime.timedelta(seconds=80)
    return description


def made_summary(trial: Json) -> Json:
    """The trial as ListTrainingJobsForHyperParameterTuningJob tells of it."""
    summary = {
        "TrainingJobName": trial["TrainingJobName"],
        "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{trial['TrainingJobName']}",
        "CreationTime": STARTED,
        "TrainingStartTime": STARTED,
        "TrainingJobStatus": trial["status"],
        "TunedHyperParameters": dict(trial["parameters"]),
        "ObjectiveStatus": trial["objective_status"],
    }
    if trial["status"] != "InProgress":
        summary["TrainingEndTime"] = STARTED + datetime.timedelta(seconds=trial["seconds"])
    if trial["objective"] is not None:
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = {
            "MetricName": "validation:loss",
            "Value": trial["objective"],
        }
    return summary | ({"FailureReason": trial["reason"]} if trial["reason"] else {})


def make_search(runs: Path, trials: Sequence[Json] | None = None, **changes: Any) -> Path:  # noqa: ANN401
    """Writes the search's files, and a log for each of its trainings; returns its folder."""
    found = made_trials() if trials is None else trials
    folder = runs / NAME
    folder.mkdir(parents=True)
    record = {"request": {}, "description": made_description(found, **changes), "tags": []}
    (folder / "tuning.json").write_text(json.dumps(record, default=lambda moment: moment.isoformat()))
    (folder / "trials.json").write_text(json.dumps(found))
    for trial in found:
        run = runs / trial["TrainingJobName"]
        run.mkdir()
        (run / "log.txt").write_text("epoch=1/4 valid_loss=0.5\n")
    return folder
