"""Training jobs through plain boto3: their life, their files, their failures."""

import json
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_service import BUCKET, ROLE, Client, all_of, wait_until


def channel(name: str, uri: str) -> dict[str, Any]:
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}


def test_training_job_completes_with_its_model_metrics_and_transitions(client: Client) -> None:
    client.train("whole", Tags=[{"Key": "owner", "Value": "tests"}], Environment={"EXTRA": "1"})
    job = client.finished_job("whole")
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Completed"
    states = [each["Status"] for each in job["SecondaryStatusTransitions"]]
    assert states == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(each["EndTime"] >= each["StartTime"] for each in job["SecondaryStatusTransitions"])
    [metric] = job["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("loss", pytest.approx(0.3333))
    assert isinstance(metric["Timestamp"], datetime)
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"] >= 1
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/results/whole/output/model.tar.gz"
    assert client.sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == [{"Key": "owner", "Value": "tests"}]


def test_results_are_in_the_local_s3_and_in_the_runs_folder(client: Client, tmp_path: Path) -> None:
    client.train("results")
    client.finished_job("results")
    keys = client.s3.list_objects_v2(Bucket=BUCKET, Prefix="results/results/")["Contents"]
    assert [each["Key"] for each in keys] == [f"results/results/output/{kind}.tar.gz" for kind in ("model", "output")]
    client.s3.download_file(BUCKET, "results/results/output/model.tar.gz", str(tmp_path / "model.tar.gz"))
    with tarfile.open(tmp_path / "model.tar.gz") as tar:
        assert tar.getnames() == ["model.txt"]
    with tarfile.open(client.runs / "results" / "output.tar.gz") as tar:
        assert tar.getnames() == ["history.json"]
    on_disk = json.loads((client.runs / "results" / "job.json").read_text())
    assert on_disk["description"]["TrainingJobStatus"] == "Completed"
    assert on_disk["request"]["HyperParameters"] == {"steps": "3"}
    assert datetime.fromisoformat(on_disk["description"]["CreationTime"]).tzinfo is not None


def test_opt_ml_is_laid_out_as_sagemaker_does(client: Client, tmp_path: Path) -> None:
    (tmp_path / "data" / "cats").mkdir(parents=True)
    (tmp_path / "data" / "cats" / "1.jpg").write_text("cat")
    client.s3.put_object(Bucket=BUCKET, Key="pictures/dogs/2.jpg", Body=b"dog")
    client.s3.put_object(Bucket=BUCKET, Key="pictures2/3.jpg", Body=b"no")
    client.train(
        "laid-out",
        orders={"quoted": '"\\"16\\""', "flag": "true"},
        InputDataConfig=[
            channel("near", (tmp_path / "data").as_uri()),
            channel("one", (tmp_path / "data" / "cats" / "1.jpg").as_uri()),
            channel("far", f"s3://{BUCKET}/pictures"),
        ],
    )
    client.finished_job("laid-out")
    ml = client.runs / "laid-out" / "ml"
    config = {path.stem: json.loads(path.read_text()) for path in (ml / "input" / "config").iterdir()}
    assert config["hyperparameters"] == {"steps": "3", "quoted": '"\\"16\\""', "flag": "true"}
    assert config["resourceconfig"]["current_host"] == "localhost"
    assert config["resourceconfig"]["hosts"] == ["localhost"]
    assert sorted(config["inputdataconfig"]) == ["far", "near", "one"]
    assert config["inputdataconfig"]["far"]["TrainingInputMode"] == "File"
    assert config["metric-definition-regex"] == [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]
    data = ml / "input" / "data"
    assert (data / "near").is_symlink() and (data / "near" / "cats" / "1.jpg").read_text() == "cat"
    assert (data / "one" / "1.jpg").read_text() == "cat"
    assert [str(path.relative_to(data / "far")) for path in (data / "far").rglob("*.*")] == ["dogs/2.jpg"]
    assert (ml / "code" / "train.py").is_symlink()


def test_failure_reason_is_the_failure_file_and_the_exit_code(client: Client) -> None:
    client.train("fails", orders={"fail": "The pictures are empty: " + "x" * 2000, "exit": "3"})
    job = client.finished_job("fails")
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: The pictures are empty: xxx")
    assert job["FailureReason"].endswith(", exit code: 3")
    assert len(job["FailureReason"]) == 1024
    assert job["SecondaryStatusTransitions"][-1]["StatusMessage"] == "Training job failed"


def test_failure_without_a_failure_file_gives_the_end_of_the_log(client: Client) -> None:
    client.train("silent", orders={"exit": "137"})
    reason = client.finished_job("silent")["FailureReason"]
    assert "wrote no failure file (ended by signal 9; 9 is often a lack of memory)" in reason
    assert "loss=0.3333" in reason and reason.endswith("exit code: 137")


def test_stopped_job_keeps_what_it_saved(client: Client) -> None:
    client.train("stops", steps=1000, orders={"step-s": "0.1"})
    client.wait_for_line("stops", "step=1")
    client.sagemaker.stop_training_job(TrainingJobName="stops")
    assert client.job("stops")["TrainingJobStatus"] in ("Stopping", "Stopped")
    job = client.finished_job("stops")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "FailureReason" not in job
    assert "SIGTERM: saving" in (client.runs / "stops" / "log.txt").read_text()
    assert client.s3.head_object(Bucket=BUCKET, Key="results/stops/output/model.tar.gz")
    with pytest.raises(ClientError, match=r"rejected because the training job is in status Stopped\."):
        client.sagemaker.stop_training_job(TrainingJobName="stops")


def test_job_that_ignores_sigterm_is_killed_after_the_grace_time(client: Client) -> None:
    before = len(all_of(client))
    client.train("stubborn", steps=1000, orders={"step-s": "0.1", "on-sigterm": "ignore", "family": "1"})
    client.wait_for_line("stubborn", "step=1")
    client.sagemaker.stop_training_job(TrainingJobName="stubborn")
    assert client.finished_job("stubborn")["TrainingJobStatus"] == "Stopped"
    assert len(all_of(client)) == before  # the family is gone with it


def test_max_runtime_stops_the_job(client: Client) -> None:
    client.train("long", steps=1000, orders={"step-s": "0.1"}, StoppingCondition={"MaxRuntimeInSeconds": 1})
    job = client.finished_job("long")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert "MaxRuntimeInSeconds" in job["SecondaryStatusTransitions"][-1]["StatusMessage"]


def test_jobs_run_side_by_side(client: Client) -> None:
    for name in ("side-a", "side-b", "side-c"):
        client.train(name, steps=1000, orders={"step-s": "0.1"})
    for name in ("side-a", "side-b", "side-c"):
        client.wait_for_line(name, "step=1")
        assert client.job(name)["SecondaryStatus"] == "Training"
    for name in ("side-a", "side-b", "side-c"):
        client.sagemaker.stop_training_job(TrainingJobName=name)
    assert {client.finished_job(name)["TrainingJobStatus"] for name in ("side-a", "side-b", "side-c")} == {"Stopped"}


def test_s3_checkpoints_are_restored_and_written_back_while_the_job_runs(client: Client) -> None:
    client.s3.put_object(Bucket=BUCKET, Key="saved/step.txt", Body=b"41")
    config = {"S3Uri": f"s3://{BUCKET}/saved"}
    client.train("resumes", steps=1000, orders={"step-s": "0.1"}, CheckpointConfig=config)
    client.wait_for_line("resumes", "step=42")

    def kept() -> int:
        return int(client.s3.get_object(Bucket=BUCKET, Key="saved/step.txt")["Body"].read())

    wait_until(lambda: kept() > 41, what="a checkpoint in S3 while the job runs")
    client.sagemaker.stop_training_job(TrainingJobName="resumes")
    client.finished_job("resumes")
    last = (client.runs / "resumes" / "ml" / "checkpoints" / "step.txt").read_text()
    assert kept() == int(last)


def test_file_addresses_take_checkpoints_and_results(client: Client, tmp_path: Path) -> None:
    client.train(
        "files",
        CheckpointConfig={"S3Uri": (tmp_path / "saved").as_uri(), "LocalPath": "/opt/ml/checkpoints"},
        OutputDataConfig={"S3OutputPath": (tmp_path / "out").as_uri()},
    )
    job = client.finished_job("files")
    assert job["TrainingJobStatus"] == "Completed"
    assert (tmp_path / "saved" / "step.txt").read_text() == "2"
    archive = tmp_path / "out" / "files" / "output" / "model.tar.gz"
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == archive.as_uri()
    assert archive.read_bytes() == (client.runs / "files" / "model.tar.gz").read_bytes()


def test_results_that_cannot_be_stored_fail_the_job_and_stay_in_its_folder(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    client.train("unstored", OutputDataConfig={"S3OutputPath": (tmp_path / "file").as_uri()})
    job = client.finished_job("unstored")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Artifact upload failed: [Errno 20] Not a directory")
    assert (client.runs / "unstored" / "model.tar.gz").exists()


def test_deleted_job_is_gone_and_its_name_is_free(client: Client) -> None:
    client.train("gone")
    client.finished_job("gone")
    client.sagemaker.delete_training_job(TrainingJobName="gone")
    assert not (client.runs / "gone").exists()
    with pytest.raises(ClientError, match=r"Requested resource not found\."):
        client.job("gone")
    client.train("gone")
    assert client.finished_job("gone")["TrainingJobStatus"] == "Completed"


def test_list_training_jobs_pages_filters_and_sorts(client: Client) -> None:
    for number in range(3):
        client.train(f"listed-{number}")
        client.finished_job(f"listed-{number}")
    paginator = client.sagemaker.get_paginator("list_training_jobs")
    pages = list(paginator.paginate(NameContains="LISTED", SortBy="Name", PaginationConfig={"PageSize": 2}))
    assert [len(page["TrainingJobSummaries"]) for page in pages] == [2, 1]
    names = [each["TrainingJobName"] for page in pages for each in page["TrainingJobSummaries"]]
    assert names == ["listed-0", "listed-1", "listed-2"]
    middle = client.job("listed-1")["CreationTime"]
    later = client.sagemaker.list_training_jobs(
        NameContains="listed", CreationTimeAfter=middle, SortOrder="Descending", StatusEquals="Completed"
    )
    assert [each["TrainingJobName"] for each in later["TrainingJobSummaries"]] == ["listed-2", "listed-1"]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "underscore",
        {"TrainingJobName": "my_job"},
        r"1 validation error detected: Value 'my_job' at 'trainingJobName' failed to satisfy constraint: "
        r"Member must satisfy regular expression pattern: \[a-zA-Z0-9\]",
    ),
    ("role", {"RoleArn": "arn:aws:iam::1:user/me-and-my-dog"}, "at 'roleArn' failed to satisfy constraint"),
    (
        "instance type",
        {"ResourceConfig": {"InstanceType": "ml.huge", "InstanceCount": 1, "VolumeSizeInGB": 1}},
        r"Value 'ml.huge' at 'resourceConfig.instanceType' failed to satisfy constraint: Member must satisfy enum",
    ),
    (
        "hyperparameter too long",
        {"HyperParameters": {"steps": "1" * 2501}},
        r"at 'hyperParameters' failed to satisfy constraint: Map value must satisfy constraint: \[Member must have "
        r"length greater than or equal to 0, Member must have length less than or equal to 2500",
    ),
    (
        "wait time without spot",
        {"StoppingCondition": {"MaxRuntimeInSeconds": 5, "MaxWaitTimeInSeconds": 5}},
        "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true",
    ),
    (
        "wait time too short",
        {
            "EnableManagedSpotTraining": True,
            "StoppingCondition": {"MaxRuntimeInSeconds": 5, "MaxWaitTimeInSeconds": 4},
        },
        "It must be present and be greater than or equal to MaxRuntimeInSeconds",
    ),
    (
        "two instances",
        {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}},
        "InstanceCount 2 is more than this one machine",
    ),
    (
        "unknown image",
        {"AlgorithmSpecification": {"TrainingImage": "registry/pytorch:2", "TrainingInputMode": "File"}},
        "'registry/pytorch:2' is none of them, and what is in it is not here: run it with --on docker",
    ),
    (
        "serving image",
        {"AlgorithmSpecification": {"TrainingImage": "x/kennel-serve@sha256:0a", "TrainingInputMode": "File"}},
        "'x/kennel-serve@sha256:0a' serves models and cannot train",
    ),
    (
        "no bucket",
        {"OutputDataConfig": {"S3OutputPath": "s3://nobody-made-this/out"}},
        r"The bucket of 's3://nobody-made-this/out' is not in the local S3. Create it \(s3.create_bucket",
    ),
    (
        "no objects",
        {"InputDataConfig": [channel("train", f"s3://{BUCKET}/nothing/here")]},
        f'No S3 objects found under S3 URL "s3://{BUCKET}/nothing/here" given in input data source',
    ),
    (
        "no folder",
        {"InputDataConfig": [channel("train", "file:///no/such/folder")]},
        "Channel 'train' has nothing at 'file:///no/such/folder'",
    ),
    (
        "same channel twice",
        {"InputDataConfig": [channel("a", "file:///tmp"), channel("a", "file:///tmp")]},
        "Duplicate channel name 'a'",
    ),
    (
        "checkpoints outside",
        {"CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/x", "LocalPath": "/state"}},
        "Value '/state' at 'checkpointConfig.localPath' cannot be used",
    ),
]


@pytest.mark.parametrize(("changes", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_create_training_job_refuses(client: Client, changes: dict[str, Any], message: str) -> None:
    name = changes.get("TrainingJobName", "refused")
    with pytest.raises(ClientError, match=message) as caught:
        client.train(name, **{key: value for key, value in changes.items() if key != "TrainingJobName"})
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert not (client.runs / name).exists()


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        ("loss=[0-9]+", "Invalid regex 'loss=\\[0-9\\]\\+' of metric 'loss': it has no group"),
        ("loss=([0-9]+", "Invalid regex 'loss=\\(\\[0-9\\]\\+' of metric 'loss': missing \\)"),
        ("(" + "x" * 500 + ")", "Member must have length less than or equal to 500"),
    ],
)
def test_create_training_job_refuses_a_metric_that_cannot_be_found(client: Client, regex: str, message: str) -> None:
    algorithm = {
        "TrainingImage": "kennel-train",
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "loss", "Regex": regex}],
    }
    with pytest.raises(ClientError, match=message):
        client.train("metric", AlgorithmSpecification=algorithm)


def test_job_name_used_twice_is_refused_as_aws_does(client: Client) -> None:
    client.train("twice")
    with pytest.raises(client.sagemaker.exceptions.ResourceInUse) as caught:
        client.train("twice")
    assert caught.value.response["Error"]["Message"] == (
        "Training job names must be unique within an AWS account and region, and a training job with this name already "
        "exists (arn:aws:sagemaker:us-east-1:123456789012:training-job/twice)"
    )
    client.finished_job("twice")


def test_running_job_cannot_be_deleted(client: Client) -> None:
    client.train("busy", steps=1000, orders={"step-s": "0.1"})
    client.wait_for_line("busy", "step=0")
    with pytest.raises(client.sagemaker.exceptions.ResourceInUse, match="is in status InProgress. Stop it."):
        client.sagemaker.delete_training_job(TrainingJobName="busy")
    client.sagemaker.stop_training_job(TrainingJobName="busy")
    client.finished_job("busy")


def test_operation_that_is_not_answered_is_named(client: Client) -> None:
    with pytest.raises(ClientError, match=r"does not answer CreateProcessingJob\. It answers: AddTags, Create") as e:
        client.sagemaker.create_processing_job(
            ProcessingJobName="p",
            ProcessingResources={
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
            },
            AppSpecification={"ImageUri": "x"},
            RoleArn=ROLE,
        )
    assert e.value.response["Error"]["Code"] == "UnknownOperationException"


def test_sts_and_the_default_bucket_are_there(client: Client) -> None:
    assert client.sts.get_caller_identity()["Account"] == "123456789012"
    assert BUCKET in [each["Name"] for each in client.s3.list_buckets()["Buckets"]]
