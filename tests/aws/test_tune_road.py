"""The whole road of a search by the command line: its checks, its lines, its end, its report, and the best trained."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kennel import cli
from kennel.local import daemon
from local_service import Client, wait_until

HERE = Path(__file__).parent
RANGES = {
    "ContinuousParameterRanges": [
        {"Name": "lr", "MinValue": "0.0001", "MaxValue": "0.4", "ScalingType": "Logarithmic", "Reason": "matters"}
    ],
    "CategoricalParameterRanges": [{"Name": "batch-size", "Values": ["4", "8"]}],
}
EPOCHS = ["-p", "epochs=2"]


@pytest.fixture
def quick(own_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runs folder of its own, where a training takes a moment."""
    monkeypatch.setenv("KENNEL_RUNS", str(own_runs))
    monkeypatch.setenv("KENNEL_TRAIN_COMMAND", f"{sys.executable} -S {HERE / 'stand_in_epochs.py'}")
    return own_runs


@pytest.fixture
def ranges(tmp_path: Path) -> Path:
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps(RANGES))
    return path


def kennel(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def trials_of(runs: Path, name: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((runs / name / "trials.json").read_text())
    return found


def test_a_search_ends_with_its_best_and_a_training_takes_it_over(
    quick: Path, ranges: Path, make_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, weights = make_folder(), tmp_path / "weights.pth"
    weights.write_bytes(b"weights")
    settled = [*EPOCHS, "-p", f"weights={weights}"]
    assert kennel("tune", "--data", folder, "--ranges", ranges, "--name", "look", "--max-jobs", 5, *settled) == 0
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("trial=")]
    assert sorted(line.split()[0] for line in lines) == [f"trial={number:03}" for number in range(1, 6)]
    assert "      matters" in said
    trials = trials_of(quick, "look")
    best = min(trials, key=lambda each: each["objective"])  # type: ignore[arg-type,return-value]  # floats, all found
    found = re.search(r"best: (\S+)  validation:loss=(\S+)\n  (.*)\n", said)
    assert found is not None
    assert found.group(1) == best["TrainingJobName"]
    assert float(found.group(2)) == pytest.approx(best["objective"])
    assert f"train with them: scripts/train.sh --data {folder} --best-of look" in said
    report = json.loads((quick / "look" / "report.json").read_text())
    assert report["best"]["name"] == best["TrainingJobName"]
    assert f"report: {quick / 'look' / 'report.html'}" in said

    assert kennel("train", "--data", folder, "--best-of", "look", "-p", "epochs=3", "--name", "longer") == 0
    said = capsys.readouterr().out
    assert f"of {best['TrainingJobName']}, the best of look: " in said
    job = json.loads((quick / "longer" / "job.json").read_text())["description"]
    given = dict(word.split("=") for word in found.group(3).replace("-p ", "").split())
    assert {name: text.strip('"') for name, text in job["HyperParameters"].items()} == {**given, "epochs": "3"}
    channels = {each["ChannelName"]: each["DataSource"]["S3DataSource"]["S3Uri"] for each in job["InputDataConfig"]}
    assert channels == {"data": folder.as_uri(), "weights": weights.as_uri()}

    assert kennel("list") == 0
    listing = capsys.readouterr().out
    assert "5 completed" in listing
    assert listing.count("look") == 1  # its trainings are counted, not listed


def test_a_search_goes_on_from_another(
    quick: Path, ranges: Path, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder()
    search = ["tune", "--data", folder, "--ranges", ranges, *EPOCHS, "--max-jobs", 2]
    assert kennel(*search, "--name", "first") == 0
    assert kennel(*search, "--name", "second", "--warm-start", "first") == 0
    report = json.loads((quick / "second" / "report.json").read_text())
    assert report["parents"] == ["first"]
    assert report["counts"]["parents"] == 2
    assert report["counts"]["trainings"] == 2
    best = min(each["objective"] for each in report["trials"])
    assert report["best"]["objective"] == best
    capsys.readouterr()
    assert kennel("report", "second") == 0
    assert "report: " in capsys.readouterr().out


def test_a_grid_tries_every_combination_and_failures_are_told(
    quick: Path, tmp_path: Path, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    grid = tmp_path / "grid.json"
    lists = [{"Name": "lr", "Values": ["0.01", "0.9"]}, {"Name": "batch-size", "Values": ["4", "8"]}]
    grid.write_text(json.dumps({"CategoricalParameterRanges": lists}))
    folder = make_folder()
    assert kennel("tune", "--data", folder, "--ranges", grid, "--strategy", "Grid", "--name", "g", *EPOCHS) == 0
    said = capsys.readouterr().out
    assert "Grid, 4 trainings, 2 side by side" in said
    failed = [line for line in said.splitlines() if "state=Failed" in line]
    assert len(failed) == 2
    assert all("reason: " in line and "lr 0.9: the loss is nan" in line for line in failed)
    assert "4 trainings (2 completed, 2 failed)" in said
    assert json.loads((quick / "g" / "report.json").read_text())["counts"]["failed"] == 2


def test_hyperband_measures_by_the_epochs(quick: Path, ranges: Path, make_folder: Callable[..., Path]) -> None:
    search = ["tune", "--data", make_folder(), "--ranges", ranges, "--strategy", "Hyperband", "--name", "h"]
    assert kennel(*search, "--max-jobs", 4, "-p", "epochs=4", "--objective", "validation:loss") == 0
    assert len(trials_of(quick, "h")) == 4


def test_a_search_in_which_everything_fails_has_a_reason_and_a_report(
    quick: Path, tmp_path: Path, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"CategoricalParameterRanges": [{"Name": "lr", "Values": ["0.8", "0.9"]}]}))
    folder = make_folder()
    assert kennel("tune", "--data", folder, "--ranges", bad, "--name", "bad", "--max-jobs", 2, *EPOCHS) == 1
    said = capsys.readouterr().out
    assert "tuning job bad: Failed" in said
    assert "there is no best one" in said
    assert json.loads((quick / "bad" / "report.json").read_text())["best"] is None
    assert kennel("train", "--data", folder, "--best-of", "bad") == 2
    assert "Tuning job 'bad' is Failed and has no best training" in capsys.readouterr().err


def test_ctrl_c_stops_the_search_and_keeps_what_was_found(
    quick: Path, ranges: Path, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATIENT_EPOCH_S", "0.3")
    folder = make_folder()
    client = Client(daemon.start(quick))
    command = [sys.executable, "-m", "kennel.cli", "tune", "--data", str(folder), "--ranges", str(ranges)]
    search = subprocess.Popen(
        [*command, "--name", "long", "--max-jobs", "200", *EPOCHS],
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would this one if the tests are such a job.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_until(lambda: (quick / "long" / "trials.json").exists(), what="the first training")
        wait_until(lambda: any(each["status"] == "Completed" for each in trials_of(quick, "long")), what="a result")
        assert kennel("train", "--data", folder, "--best-of", "long") == 2  # it still searches
        search.send_signal(signal.SIGINT)
        said, _ = search.communicate(timeout=120)
    finally:
        search.kill()
        search.wait()
    assert search.returncode == 1, said
    assert "stopping long (again Ctrl-C does not wait for it)" in said
    assert "tuning job long: Stopped" in said
    assert "train with them: " in said
    state = client.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="long")
    assert state["HyperParameterTuningJobStatus"] == "Stopped"
    assert kennel("train", "--data", folder, "--best-of", "long", "--name", "of-the-stopped") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-jobs", "0"], "--max-jobs 0: expected 1 to 750"),
        (["--max-jobs", "2", "--max-parallel-jobs", "3"], "more than the 2 trainings in all"),
        (["--name", "under_score"], "Try 'under-score'"),
        (["-p", "lr=0.1"], "Hyperparameter 'lr' is set by -p and has a range"),
        (["-p", "epoch=1"], "Did you mean 'epochs'"),
        (["--strategy", "Grid"], "--strategy Grid tries lists of values"),
        (["--objective", "validation:acuracy"], "Did you mean 'validation:accuracy'"),
    ],
    ids=str,
)
def test_what_cannot_be_searched_is_refused_before_a_service_is_started(
    quick: Path,
    ranges: Path,
    make_folder: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    assert kennel("tune", "--data", make_folder(), "--ranges", ranges, *arguments) == 2
    assert words in capsys.readouterr().err
    assert not quick.exists()


def test_pictures_and_batch_sizes_are_checked_before_anything_starts(
    quick: Path, tmp_path: Path, ranges: Path, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder()
    large = tmp_path / "large.json"
    sizes = [{"Name": "batch-size", "Values": ["8", "64"]}]
    large.write_text(json.dumps({"CategoricalParameterRanges": sizes}))
    assert kennel("tune", "--data", folder, "--ranges", large) == 2
    assert "batch sizes above 36, the number of training images" in capsys.readouterr().err
    (folder / "train" / "001.Red" / "red_000.jpg").write_bytes(b"")
    assert kennel("tune", "--data", folder, "--ranges", ranges) == 3
    assert "red_000.jpg" in capsys.readouterr().err
    assert not quick.exists()


def test_the_best_of_what_is_no_search_is_refused(
    quick: Path, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert kennel("train", "--data", make_folder(), "--best-of", "nothing") == 2
    assert "There is no tuning job 'nothing'" in capsys.readouterr().err


@pytest.mark.photos
def test_a_search_on_photos_by_the_real_programs(
    runs: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six trainings of a ResNet-18 head by the recommended ranges, then the best with more epochs."""
    folder = tmp_path / "five dogs"
    for split, count in (("train", 12), ("valid", 6), ("test", 4)):
        for breed in sorted((shared / "data" / "dogs20" / split).iterdir())[:5]:
            target = folder / split / breed.name
            target.mkdir(parents=True)
            for photo in sorted(breed.glob("*.jpg"))[:count]:
                shutil.copy(photo, target)
    weights = shared / "weights" / "resnet18-half.pth"
    settled = ["-p", f"weights={weights}", "-p", "epochs=4"]
    search = ["tune", "--data", folder, "--name", "dogs", "--max-jobs", 6, "--strategy", "Random", "--seed", 1]
    assert kennel(*search, *settled) == 0
    said = capsys.readouterr().out
    assert "batch sizes above 60, the number of training images, are left out" in said
    trials = trials_of(runs, "dogs")
    assert [each["status"] for each in trials] == ["Completed"] * 6
    objectives = [float(str(each["objective"])) for each in trials]
    assert len(set(objectives)) > 3
    report = json.loads((runs / "dogs" / "report.json").read_text())
    assert [each["objective"] for each in report["trials"]] == objectives
    assert report["best"]["objective"] == min(objectives)
    assert not [each for each in report["advice"] if each["severity"] == "fault"]

    assert kennel("train", "--data", folder, "--best-of", "dogs", "-p", "epochs=5", "--name", "best") == 0
    said = capsys.readouterr().out
    assert "epoch=1/5 " in said
    assert f"weights: {weights.resolve().as_uri()}" in said
    history = json.loads((runs / "best" / "ml" / "output" / "data" / "history.json").read_text())
    assert min(row["valid_loss"] for row in history) < 1.2 * min(objectives)
