"""Why something failed: the end of its log, the remedy, and a search's reasons together."""

import datetime
from collections.abc import Iterator
from typing import Any

import pytest

from kennel.launch.places import Place
from kennel.launch.watching.failures import failure_lines, grouped, since_ms, trial_failure_lines
from kennel.launch.watching.kinds import ENDPOINT, TRAINING

Json = dict[str, Any]


class Logs:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def get_paginator(self, operation: str) -> "Logs":
        return self

    def paginate(self, **asked: str) -> Iterator[Json]:
        yield {"logStreams": [{"logStreamName": "dogs-1/algo-1-17"}] if self._lines else []}

    def get_log_events(self, limit: int, **asked: Any) -> Json:  # noqa: ANN401  GetLogEvents' own
        return {"events": [{"timestamp": 1, "message": each} for each in self._lines[-limit:]]}


def place_of(*lines: str) -> Place:
    place = Place("aws", "r", "t", "s", "ml.m5.large")
    place.__dict__["logs"] = Logs(list(lines))
    return place


def job(status: str = "Failed", **more: str) -> Json:
    return {"TrainingJobName": "dogs-1", "TrainingJobStatus": status, **more}


def test_a_failure_has_the_last_lines_and_the_remedy() -> None:
    lines = failure_lines(TRAINING, job(FailureReason="AlgorithmError: , exit code: 137"), place_of("a", "b"))
    assert lines[:3] == ["the last 2 lines of the log:", "  a", "  b"]
    assert lines[3].startswith("what to do: The machine ran out of memory.")
    assert failure_lines(TRAINING, job(), place_of()) == ["there is no log: it did not get that far"]


@pytest.mark.parametrize(
    ("state", "advice"), [("MaxWaitTimeExceeded", "--max-wait"), ("MaxRuntimeExceeded", "--max-run")]
)
def test_what_was_stopped_by_a_limit_has_a_remedy(state: str, advice: str) -> None:
    [line] = failure_lines(TRAINING, job("Stopped", SecondaryStatus=state), place_of("a"))
    assert advice in line


def test_what_ended_well_needs_none() -> None:
    assert failure_lines(TRAINING, job("Completed", SecondaryStatus="Completed"), place_of("a")) == []


def test_trials_that_failed_alike_are_told_together() -> None:
    failed = [
        job(
            FailureReason=f"AlgorithmError: lr 0.{number} is too high, exit code: 1",
            TrainingJobName=f"dogs-1-00{number}",
        )
        for number in range(1, 6)
    ]
    other = job(FailureReason="CapacityError: Unable to provision", TrainingJobName="dogs-1-006")
    trials = [other, *failed, job("Completed")]
    assert [len(names) for _, names in grouped(trials)] == [5, 1]
    lines = trial_failure_lines(trials, place_of("Traceback"))
    assert lines[0] == (
        "5 failed (dogs-1-001, dogs-1-002, dogs-1-003, ...): AlgorithmError: lr 0.1 is too high, exit code: 1"
    )
    assert lines[1].startswith("1 failed (dogs-1-006): CapacityError")
    assert lines[2:] == ["the last 1 lines of the log of dogs-1-001:", "  Traceback"]


def test_an_endpoints_log_begins_with_it() -> None:
    made, changed = (datetime.datetime(2026, 11, 21, hour, tzinfo=datetime.UTC) for hour in (12, 13))
    described = {"EndpointName": "dogs", "CreationTime": made, "LastModifiedTime": changed}
    assert since_ms(ENDPOINT, {**described, "EndpointStatus": "Failed"}) == made.timestamp() * 1000 - 1000
    assert since_ms(ENDPOINT, {**described, "EndpointStatus": "Updating"}) == changed.timestamp() * 1000 - 1000
    assert since_ms(TRAINING, described) is None
