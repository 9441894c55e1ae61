"""A search with the real programs behind the local SageMaker, from an unmodified SDK v2 script."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kennel.local import daemon

SCRIPT = Path(__file__).parent / "scripts" / "sdk_v2_tuner.py"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runs folder of its own; whatever a test started on it has ended afterwards."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("KENNEL_RUNS", str(folder))
    yield folder
    daemon.stop(folder)
    left = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in left if str(folder) in command]


def test_an_sdk_v2_tuner_script_runs_unchanged(runs: Path, make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    environ = {**os.environ, **daemon.environment(daemon.ensure(runs))}
    outcome = subprocess.run(
        [sys.executable, SCRIPT, folder, folder / "test" / "001.Red" / "red_000.jpg"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    [line] = [line for line in outcome.stdout.splitlines() if line.startswith('{"answer"')]
    said = json.loads(line)
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
