"""Trainings forked from a nursery are trainings like others: their log, status, signals and end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from kennel.training.library_settings import LIBRARY_SETTINGS

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = {"weights": "none", "image-size": "32", "batch-size": "6", "patience": "0", "epochs": "2"}
LIMIT_S = 120


@dataclass
class Nursery:
    """A nursery, and trainings that may ask for it."""

    folder: Path
    pictures: Path
    process: "subprocess.Popen[bytes]"
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def start(self, name: str, *, environ: dict[str, str] | None = None, **changes: str) -> "subprocess.Popen[str]":
        """train.py as the toolkit starts it, in a folder of its own."""
        base = self.folder / name
        (base / "input" / "data").mkdir(parents=True, exist_ok=True)
        if not (base / "input" / "data" / "train").exists():
            (base / "input" / "data" / "train").symlink_to(self.pictures)
        settings = {**TINY, **{key.replace("_", "-"): value for key, value in changes.items()}}
        words = [word for key, value in settings.items() for word in (f"--{key}", value)]
        return self._run(["train.py", *words], base, {**LIBRARY_SETTINGS, **(environ or {})})

    def start_toolkit(self, name: str, **changes: str) -> "subprocess.Popen[str]":
        """What the local SageMaker starts for a trial."""
        base = self.folder / name
        config = base / "input" / "config"
        config.mkdir(parents=True)
        (base / "input" / "data").mkdir()
        (base / "input" / "data" / "train").symlink_to(self.pictures)
        (config / "hyperparameters.json").write_text(json.dumps({**TINY, **changes}))
        (config / "inputdataconfig.json").write_text(json.dumps({"train": {"TrainingInputMode": "File"}}))
        (config / "resourceconfig.json").write_text(json.dumps({"current_host": "localhost", "hosts": ["localhost"]}))
        program = {"SAGEMAKER_PROGRAM": "train.py", "SAGEMAKER_TRAINING_MODULE": "kennel.training.toolkit:main"}
        command = ["-P", "-m", "kennel.training.elsewhere", str(Path(sys.executable).with_name("train"))]
        return self._run(command, base, program)

    def _run(self, words: list[str], base: Path, environ: dict[str, str]) -> "subprocess.Popen[str]":
        training = subprocess.Popen(
            [sys.executable, *words],
            cwd=REPOSITORY / "code",
            env={
                **os.environ,
                "SAGEMAKER_BASE_DIR": str(base),
                "KENNEL_SHARED_DIR": str(self.folder / "shared"),
                **environ,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(training)
        return training

    def forked(self) -> psutil.Process:
        """The one training that this nursery has forked."""
        nursery = psutil.Process(self.process.pid)
        wait_for(nursery.children)
        (child,) = nursery.children()
        return child

    def end(self) -> None:
        for process in (*self.started, self.process):
            if process.poll() is None:
                process.kill()
            process.wait(LIMIT_S)
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def nursery(tmp_path: Path, make_folder: Callable[..., Path]) -> Iterator[Nursery]:
    shared = tmp_path / "shared"
    shared.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "kennel.training.nursery", str(shared)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "code")},
    )
    found = Nursery(tmp_path, make_folder(), process)
    try:
        wait_for(lambda: (shared / "nursery.sock").exists())
        yield found
    finally:
        found.end()


def wait_for(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def output_of(training: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = training.communicate(timeout=LIMIT_S)
    return training.returncode, output


def read_until(training: "subprocess.Popen[str]", beginning: str) -> None:
    assert training.stdout is not None
    for line in training.stdout:
        if line.startswith(beginning):
            return
    raise AssertionError(f"no line began with {beginning}")


def test_two_trainings_at_once_are_forked_log_and_end_as_their_own(nursery: Nursery) -> None:
    good, bad = nursery.start("good"), nursery.start("bad", batch_size="1000")
    (status, output), (refused, reason) = output_of(good), output_of(bad)
    assert status == 0 and "epoch=2/2" in output and "final valid_loss=" in output
    assert (nursery.folder / "good" / "model" / "model.safetensors").is_file()
    assert refused == 2 and "batch-size 1000 is larger than the 36 training images" in reason
    assert (nursery.folder / "bad" / "output" / "failure").read_text().startswith("HyperparameterError")
    # Imports are the nursery's: who asked has not loaded torch.
    again = nursery.start("again", epochs="300")
    read_until(again, "epoch=1/")
    assert "libtorch" not in Path("/proc", str(again.pid), "maps").read_text()
    nursery.process.terminate()  # lets what it forked come to its end
    assert nursery.process.poll() is None
    again.terminate()
    assert output_of(again)[0] == 128 + signal.SIGTERM
    assert nursery.process.wait(LIMIT_S) == 0
    assert not (nursery.folder / "shared" / "nursery.sock").exists()


def test_sigterm_reaches_the_forked_training_which_leaves_a_checkpoint(nursery: Nursery) -> None:
    training = nursery.start("stopped", epochs="300")
    read_until(training, "epoch=2/")
    training.terminate()
    status, output = output_of(training)
    assert status == 128 + signal.SIGTERM
    assert "stopped by SIGTERM: start the job again to go on" in output
    assert list((nursery.folder / "stopped" / "checkpoints").glob("*.safetensors"))


def test_a_training_dies_with_who_asked_for_it_and_with_its_nursery(nursery: Nursery) -> None:
    training = nursery.start("killed", epochs="300")
    read_until(training, "epoch=1/")
    forked = nursery.forked()
    training.kill()
    assert forked.wait(LIMIT_S) is None or not forked.is_running()

    training = nursery.start("orphaned", epochs="300")
    read_until(training, "epoch=1/")
    nursery.process.kill()
    assert output_of(training)[0] == -signal.SIGKILL


def test_a_training_that_was_killed_is_told_as_killed(nursery: Nursery) -> None:
    training = nursery.start("memory", epochs="300")
    read_until(training, "epoch=1/")
    nursery.forked().kill()
    assert output_of(training)[0] == -signal.SIGKILL


def test_a_training_with_other_settings_of_threads_or_without_a_nursery_trains_by_itself(nursery: Nursery) -> None:
    training = nursery.start("threads", environ={"OMP_NUM_THREADS": "2"}, epochs="300")
    read_until(training, "epoch=1/")
    assert "libtorch" in Path("/proc", str(training.pid), "maps").read_text()
    assert not psutil.Process(nursery.process.pid).children()
    training.terminate()
    assert output_of(training)[0] == 128 + signal.SIGTERM

    nursery.process.kill()
    nursery.process.wait(LIMIT_S)
    status, output = output_of(nursery.start("alone"))
    assert status == 0 and "shared=read" in output


def test_the_toolkit_is_forked_as_its_training_is(nursery: Nursery) -> None:
    training = nursery.start_toolkit("trial", epochs="300")
    read_until(training, "epoch=1/")
    forked = psutil.Process(nursery.process.pid).children()
    assert len(forked) == 2
    # Who was asked for has not imported the toolkit; what it stands for runs train.py as ever.
    toolkit = next(each for each in forked if each.children())
    assert [each.cmdline()[1:3] for each in toolkit.children()] == [["--", "train.py"]]
    assert not psutil.Process(training.pid).children()
    training.terminate()
    status, output = output_of(training)
    assert status == 128 + signal.SIGTERM and "train.py was told to stop" in output
    assert list((nursery.folder / "trial" / "checkpoints").glob("*.safetensors"))
    assert not any(each.is_running() for each in forked)


def test_a_forked_toolkit_dies_with_who_asked_for_it(nursery: Nursery) -> None:
    training = nursery.start_toolkit("killed", epochs="300")
    read_until(training, "epoch=1/")
    family = psutil.Process(nursery.process.pid).children(recursive=True)
    training.kill()
    _, alive = psutil.wait_procs(family, LIMIT_S)
    assert not alive


def test_without_a_nursery_the_toolkit_is_run(nursery: Nursery) -> None:
    nursery.process.kill()
    nursery.process.wait(LIMIT_S)
    status, output = output_of(nursery.start_toolkit("alone"))
    assert status == 0 and "Reporting training SUCCESS" in output
    status, output = output_of(nursery.start_toolkit("refused", **{"batch-size": "1000"}))
    assert status == 2 and "batch-size 1000 is larger than the 36 training images" in output
