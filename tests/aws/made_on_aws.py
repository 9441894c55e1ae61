"""An account with what Kennel makes on AWS in it, of stand-in programs; made by its administrator, with Kennel's tags.

with furnished(folder) as made:
    made.train("dogs")
    made.deploy("up")
    made.kennel("list")         # the CLI, in this process, on this account

Scaling and schedules are moto's, which runs neither; prices are made up.
"""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from account import Account, open_account
from moto.moto_api._internal.models import moto_api_backend
from stand_in_prices import Prices, product
from tagged_resources import Tagging, tagging_of

from conftest import impatient
from kennel import cli
from kennel.aws.alarms import CanaryAlarms
from kennel.aws.profile import Profile
from kennel.aws.scaling import Scaling
from kennel.aws.schedule import TimeToLive
from kennel.aws.tags import as_list, tags_for
from local_service import ROLE, training_request, wait_until

BUCKET = "kennel-tests"
OUTPUT = f"s3://{BUCKET}/kennel/jobs"
ARCHIVE = f"s3://{BUCKET}/kennel/models/model.tar.gz"
SCHEDULER = "arn:aws:iam::123456789012:role/kennel-scheduler"
ENDED = ("Completed", "Failed", "Stopped")
PRICES = (
    product("ml.m5.large", "Training", "0.36"),
    product("ml.m5.large", "Hosting", "0.72"),
    product("ml.m5.large", "BatchTransform", "0.18"),
)


class Made:
    """What is made, by shorthands. sagemaker: of the administrator."""

    def __init__(self, account: Account, tagging: Tagging) -> None:
        self.account = account
        self.tagging = tagging
        self.sagemaker = account.admin("sagemaker")
        self.s3 = account.admin("s3")

    def kennel(self, *words: str) -> int:
        """The CLI's exit status."""
        return cli.main([*words, "--on", "aws"])

    def train(self, name: str, *, tags: bool = True, orders: dict[str, str] | None = None, **changes: Any) -> None:  # noqa: ANN401
        request = training_request(name, orders=orders) | {"OutputDataConfig": {"S3OutputPath": OUTPUT}}
        self.sagemaker.create_training_job(**request, Tags=_tags(name) if tags else [], **changes)

    def finished(self, name: str) -> dict[str, Any]:
        """A training's description when it has ended."""
        describe = self.sagemaker.describe_training_job
        wait_until(lambda: describe(TrainingJobName=name)["TrainingJobStatus"] in ENDED, what=f"the end of {name}")
        return dict(describe(TrainingJobName=name))

    def tune(self, name: str, *, orders: dict[str, str] | None = None) -> None:
        """A search of two trainings at once."""
        training = training_request("unused") | {"OutputDataConfig": {"S3OutputPath": OUTPUT}}
        shared = {key: training[key] for key in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")}
        metrics = [{"Name": "objective", "Regex": r"objective=([0-9.]+)"}]
        rate = {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
        self.sagemaker.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name,
            HyperParameterTuningJobConfig={
                "Strategy": "Random",
                "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "objective"},
                "ResourceLimits": {"MaxParallelTrainingJobs": 2, "MaxNumberOfTrainingJobs": 2},
                "ParameterRanges": {"ContinuousParameterRanges": [rate]},
            },
            TrainingJobDefinition={
                **shared,
                "AlgorithmSpecification": {**training["AlgorithmSpecification"], "MetricDefinitions": metrics},
                "StaticHyperParameters": {"objective": "1", "steps": "2", **(orders or {})},
            },
            Tags=_tags(name),
        )

    def transform(self, name: str) -> None:
        """With a model of its own, that stays; of one small object."""
        self.model(name, owner=name)
        self.s3.put_object(Bucket=BUCKET, Key=f"kennel/in/{name}/one.txt", Body=b"one")
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/kennel/in/{name}"}}
        self.sagemaker.create_transform_job(
            TransformJobName=name,
            ModelName=name,
            TransformInput={"DataSource": source, "ContentType": "text/plain"},
            TransformOutput={"S3OutputPath": f"s3://{BUCKET}/kennel/out/{name}"},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
            Tags=_tags(name),
        )

    def model(self, name: str, *, owner: str | None, **environment: str) -> None:
        container = {"Image": "kennel-serve:1", "ModelDataUrl": ARCHIVE, "Environment": environment}
        tags = _tags(owner) if owner else []
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE, Tags=tags)

    def deploy(self, name: str, *, tags: bool = True, **environment: str) -> None:
        """Model, configuration and endpoint, the first two named after the third as Kennel names them."""
        part = f"{name}-20261121-1f2e" if tags else name
        owned: dict[str, Any] = {"Tags": _tags(name)} if tags else {}
        self.model(part, owner=name if tags else None, **environment)
        variant = {"VariantName": "AllTraffic", "ModelName": part, "InstanceType": "ml.m5.large"}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=part, ProductionVariants=[{**variant, "InitialInstanceCount": 1}], **owned
        )
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=part, **owned)
        wait_until(lambda: self.endpoint(name) in ("InService", "Failed"), what=f"endpoint {name}")

    def surround(self, name: str) -> None:
        """An endpoint's scaling from 1 to 3, the alarms of a canary, and a time to live of two hours."""
        part, own = f"{name}-20261121-1f2e", {each["Key"]: each["Value"] for each in _tags(name)}
        Scaling(boto3.client("application-autoscaling")).follow_invocations(name, least=1, most=3, tags=own)
        CanaryAlarms(boto3.client("cloudwatch")).put(name, config=part, tags=own)
        TimeToLive(boto3.client("scheduler"), SCHEDULER).set(name, in_s=7200, configs=(part,), models=(part,))

    def endpoint(self, name: str) -> str:
        """Its state."""
        return str(self.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"])


@contextmanager
def furnished(folder: Path) -> Iterator[Made]:
    """A new account with a bucket and prices; meanwhile this process's environment is its."""
    moto_api_backend.reset()  # schedules and scaling of accounts of other tests in this process
    with impatient(), open_account(folder / "runs") as account, pytest.MonkeyPatch.context() as patch:
        account.others["pricing"] = Prices(*PRICES)
        own = {"KENNEL_ROLE": ROLE, "KENNEL_SCHEDULER_ROLE": SCHEDULER, "KENNEL_BUCKET": BUCKET}
        for key, value in {**account.environ, **own, "XDG_CACHE_HOME": str(folder / "cache")}.items():
            patch.setenv(key, value)
        with tagging_of(account) as tagging:
            made = Made(account, tagging)
            made.s3.create_bucket(Bucket=BUCKET)
            made.s3.put_object(Bucket=BUCKET, Key="kennel/models/model.tar.gz", Body=_archive())
            yield made


def _tags(name: str) -> list[dict[str, str]]:
    return as_list(tags_for(name, Profile()))


def _archive() -> bytes:
    """A model as the stand-in server reads it."""
    content, packed = b"my model", io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("model.txt")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
