"""The whole road with the real programs: toolkit, torch, multi-model-server, behind the local SageMaker."""

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kennel import cli
from kennel.launch.jobs import create_training_job, plan_training
from kennel.launch.places import open_place
from kennel.launch.watching.follow import follow_training
from kennel.local import daemon
from local_service import wait_until
from sdk_scripts import run_script


def test_an_sdk_v2_script_runs_unchanged(runs: Path, make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    said = run_script(runs, "sdk_v2.py", folder, folder / "test" / "001.Red" / "red_000.jpg")
    prediction = said["answer"]["predictions"][0]  # type: ignore[index]
    assert prediction["label"] in {"Red", "Green", "Blue"}
    assert sum(entry["probability"] for entry in prediction["top_k"]) == pytest.approx(1, abs=1e-4)
    assert "epoch=2/2 train_loss=" in str(said["output"])
    assert "'MetricName': 'validation:accuracy'" in str(said["output"])
    assert str(said["model_data"]).endswith("/output/model.tar.gz")


def test_a_boto3_script_runs_unchanged(runs: Path, make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    said = run_script(runs, "plain_boto3.py", folder, folder / "test" / "001.Red" / "red_000.jpg")
    assert said["status"] == "Completed"
    assert said["epochs"] == 1
    assert said["answer"]["predictions"][0]["label"] in {"Red", "Green", "Blue"}  # type: ignore[index]


def kennel(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


SMALL = ["-p", "weights=none", "-p", "trainable=all", "-p", "epochs=2", "-p", "batch-size=8", "-p", "image-size=32"]


def test_the_verbs_take_a_folder_to_predictions_and_back_to_nothing(
    runs: Path, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder()
    photos = sorted((folder / "test" / "001.Red").glob("*.jpg"))
    assert kennel("train", "--data", folder, "--name", "first", *SMALL) == 0
    assert "training job first: Completed" in capsys.readouterr().out
    assert {path.name for path in (runs / "first").iterdir()} >= {
        "job.json",
        "ml",
        "model.tar.gz",
        "output.tar.gz",
        "log.txt",
    }

    assert kennel("train", "--data", folder, "--name", "first", *SMALL) == 2
    assert "already exists" in capsys.readouterr().err

    daemon.stop(runs)  # what a run made can be deployed after a restart of the service
    assert kennel("deploy", "first", "--endpoint-name", "e") == 0
    capsys.readouterr()
    assert kennel("invoke", "e", "--json", *photos) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["photo"] for answer in answers] == [str(photo) for photo in photos]
    assert kennel("invoke", "e", photos[0]) == 0
    assert "probability" in capsys.readouterr().out

    assert kennel("list") == 0
    listing = capsys.readouterr().out
    assert "InService" in listing and "Completed" in listing
    assert kennel("delete", "--all") == 0
    assert "deleted endpoint e" in capsys.readouterr().out
    assert kennel("delete", "--endpoint-name", "e") == 2
    assert "There is no endpoint 'e'" in capsys.readouterr().err


def weights_digest(archive: Path) -> str:
    with tarfile.open(archive) as files:
        member = files.extractfile("model.safetensors")
        assert member is not None
        return hashlib.sha256(member.read()).hexdigest()


def test_a_training_stopped_through_the_api_goes_on_to_the_same_weights(
    runs: Path, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*SMALL, "-p", "epochs=12", "-p", "backbone=mobilenet_v3_small", "-p", "patience=0"]
    folder = make_folder(images={"train": 16, "valid": 2, "test": 2})
    assert kennel("train", "--data", folder, "--name", "whole", *settings) == 0

    job = plan_training(folder, name="stopped", hyperparameters=dict(word.split("=") for word in settings[1::2]))
    place = open_place()
    create_training_job(job, place)
    log = runs / "stopped" / "log.txt"
    wait_until(lambda: log.exists() and "epoch=2/12" in log.read_text(), deadline_s=60, what="the second epoch")
    place.sagemaker.stop_training_job(TrainingJobName="stopped")
    assert follow_training("stopped", place)["TrainingJobStatus"] == "Stopped"
    assert "epoch=12/12" not in log.read_text()
    assert (runs / "stopped" / "model.tar.gz").exists()  # the best epoch so far

    assert kennel("train", "--data", folder, "--name", "resumed", "--resume", "stopped", *settings) == 0
    assert "resumed at epoch=" in capsys.readouterr().out
    assert weights_digest(runs / "resumed" / "model.tar.gz") == weights_digest(runs / "whole" / "model.tar.gz")


def test_a_failed_training_says_why_and_ends_with_1(
    runs: Path, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder()
    assert kennel("train", "--data", folder, "--name", "large", "-p", "weights=none", "-p", "batch-size=64") == 1
    said = capsys.readouterr()
    assert "training job large: Failed" in said.out
    assert "batch-size" in said.err and "64" in said.err and "36" in said.err


def test_weights_of_another_architecture_are_refused(
    runs: Path, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import torch

    wrong = tmp_path / "other.pth"
    torch.save({"stem.weight": torch.zeros(3, 3)}, wrong)
    assert kennel("train", "--data", make_folder(), "--name", "wrong", "-p", f"weights={wrong}") == 1
    said = capsys.readouterr().err
    assert "other.pth" in said and "resnet18" in said


@pytest.mark.photos
@pytest.mark.timeout(600)
def test_real_photos_reach_the_published_accuracy_and_the_endpoint_answers_as_the_evaluation(
    runs: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A linear head on ResNet-18: 92.0 % of 200 test photos is what the data set's own page gives."""
    data = shared / "data" / "dogs20"
    assert (
        kennel("train", "--data", data, "--name", "dogs", "-p", f"weights={shared / 'weights' / 'resnet18-half.pth'}")
        == 0
    )
    output = runs / "dogs" / "ml" / "output" / "data"
    evaluation = json.loads((output / "evaluation.json").read_text())
    assert evaluation["test"]["accuracy"] >= 0.92

    assert kennel("deploy", "dogs") == 0
    expected = {
        row["path"]: row for row in map(json.loads, (output / "predictions-test.jsonl").read_text().splitlines())
    }
    assert len(expected) == 200
    hits = sum(row["target"].partition(".")[2] == row["label"] for row in expected.values())
    assert evaluation["test"]["accuracy"] == hits / 200
    runtime = open_place().runtime
    for path, row in expected.items():
        body = (data / "test" / path).read_bytes()
        response = runtime.invoke_endpoint(EndpointName="dogs", Body=body, ContentType="image/jpeg")
        prediction = json.loads(response["Body"].read())["predictions"][0]
        assert prediction["label"] == row["label"], path
        assert prediction["probability"] == pytest.approx(row["probability"], abs=1e-3), path
