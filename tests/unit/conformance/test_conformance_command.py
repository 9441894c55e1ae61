import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kennel import cli
from kennel.conformance.command import read_request
from kennel.conformance.containers import _is_abandoned, _owner
from kennel.errors import UserError


def parse(*arguments: str) -> object:
    return cli.parser().parse_args(["conformance", *arguments])


def test_every_option_reaches_the_request(tmp_path: Path) -> None:
    body = tmp_path / "dog.jpg"
    body.write_bytes(b"x")
    options = [
        "--channel",
        f"data={tmp_path}",
        "-p",
        "epochs=2",
        "-p",
        "name=a=b",
        "--metric",
        r"train:loss=loss=(\d+)",
    ]
    options += ["--request", str(body), "--content-type", "image/jpeg", "--only", "train", "--skip", "train.resume"]
    request = read_request(parse("one", "two", *options, "--memory-mb", "512", "--stop-grace", "3"))  # type: ignore[arg-type]
    assert request.images == ("one", "two")
    assert request.channels == {"data": tmp_path}
    assert request.hyperparameters == {"epochs": "2", "name": "a=b"}
    assert request.metrics == {"train:loss": r"loss=(\d+)"}
    assert request.request == {"file": str(body), "content_type": "image/jpeg"}
    assert request.selection.has("train.sigterm")
    assert not request.selection.has("train.resume")
    assert not request.selection.has("image.words")
    assert (request.memory_mb, request.stop_grace_s) == (512, 3.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-p", "epochs"], "-p 'epochs' is not of the form name=value"),
        (["--channel", "=x"], "--channel '=x' is not of the form"),
        (["--request", "/nowhere/dog.jpg"], "--request /nowhere/dog.jpg is no file"),
    ],
)
def test_a_wrong_option_is_named(options: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_request(parse("image", *options))  # type: ignore[arg-type]


# docker-py leaves the socket of a refused connection to the garbage collector, which therefore must come by here.
@pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")
def test_without_docker_a_sentence_and_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    assert cli.main(["conformance", "image"]) == 2
    gc.collect()
    assert "No Docker Engine answers" in capsys.readouterr().err


def test_containers_of_a_dead_process_are_abandoned_and_of_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    living = _owner(process.pid)
    assert not _is_abandoned(living)
    process.communicate(b"\n")
    assert _is_abandoned(living)
    mine = _owner(os.getpid())
    assert not _is_abandoned(mine)
    assert _is_abandoned(mine + "0")  # the number is in use again, by a process that began at another time
    assert not _is_abandoned("another-machine/" + living.partition("/")[2])
    assert not _is_abandoned("")
