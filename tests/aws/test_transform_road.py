"""Batch transform with the real programs: the SDK's script, and the verb on a folder of pictures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kennel import cli
from kennel.launch.places import open_place, runs_folder
from sdk_scripts import run_script

SMALL = ["-p", "weights=none", "-p", "trainable=all", "-p", "epochs=2", "-p", "batch-size=8", "-p", "image-size=32"]


def kennel(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def trained(runs: Path, make_folder: Callable[..., Path]) -> Path:
    """A folder of pictures that a job called `first` was trained on."""
    folder = make_folder()
    assert kennel("train", "--data", folder, "--name", "first", *SMALL) == 0
    return folder


def test_verb_predicts_every_picture_as_an_endpoint_does(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copy(trained / "test" / "001.Red" / "red_000.jpg", trained / "test" / "top.jpeg")
    assert kennel("transform", "first", "--input", trained / "test", "--output", out) == 0
    printed = capsys.readouterr().out
    assert "13 of 13 files" in printed and "001.Red/red_000.jpg" in printed and "%" in printed
    assert kennel("deploy", "first", "--endpoint-name", "e") == 0
    runtime = open_place().runtime
    pictures = sorted(path for path in (trained / "test").rglob("*.*") if path.is_file())
    assert len(pictures) == 13
    for picture in pictures:
        answer = json.loads((out / f"{picture.relative_to(trained / 'test')}.out").read_text())
        response = runtime.invoke_endpoint(EndpointName="e", Body=picture.read_bytes(), ContentType="image/jpeg")
        assert answer == json.loads(response["Body"].read())["predictions"][0]
    assert not open_place().sagemaker.list_models(NameContains="batch")["Models"]

    s3 = open_place().client("s3")
    s3.create_bucket(Bucket="photos")
    for picture in pictures[:2]:
        s3.put_object(Bucket="photos", Key=f"in/{picture.name}", Body=picture.read_bytes())
    assert kennel("transform", "first", "--input", "s3://photos/in", "--output", "s3://photos/out") == 0
    printed = capsys.readouterr().out
    assert "2 of 2 files" in printed and "outputs: s3://photos/out/<file>.out" in printed and "%" in printed

    (trained / "test" / "001.Red" / "broken.jpg").write_bytes(b"no picture")
    assert kennel("transform", "first", "--input", trained / "test", "--output", tmp_path / "out2") == 1
    told = capsys.readouterr()
    assert f"1 of 14 objects failed, the first: {trained}/test/001.Red/broken.jpg: 4" in told.err
    assert "13 of 14 files" in told.out
    assert kennel("transform", "first", "--input", trained / "test", "--output", out) == 2
    assert "is there already and not empty" in capsys.readouterr().err


def test_an_sdk_v2_transformer_script_runs_unchanged(trained: Path) -> None:
    said = run_script(runs_folder(), "sdk_v2_transformer.py", trained / "test" / "001.Red", "first")
    assert said["answer"]["names"] == [f"red_00{number}.jpg.out" for number in range(4)]
    predictions = [said["answer"]["first"]["predictions"], *(line["predictions"] for line in said["answer"]["lines"])]
    assert len(predictions) == 5 and predictions[0] == predictions[1]
    assert said["attached"][1:3] == ["SingleRecord", "Line"]
