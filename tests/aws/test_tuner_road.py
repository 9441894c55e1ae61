"""A search with the real programs behind the local SageMaker, from an unmodified SDK v2 script."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sdk_scripts import run_script


def test_an_sdk_v2_tuner_script_runs_unchanged(runs: Path, make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    said = run_script(runs, "sdk_v2_tuner.py", folder, folder / "test" / "001.Red" / "red_000.jpg")
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
    said = run_script(runs, "sdk_v2_tuner_script.py", make_folder())
    assert (said["answer"], said["more"], said["class"]) == ("Completed", "Completed", "PyTorch")
    losses = {row["TrainingJobName"]: row["FinalObjectiveValue"] for row in said["rows"]}
    assert len(losses) == 3 and said["best"] == min(losses, key=losses.__getitem__)
    assert said["final"] == pytest.approx(losses[said["best"]], abs=1e-4)
    assert said["hyperparameters"]["batch_size"] in (32, 64, 128, 256, 512)
    assert said["hyperparameters"]["optimizer"] in ("adam", "sgd momentum")
