"""For tests of the local SageMaker: clients of a service, waiting with a deadline, finding what was left running."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

from kennel.local import daemon
from kennel.local.remains import holders
from kennel.local.state import ServiceState

ROLE = "arn:aws:iam::123456789012:role/tests"
BUCKET = "sagemaker-us-east-1-123456789012"


def wait_until(condition: Callable[[], object], *, deadline_s: float = 60.0, what: str = "the condition") -> None:
    """Polls; fails the test naming `what` when the deadline passes."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {deadline_s} s"
        time.sleep(0.05)


def left_of(runs: Path) -> list[psutil.Process]:
    """The living processes that a service on `runs` started."""
    return holders(lambda marker: marker.startswith(f"{runs}:"))


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def training_request(name: str, *, steps: int = 3, orders: dict[str, str] | None = None) -> dict[str, Any]:
    """CreateTrainingJob's request for a job of the stand-in program."""
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/kennel-train:1",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": r"loss=([0-9.]+)"}],
        },
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/results"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        "HyperParameters": {"steps": str(steps), **(orders or {})},
    }


class Client:
    """boto3 clients with only the service's variables in the environment, and a few shorthands."""

    def __init__(self, state: ServiceState) -> None:
        self.state = state
        self.runs = Path(state.runs)
        with pytest.MonkeyPatch.context() as patch:
            for key in [key for key in os.environ if key.startswith("AWS_")]:
                patch.delenv(key)
            for key, value in daemon.environment(state).items():
                patch.setenv(key, value)
            session = boto3.Session()
            names = ("sagemaker", "sagemaker-runtime", "logs", "s3", "sts")
            self.sagemaker, self.runtime, self.logs, self.s3, self.sts = (session.client(name) for name in names)

    def train(self, name: str, *, steps: int = 3, orders: dict[str, str] | None = None, **changes: object) -> None:
        """Creates a training job of the stand-in program."""
        self.sagemaker.create_training_job(**{**training_request(name, steps=steps, orders=orders), **changes})

    def job(self, name: str) -> dict[str, Any]:
        return self.sagemaker.describe_training_job(TrainingJobName=name)

    def finished_job(self, name: str) -> dict[str, Any]:
        """The job's description once it has ended."""
        wait_until(
            lambda: self.job(name)["TrainingJobStatus"] not in ("InProgress", "Stopping"), what=f"the end of {name}"
        )
        return self.job(name)

    def wait_for_line(self, name: str, text: str) -> None:
        """Until the job's log has a line with `text`."""
        log = self.runs / name / "log.txt"
        wait_until(lambda: log.exists() and text in log.read_text(), what=f"'{text}' in the log of {name}")

    def deploy(self, name: str, model_data: str, *, environment: dict[str, str] | None = None) -> None:
        """Creates a model, an endpoint configuration and an endpoint, all called `name`."""
        container = {"Image": "kennel-serve:1", "ModelDataUrl": model_data, "Environment": environment or {}}
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        variant = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.m5.large"}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
        )
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)

    def endpoint(self, name: str) -> dict[str, Any]:
        return self.sagemaker.describe_endpoint(EndpointName=name)

    def settled_endpoint(self, name: str) -> dict[str, Any]:
        """The endpoint's description once it is in service or has failed."""
        wait_until(
            lambda: self.endpoint(name)["EndpointStatus"] in ("InService", "Failed"), what=f"endpoint {name} to settle"
        )
        return self.endpoint(name)

    def ask(self, name: str, body: bytes = b"hello", **headers: str) -> dict[str, Any]:
        """The endpoint's answer, its Body as bytes."""
        answer = self.runtime.invoke_endpoint(EndpointName=name, Body=body, **headers)
        with answer["Body"] as stream:
            return {**answer, "Body": stream.read()}


def all_of(client: Client) -> list[psutil.Process]:
    """The service's process and every process under it."""
    service = psutil.Process(client.state.pid)
    return [service, *service.children(recursive=True)]
