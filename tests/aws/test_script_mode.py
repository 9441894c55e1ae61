"""Other people's training scripts, unchanged: the SDK's framework estimators and real scripts, run locally."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local_service import BUCKET, Client
from sdk_scripts import run_script

AWS_IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:1.8-cpu-py36"


def members(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return sorted(tar.getnames())


def test_a_single_script_with_debugger_and_profiler_runs_unchanged(
    runs: Path, make_folder: Callable[..., Path]
) -> None:
    said = run_script(runs, "course_single.py", make_folder(images={"train": 16, "valid": 1, "test": 4}))
    assert said["answer"] == "Completed" and said["image"] == AWS_IMAGE
    log = (runs / said["name"] / "log.txt").read_text()
    assert "Kennel's packages stand in for those of " + AWS_IMAGE in log
    assert "Starting " in log and "--batch_size 8 --epochs 2 --learning_rate 0.001" in log
    assert said["metrics"] == ["Test Loss"]
    # `losses` is named by the hook (every second of 12 steps; 2 batches, twice) and by a rule (every 500th). The SDK
    # sends both in the order of a set, and the one that comes last counts, as on AWS.
    sent = json.loads((runs / said["name"] / "job.json").read_text())["request"]["DebugHookConfig"]
    losses = [each for each in sent["CollectionConfigurations"] if each["CollectionName"] == "losses"]
    assert len(losses) == 2
    is_hooks = "train.save_interval" in losses[-1]["CollectionParameters"]
    assert (said["train_steps"], said["eval_steps"]) == ((6, 4) if is_hooks else (1, 1))
    assert said["losses"] == ["CrossEntropyLoss_output_0"]
    assert set(said["rules"]) == {
        "VanishingGradient",
        "LossNotDecreasing",
        "Overfit",
        "LowGPUUtilization",
        "ProfilerReport",
    }
    assert said["model_data"][0] == said["model_data"][1]
    assert said["hyperparameters"]["epochs"] in ("2", 2)
    assert "model.pth" in members(runs / said["name"] / "model.tar.gz")
    assert "done.txt" in members(runs / said["name"] / "output.tar.gz")
    assert "Test set: Average loss: " in said["output"]


def test_a_source_folder_with_dependencies_runs_unchanged_and_its_failure_has_a_reason(
    runs: Path, make_folder: Callable[..., Path]
) -> None:
    said = run_script(runs, "course_package.py", make_folder())
    assert said["answer"] == "Completed"
    log = (runs / said["name"] / "log.txt").read_text()
    assert "requirements.txt: all of it is installed already." in log
    [line] = [line for line in log.splitlines() if line.startswith("ARGS ")]
    arguments = json.loads(line.removeprefix("ARGS "))
    assert (arguments["epochs"], arguments["lr"], arguments["optimizer"], arguments["k"]) == (2, 0.01, "adam w", 3)
    assert arguments["bool"] == [True, False] and arguments["layers"] == "[1, 2]"
    assert arguments["course"] == "deep learning"
    assert said["model_data"] == f"s3://{BUCKET}/course/output/{said['name']}/output/model.tar.gz"
    assert said["members"] == ["model.pth"]
    assert [metric["MetricName"] for metric in said["metrics"]] == ["validation:accuracy"]
    assert said["attached"] == ["2", said["model_data"]]
    assert 'AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage "RuntimeError: ' in said["reason"]
    assert "(small.py:" in said["reason"] and "exit code: 1" in said["reason"]


def test_a_script_with_checkpoints_is_stopped_and_goes_on(runs: Path, make_folder: Callable[..., Path]) -> None:
    said = run_script(runs, "course_resume.py", make_folder(images={"train": 8, "valid": 1, "test": 2}))
    assert said["answer"] == ["Stopped", "Completed"]
    assert said["keys"] == ["last.pth"]
    first, second = ((runs / said[which] / "log.txt").read_text() for which in ("stopped", "name"))
    assert "told to stop, the last checkpoint is" in first
    assert "resumed at epoch " in second and f"epoch={said['done'] + 1} " in second
    assert (runs / said["name"] / "model.tar.gz").exists()


def packed(files: dict[str, str]) -> bytes:
    """A sourcedir.tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "files", "words"),
    [
        ("absent", None, "There is no object 's3://"),
        ("no program", {"main.py": ""}, "has no 'train.py' ('sagemaker_program', the estimator's entry_point)"),
        ("leaves its folder", {"../../train.py": ""}, "cannot be unpacked: '../../train.py' would be extracted to"),
        (
            "requirements",
            {"train.py": "", "requirements.txt": "no-such-thing==2\n"},
            "requirements.txt asks for what is not installed: no-such-thing==2. Set KENNEL_REQUIREMENTS=install",
        ),
    ],
)
def test_a_source_that_cannot_run_is_refused_before_anything_does(
    client: Client, name: str, files: dict[str, str] | None, words: str
) -> None:
    key = f"broken/{name.replace(' ', '-')}.tar.gz"
    client.s3.create_bucket(Bucket=BUCKET)
    if files is not None:
        client.s3.put_object(Bucket=BUCKET, Key=key, Body=packed(files))
    orders = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": f'"s3://{BUCKET}/{key}"'}
    with pytest.raises(ClientError) as caught:
        client.train("broken-source", orders=orders)
    assert words in str(caught.value)
    assert not (client.runs / "broken-source").exists()


def test_images_and_ways_that_are_not_here_are_refused_in_words(client: Client) -> None:
    aws = {"TrainingImage": AWS_IMAGE, "TrainingInputMode": "File"}
    with pytest.raises(ClientError, match="hyperparameter 'sagemaker_program' names none"):
        client.train("hidden", AlgorithmSpecification=aws)
    with pytest.raises(ClientError, match="'sagemaker_mpi_enabled' asks for MPI, which is not among Kennel's packages"):
        client.train("mpi", orders={"sagemaker_mpi_enabled": "true"})
    groups = [{"InstanceGroupName": "a", "InstanceType": "ml.m5.large", "InstanceCount": 1}]
    with pytest.raises(ClientError, match=r"ResourceConfig.InstanceGroups \(a\) are not supported"):
        client.train("groups", ResourceConfig={"InstanceGroups": groups, "VolumeSizeInGB": 1})


def test_a_channel_is_brought_by_a_manifest(client: Client) -> None:
    client.s3.create_bucket(Bucket=BUCKET)
    client.s3.put_object(Bucket=BUCKET, Key="listed/a/1.txt", Body=b"one")
    client.s3.put_object(Bucket=BUCKET, Key="listed/2.txt", Body=b"two")
    manifest = [{"prefix": f"s3://{BUCKET}/listed/"}, "a/1.txt"]
    client.s3.put_object(Bucket=BUCKET, Key="m.json", Body=json.dumps(manifest).encode())
    source = {
        "S3DataType": "ManifestFile",
        "S3Uri": f"s3://{BUCKET}/m.json",
        "S3DataDistributionType": "ShardedByS3Key",
    }
    channel = {"ChannelName": "train", "DataSource": {"S3DataSource": source}}
    client.train("by-manifest", orders={"look": "1"}, InputDataConfig=[channel])
    assert client.finished_job("by-manifest")["TrainingJobStatus"] == "Completed"
    [seen] = [line for line in (client.runs / "by-manifest" / "log.txt").read_text().splitlines() if "seen=" in line]
    assert json.loads(seen.partition("seen=")[2])["channels"] == {"train/a/1.txt": "one"}
    with pytest.raises(ClientError, match="InputMode 'FastFile' takes S3DataType 'S3Prefix' only"):
        client.train("fast", InputDataConfig=[{**channel, "InputMode": "FastFile"}])
