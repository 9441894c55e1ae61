"""A search on AWS as the files that its report reads."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from kennel.errors import UserError
from kennel.launch.places import Place
from kennel.launch.watching.fetched_run import fetch
from kennel.report.search_record import read_search

Json = dict[str, Any]
BEGAN = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)


class Api:
    """SageMaker with one job, and CloudWatch without any log."""

    def __init__(self, *, training: Json | None = None, search: Json | None = None, trials: list[Json]) -> None:
        self._training, self._search, self._trials = training, search, trials

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401  any describing operation
        def answer(**asked: str) -> Json:
            found = {"describe_training_job": self._training, "describe_hyper_parameter_tuning_job": self._search}
            if found.get(operation) is None:
                response: Any = {"Error": {"Code": "ResourceNotFound", "Message": "none"}}
                raise ClientError(response, operation)
            return found[operation] or {}

        return answer

    def get_paginator(self, operation: str) -> Any:  # noqa: ANN401
        pages = [{"TrainingJobSummaries": self._trials, "logStreams": []}]

        class Pages:
            def paginate(self, **asked: str) -> Iterator[Json]:
                return iter(pages)

        return Pages()


def place_of(api: Api) -> Place:
    place = Place("aws", "r", "t", "s", "ml.m5.large")
    place.__dict__.update(sagemaker=api, logs=api)
    return place


def trial(name: str, status: str, **more: object) -> Json:
    times = {"TrainingStartTime": BEGAN, "TrainingEndTime": BEGAN + datetime.timedelta(seconds=90)}
    return {
        "TrainingJobName": name,
        "TrainingJobStatus": status,
        "TunedHyperParameters": {"lr": "0.1"},
        **times,
        **more,
    }


def test_a_search_is_read_again_as_it_was(tmp_path: Path) -> None:
    value = {"FinalHyperParameterTuningJobObjectiveMetric": {"Value": 0.4}, "ObjectiveStatus": "Succeeded"}
    search = {
        "HyperParameterTuningJobName": "look",
        "HyperParameterTuningJobStatus": "Completed",
        "HyperParameterTuningJobConfig": {"TrainingJobEarlyStoppingType": "Auto"},
        "CreationTime": BEGAN,
    }
    trials = [
        trial("old-009-0a1b2c3d", "Completed", TuningJobName="old", **value),
        trial("look-001-0a1b2c3d", "Stopped", **value),
        trial("look-002-0a1b2c3d", "Failed", FailureReason="ClientError: no"),
    ]
    fetched = fetch("look", place_of(Api(search=search, trials=trials)), runs=tmp_path)
    assert fetched.source == str(tmp_path / "look" / "aws") and fetched.page == tmp_path / "look" / "report.html"
    record = read_search(Path(fetched.source))
    assert record.problems == [] and record.status == "Completed"
    parent, stopped, failed = record.trials
    assert parent["is_parents"] and parent["number"] == 9 and parent["seconds"] == 90
    assert stopped["is_stopped_early"] and stopped["objective"] == 0.4 and not stopped["is_parents"]
    assert failed["reason"] == "ClientError: no" and failed["objective"] is None
    kept = json.loads((tmp_path / "look" / "aws" / "tuning.json").read_text())
    assert kept["description"]["CreationTime"] == "2026-11-21T12:00:00+00:00"


def test_a_training_that_goes_on_has_no_output_yet(tmp_path: Path) -> None:
    job = {
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Training",
        "CreationTime": BEGAN,
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/jobs/"},
    }
    with pytest.raises(UserError, match="'dogs' is Training: its output comes at its end. kennel attach follows it"):
        fetch("dogs", place_of(Api(training=job, trials=[])), runs=tmp_path)
    ended = fetch("dogs", place_of(Api(training={**job, "TrainingJobStatus": "Failed"}, trials=[])), runs=tmp_path)
    assert ended.source == "s3://bucket/jobs/dogs" and ended.job is not None
    assert fetch("s3://a/b", place_of(Api(trials=[])), runs=tmp_path).source == "s3://a/b"
