"""A search with the real programs behind the local SageMaker, from an unmodified SDK v2 script."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kennel.launch.places import runs_folder
from kennel.local import daemon

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runs folder of its own; whatever a test started on it has ended afterwards."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("KENNEL_RUNS", str(folder))
    yield folder
    daemon.stop(folder)
    left = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in left if str(folder) in command]


def run_script(name: str, *arguments: Path) -> dict[str, Any]:
    """What the script prints as JSON; it is given the endpoint variables only."""
    environ = {**os.environ, **daemon.environment(daemon.ensure(runs_folder()))}
    outcome = subprocess.run(
        [sys.executable, SCRIPTS / name, *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    [line] = [line for line in outcome.stdout.splitlines() if line.startswith('{"answer"')]
    return dict(json.loads(line))


def test_an_sdk_v2_tuner_script_runs_unchanged(runs: Path, make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    said = run_script("sdk_v2_tuner.py", folder, folder / "test" / "001.Red" / "red_000.jpg")
    assert said["answer"]["predictions"][0]["label"] in {"Red", "Green", "Blue"}
    assert (said["status"], said["child"]) == ("Completed", "Completed")
    assert len(said["rows"]) == 3 and said["summaries"] == ["Succeeded"] * 3
    losses = {row["TrainingJobName"]: row["FinalObjectiveValue"] for row in said["rows"]}
    whole = {row["TrainingJobName"] for row in said["rows"] if row["TrainingJobStatus"] == "Completed"}
    assert said["best"] == min(whole, key=lambda name: losses[name])
    assert said["overall"]["MetricName"] == "validation:loss"
    assert said["overall"]["Value"] <= losses[said["best"]] * (1 + 1e-6)
    assert said["hyperparameters"]["batch-size"] in ("4", "8")
    assert said["hyperparameters"]["_tuning_objective_metric"] == "validation:loss"
    archive = json.loads((runs / said["best"] / "job.json").read_text())["description"]["ModelArtifacts"]
    assert archive["S3ModelArtifacts"].endswith(f"{said['best']}/output/model.tar.gz")


def test_a_course_projects_tuning_notebook_runs_unchanged(runs: Path, make_folder: Callable[..., Path]) -> None:
    """A script that somebody wrote, tuned by a PyTorch estimator: categories reach it through the SDK's quoting."""
    said = run_script("sdk_v2_tuner_script.py", make_folder())
    assert (said["answer"], said["more"], said["class"]) == ("Completed", "Completed", "PyTorch")
    losses = {row["TrainingJobName"]: row["FinalObjectiveValue"] for row in said["rows"]}
    assert len(losses) == 3 and said["best"] == min(losses, key=losses.__getitem__)
    assert said["final"] == pytest.approx(losses[said["best"]], abs=1e-4)
    assert said["hyperparameters"]["batch_size"] in (32, 64, 128, 256, 512)
    assert said["hyperparameters"]["optimizer"] in ("adam", "sgd momentum")
