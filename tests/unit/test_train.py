"""code/train.py, run in this process: what a person reads when a training cannot go on."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from kennel.metrics import read_metrics
from kennel.model.archive import read_archive

TINY = {"weights": "none", "image-size": "32", "batch-size": "6", "patience": "0", "epochs": "1"}


@dataclass(frozen=True)
class Job:
    base: Path
    output: Callable[[], str]

    def run(self, **changes: str) -> int:
        """The exit status of a training with TINY's hyperparameters and these (written with underscores)."""
        settings = {**TINY, **{name.replace("_", "-"): value for name, value in changes.items()}}
        return train.main([word for name, value in settings.items() for word in (f"--{name}", value)])

    @property
    def failure(self) -> str:
        return (self.base / "output" / "failure").read_text()

    @property
    def pictures(self) -> Path:
        return self.base / "input" / "data" / "train"


@pytest.fixture
def job(
    tmp_path: Path,
    make_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Job]:
    """A job on three colours; the process's signal handlers are put back."""
    base = tmp_path / "ml"
    (base / "input" / "data").mkdir(parents=True)
    (base / "input" / "data" / "train").symlink_to(make_folder())
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(base))
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    yield Job(base, lambda: capsys.readouterr().out)
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        (
            {"lr": "0"},
            2,
            "HyperparameterError: Hyperparameter 'lr' has value '0'. Expected a number, 0 to 10, 0 excluded",
        ),
        ({"batch_size": "37"}, 2, "HyperparameterError: batch-size 37 is larger than the 36 training images."),
        ({"backbone": "resnet19"}, 2, "HyperparameterError: Unknown backbone 'resnet19'. Did you mean 'resnet18'?"),
        ({"trainable": "layer5"}, 2, "HyperparameterError: Hyperparameter 'trainable' has value 'layer5'"),
        ({"weights": "/none.pth"}, 4, "WeightsError: There is no file /none.pth"),
    ],
)
def test_wrong_setting_is_named(job: Job, changes: dict[str, str], status: int, message: str) -> None:
    assert job.run(**changes) == status
    assert job.failure.splitlines()[0].startswith(message)


def test_truncated_picture_is_named_and_left_out_when_asked(job: Job) -> None:
    broken = job.pictures / "train" / "002.Green" / "green_003.jpg"
    broken.write_bytes(broken.read_bytes()[:400])
    assert job.run() == 3
    assert re.match(r"DataError: .*green_003.jpg is cut short or damaged .*-p bad-data=skip", job.failure)
    assert job.run(bad_data="skip") == 0
    assert "data classes=3 train=35 " in job.output()


def test_text_named_jpg_is_named(job: Job) -> None:
    (job.pictures / "train" / "002.Green" / "notes.jpg").write_text("no picture")
    assert job.run() == 3
    assert re.match(r"DataError: .*notes.jpg is not an image", job.failure)


def test_empty_folder_is_named(job: Job, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    job.pictures.unlink()
    job.pictures.symlink_to(tmp_path / "empty")
    assert job.run() == 3
    assert re.match(
        r"FolderError: .*is empty: it has no class folders. Expected train/<class>/<image>.jpg", job.failure
    )


def test_finished_training_started_again_goes_straight_to_the_archive(job: Job) -> None:
    assert job.run(epochs="2") == 0
    weights = load_file(job.base / "model" / "model.safetensors")
    shutil.rmtree(job.base / "model")
    job.output()
    assert job.run(epochs="2") == 0
    output = job.output()
    assert "resumed at the end" in output
    assert "epoch=1/2" not in output
    again = load_file(job.base / "model" / "model.safetensors")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in again.items())


def test_checkpoint_of_other_settings_is_not_gone_on_from(job: Job) -> None:
    assert job.run() == 0
    assert job.run(epochs="2") == 4
    assert "epochs was 1 and is 2" in job.failure
    assert f"or empty {job.base / 'checkpoints'}" in job.failure


def test_training_without_test_pictures_says_so(job: Job) -> None:
    shutil.rmtree(job.pictures / "test")
    assert job.run() == 0
    output = job.output()
    assert "data classes=3 train=36 valid=12 test=0 " in output
    assert "no test images were evaluated" in output
    final, history = read_metrics(output.splitlines()[-1]), (job.base / "output" / "data" / "history.json").read_text()
    assert final["validation:loss"] == pytest.approx(min(each["valid_loss"] for each in json.loads(history)), rel=1e-5)
    assert not any(name.startswith("test:") for name in final)
    evaluation = json.loads((job.base / "output" / "data" / "evaluation.json").read_text())
    assert evaluation["test"] is None and evaluation["valid"]["images"] == 12
    assert read_archive(job.base / "model").card.metrics.keys() == {"valid"}


def test_unexpected_error_leaves_its_place(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("nobody thought of this")

    monkeypatch.setattr("kennel.training.job.run_job", fail)
    assert job.run() == 1
    assert re.match(r"Unexpected ValueError: nobody thought of this \(test_train.py:\d+\)\n", job.failure)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("full", ["checkpoints", "model"])
def test_full_disk_is_named_and_leaves_nothing_that_looks_whole(job: Job, small_disk: Path, full: str) -> None:
    (job.base / full).symlink_to(small_disk)
    assert job.run(trainable="all" if full == "checkpoints" else "head") == 1
    assert re.match(
        rf"DiskFullError: No space left on device while writing {job.base / full}.* "
        r"\(needs about \d+\.\d MB\). Free space",
        job.failure,
    )
    assert not list(small_disk.glob("*.safetensors")) and not list(small_disk.glob("*.json"))
