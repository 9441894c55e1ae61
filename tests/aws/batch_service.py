"""For tests of batch transform: a service whose models are served by stand_in_batch.py, and what jobs are made with."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kennel.local import daemon
from local_service import BUCKET, ROLE, Client, wait_until

STAND_IN = Path(__file__).parent / "stand_in_batch.py"
FINISHED = ("Completed", "Failed", "Stopped")


@contextmanager
def batch_stand_in() -> Iterator[None]:
    """A service started meanwhile serves models by the stand-in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KENNEL_SERVE_COMMAND", f"{sys.executable} -S {STAND_IN}")
        yield


class Batch:
    """A client with shorthands for transform jobs."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.sagemaker = client.sagemaker

    def put(self, **objects: bytes) -> None:
        """Objects of the default bucket; `__` in a name is a slash, `_` a dot."""
        for name, body in objects.items():
            self.client.s3.put_object(Bucket=BUCKET, Key=name.replace("__", "/").replace("_", "."), Body=body)

    def model(self, name: str, **environment: str) -> str:
        """A model without data, so that there is nothing to bring."""
        container = {"Image": "kennel-serve:1", "Environment": environment}
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        return name

    def request(self, name: str, source: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  a request's members
        """CreateTransformJob's request; the model is called `model`, the output goes to out/<name>.

        changes: members, or those of TransformInput and TransformOutput.
        """
        data_type = changes.pop("S3DataType", "S3Prefix")
        taken: dict[str, Any] = {"DataSource": {"S3DataSource": {"S3DataType": data_type, "S3Uri": source}}}
        given: dict[str, Any] = {"S3OutputPath": f"s3://{BUCKET}/out/{name}"}
        for key in ("ContentType", "SplitType", "CompressionType"):
            taken |= {key: changes.pop(key)} if key in changes else {}
        for key in ("Accept", "AssembleWith", "S3OutputPath"):
            given |= {key: changes.pop(key)} if key in changes else {}
        return {
            "TransformJobName": name,
            "ModelName": "model",
            "TransformInput": taken,
            "TransformOutput": given,
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **changes,
        }

    def create(self, name: str, source: str, **changes: Any) -> None:  # noqa: ANN401
        self.sagemaker.create_transform_job(**self.request(name, source, **changes))

    def job(self, name: str) -> dict[str, Any]:
        return dict(self.sagemaker.describe_transform_job(TransformJobName=name))

    def finished(self, name: str) -> dict[str, Any]:
        wait_until(lambda: self.job(name)["TransformJobStatus"] in FINISHED, what=f"the end of {name}")
        return self.job(name)

    def run(self, name: str, source: str, **changes: Any) -> dict[str, bytes]:  # noqa: ANN401
        """The outputs of a job that completes."""
        self.create(name, source, **changes)
        job = self.finished(name)
        assert job["TransformJobStatus"] == "Completed", job
        return self.outputs(name)

    def outputs(self, name: str) -> dict[str, bytes]:
        """What the job has written to the local S3, by its names below the output path."""
        prefix = f"out/{name}/"
        listed = self.client.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())
        keys = [each["Key"] for each in listed]
        return {key[len(prefix) :]: self.client.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def log(self, name: str) -> str:
        """SageMaker's own lines."""
        return (self.client.runs / name / "data-log.txt").read_text()


def started(runs: Path) -> Batch:
    """A service on `runs` whose bucket is there."""
    with batch_stand_in():
        client = Client(daemon.start(runs))
    return Batch(client)
