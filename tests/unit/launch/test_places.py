import datetime

import pytest

from kennel import cli
from kennel.errors import UserError
from kennel.launch.account.cleanup import Listing
from kennel.launch.places import open_place


def test_an_image_is_refused_where_no_image_runs() -> None:
    with pytest.raises(UserError, match="--image mine:1 needs --on docker"):
        open_place("local", image="mine:1")


def test_the_table_says_where_each_runs() -> None:
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    job = {"TrainingJobName": "first", "TrainingJobArn": "arn:job", "TrainingJobStatus": "Completed"}
    endpoint = {"EndpointName": "up", "EndpointArn": "arn:up", "EndpointStatus": "InService", "CreationTime": at}
    places = {"arn:job": "docker", "arn:up": "local"}
    listing = Listing(({**job, "CreationTime": at},), (endpoint,), places)
    rows = [line.split() for line in listing.table().splitlines()]
    assert rows[1] == ["up", "InService", "local", "2026-01-02", "03:04:05"]
    assert rows[3] == ["first", "Completed", "docker", "2026-01-02", "03:04:05"]
    assert Listing((), (), {}).table() == "no endpoint\nno training job"


def test_a_tuning_jobs_own_trainings_are_folded_into_its_line() -> None:
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    names = ("dogs-1-001-0a1b2c3d", "dogs-1-1000-0a1b2c3d", "dogs-1", "other-001-0a1b2c3d")
    jobs = tuple(
        {"TrainingJobName": name, "TrainingJobArn": name, "TrainingJobStatus": "Completed", "CreationTime": at}
        for name in names
    )
    tuning = {"HyperParameterTuningJobName": "dogs-1", "HyperParameterTuningJobArn": "t", "CreationTime": at}
    tuning |= {"HyperParameterTuningJobStatus": "InProgress"}
    counts = {"TrainingJobStatusCounters": {"Completed": 1, "InProgress": 1, "Stopped": 0}}
    transform = {"TransformJobName": "answers", "TransformJobArn": "b", "TransformJobStatus": "Failed"}
    places = dict.fromkeys(("t", "b", "dogs-1", "other-001-0a1b2c3d"), "local")
    listing = Listing(jobs, (), places, ({**tuning, **counts},), ({**transform, "CreationTime": at},))
    assert set(listing.arns) == set(places)
    rows = [line.split() for line in listing.table().splitlines()]
    assert rows[2][:3] == ["dogs-1", "InProgress", "local"]
    assert " ".join(rows[2][5:]) == "1 running, 1 completed"
    assert rows[4][:2] == ["answers", "Failed"]
    assert [row[0] for row in rows[6:]] == ["dogs-1", "other-001-0a1b2c3d"]


def test_the_verb_refuses_an_image_without_docker(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["deploy", "some-job", "--image", "mine:1"]) == 2
    assert "--image mine:1 needs --on docker" in capsys.readouterr().err
