"""Somebody's training script in the built image: its source is mounted, on one host and on two."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from built_images import BuiltImages
from kennel.local import daemon
from local_service import BUCKET, Client, left_of, training_request, wait_until

COURSE = Path(__file__).parents[1] / "aws" / "scripts" / "course_resume"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Clients of a service whose jobs are containers."""
    runs = tmp_path / "runs"
    yield Client(daemon.start(runs, on="docker"))
    daemon.stop(runs)
    assert not left_of(runs)


def send(client: Client, name: str, image: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  requests' own
    """A job of the course project's script, and its description at its end."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(COURSE, arcname=".")
    client.s3.create_bucket(Bucket=BUCKET)
    client.s3.put_object(Bucket=BUCKET, Key=f"{name}/sourcedir.tar.gz", Body=buffer.getvalue())
    request = training_request(name)
    request["AlgorithmSpecification"] = {"TrainingImage": image, "TrainingInputMode": "File"}
    request["HyperParameters"] = {
        "epochs": "2",
        "sagemaker_program": json.dumps("train.py"),
        "sagemaker_submit_directory": json.dumps(f"s3://{BUCKET}/{name}/sourcedir.tar.gz"),
    }
    client.sagemaker.create_training_job(**{**request, **changes})
    wait_until(
        lambda: client.job(name)["TrainingJobStatus"] not in ("InProgress", "Stopping"), deadline_s=300, what="the end"
    )
    return client.job(name)


def channels(folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "ChannelName": name,
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": (folder / name).as_uri()}},
        }
        for name in ("train", "test")
    ]


@pytest.mark.parametrize("hosts", [1, 2])
def test_somebodys_script_runs_in_the_built_image(
    client: Client, built: BuiltImages, make_folder: Callable[..., Path], hosts: int
) -> None:
    job = send(
        client,
        "theirs",
        built.train,
        InputDataConfig=channels(make_folder()),
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": hosts, "VolumeSizeInGB": 1},
        EnableNetworkIsolation=True,
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    log = (client.runs / "theirs" / "log.txt").read_text()
    assert log.count("epoch=1 loss=") == hosts  # once on each host: nothing asks for torchrun
    with tarfile.open(client.runs / "theirs" / "model.tar.gz") as tar:
        assert "model.pth" in [name.removeprefix("./") for name in tar.getnames()]


def test_its_failure_has_a_reason(client: Client, built: BuiltImages, make_folder: Callable[..., Path]) -> None:
    job = send(client, "without-test", built.train, InputDataConfig=channels(make_folder())[:1])
    assert job["TrainingJobStatus"] == "Failed"
    assert "ErrorMessage \"KeyError: 'SM_CHANNEL_TEST' (train.py:" in job["FailureReason"]
