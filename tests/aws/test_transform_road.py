"""Batch transform with the real programs: the SDK's script, and the verb on a folder of pictures."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kennel import cli
from kennel.launch.places import open_place, runs_folder
from kennel.local import daemon

SCRIPT = Path(__file__).parent / "scripts" / "sdk_v2_transformer.py"
SMALL = ["-p", "weights=none", "-p", "trainable=all", "-p", "epochs=2", "-p", "batch-size=8", "-p", "image-size=32"]


def kennel(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_folder: Callable[..., Path]) -> Iterator[Path]:
    """A folder of pictures that a job called `first` was trained on; whatever runs has ended afterwards."""
    monkeypatch.setenv("KENNEL_RUNS", str(tmp_path / "runs"))
    folder = make_folder()
    try:
        assert kennel("train", "--data", folder, "--name", "first", *SMALL) == 0
        yield folder
    finally:
        daemon.stop(tmp_path / "runs")
    left = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in left if str(tmp_path / "runs") in command]


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

    (trained / "test" / "001.Red" / "broken.jpg").write_bytes(b"no picture")
    assert kennel("transform", "first", "--input", trained / "test", "--output", tmp_path / "out2") == 1
    told = capsys.readouterr()
    assert f"1 of 14 objects failed, the first: {trained}/test/001.Red/broken.jpg: 4" in told.err
    assert "13 of 14 files" in told.out
    assert kennel("transform", "first", "--input", trained / "test", "--output", out) == 2
    assert "is there already and not empty" in capsys.readouterr().err


def test_an_sdk_v2_transformer_script_runs_unchanged(trained: Path) -> None:
    environ = {**os.environ, **daemon.environment(daemon.ensure(runs_folder()))}
    outcome = subprocess.run(
        [sys.executable, SCRIPT, trained / "test" / "001.Red", "first"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    said = json.loads(outcome.stdout.splitlines()[-1])
    assert said["answer"]["names"] == [f"red_00{number}.jpg.out" for number in range(4)]
    predictions = [said["answer"]["first"]["predictions"], *(line["predictions"] for line in said["answer"]["lines"])]
    assert len(predictions) == 5 and predictions[0] == predictions[1]
    assert said["attached"][1:3] == ["SingleRecord", "Line"]
