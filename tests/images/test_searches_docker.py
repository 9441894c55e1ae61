"""Searches and batch transforms with the built images: trials share features, somebody's script answers for files."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from built_images import BuiltImages
from kennel.local import daemon
from kennel.metrics import metric_definitions
from local_service import BUCKET, ROLE, Client, left_of, training_request, wait_until

SCRIPT = """
import json

def model_fn(model_dir):
    return open(model_dir + "/factor.txt").read()

def input_fn(body, content_type):
    return json.loads(body)

def predict_fn(value, model):
    return value * int(model)

def output_fn(value, accept):
    return json.dumps({"answer": value})
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Clients of a service whose jobs are containers."""
    runs = tmp_path / "runs"
    client = Client(daemon.start(runs, on="docker"))
    client.s3.create_bucket(Bucket=BUCKET)
    yield client
    daemon.stop(runs)
    assert not left_of(runs)


def test_trials_in_containers_share_features(
    client: Client, built: BuiltImages, make_folder: Callable[..., Path]
) -> None:
    training = training_request("unused")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": make_folder().as_uri()}}
    client.sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="search",
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "RandomSeed": 1,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1"}]},
        },
        TrainingJobDefinition={
            **{key: training[key] for key in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")},
            "AlgorithmSpecification": {
                "TrainingImage": built.train,
                "TrainingInputMode": "File",
                "MetricDefinitions": metric_definitions(),
            },
            "StaticHyperParameters": {"epochs": "1", "batch-size": "8", "image-size": "64"},
            "InputDataConfig": [{"ChannelName": "data", "DataSource": source}],
            "EnableNetworkIsolation": True,
        },
    )

    def search() -> dict[str, object]:
        return dict(client.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="search"))

    wait_until(lambda: search()["HyperParameterTuningJobStatus"] != "InProgress", deadline_s=300, what="the end")
    assert search()["HyperParameterTuningJobStatus"] == "Completed"
    assert search()["BestTrainingJob"]
    first, second = (json.loads((client.runs / "search" / "trials.json").read_text())[index] for index in (0, 1))
    logs = [(client.runs / each["TrainingJobName"] / "log.txt").read_text() for each in (first, second)]
    assert "shared=written" in logs[0] and "shared=read" in logs[1]
    assert "shared=written" not in logs[1]
    assert not (client.runs / "search" / "shared").exists()
    owners = {path.stat().st_uid for path in (client.runs / second["TrainingJobName"]).rglob("*")}
    assert owners == {os.getuid()}


def test_a_transform_asks_somebodys_script_in_a_container(client: Client, built: BuiltImages, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in (("code/inference.py", SCRIPT), ("factor.txt", "3")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    client.s3.put_object(Bucket=BUCKET, Key="model.tar.gz", Body=buffer.getvalue())
    container = {"Image": built.serve_cpu, "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz"}
    client.sagemaker.create_model(ModelName="triple", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    for number in (1, 2):
        client.s3.put_object(Bucket=BUCKET, Key=f"in/{number}.json", Body=str(number).encode())
    client.sagemaker.create_transform_job(
        TransformJobName="files",
        ModelName="triple",
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/in/"}},
            "ContentType": "application/json",
        },
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/out"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )

    def job() -> dict[str, object]:
        return dict(client.sagemaker.describe_transform_job(TransformJobName="files"))

    wait_until(lambda: job()["TransformJobStatus"] != "InProgress", deadline_s=300, what="the end")
    assert job()["TransformJobStatus"] == "Completed", job().get("FailureReason")
    answers = [client.s3.get_object(Bucket=BUCKET, Key=f"out/{number}.json.out")["Body"].read() for number in (1, 2)]
    assert [json.loads(each) for each in answers] == [{"answer": 3}, {"answer": 6}]
