"""train.py as a job's program, watched as SageMaker's files or a hyperparameter ask: what it leaves, and where."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kennel.debug.tensors import Trial, open_trial
from kennel.model.archive import read_archive

REPOSITORY = Path(__file__).resolve().parents[2]
WHOLE = {
    "weights": "none",
    "image-size": "32",
    "batch-size": "6",
    "patience": "0",
    "epochs": "3",
    "backbone": "mobilenet_v3_small",
    "trainable": "all",
}
HEAD = {**WHOLE, "trainable": "head", "head": "16", "backbone": "resnet18"}
# As SDK v2 sends it where a job asks for a hook and no more.
NULLS = {"S3OutputPath": "s3://bucket/x", "LocalPath": None, "HookParameters": None, "CollectionConfigurations": None}
RAW = {
    "S3OutputPath": "s3://bucket/x",
    "LocalPath": "/opt/ml/output/tensors/",
    "HookParameters": {"save_interval": "2"},
    "CollectionConfigurations": [
        {"CollectionName": name, "CollectionParameters": None}
        for name in ("weights", "gradients", "biases", "losses", "relu_input")
    ],
}
PROFILER = {"S3OutputPath": "s3://bucket/x", "ProfilingIntervalInMilliseconds": 500, "DisableProfiler": False}


@dataclass(frozen=True)
class Job:
    base: Path

    def start(self, hyperparameters: dict[str, str]) -> "subprocess.Popen[str]":
        words = [word for name, value in hyperparameters.items() for word in (f"--{name}", value)]
        return subprocess.Popen(
            [sys.executable, REPOSITORY / "code" / "train.py", *words],
            env={**os.environ, "SAGEMAKER_BASE_DIR": str(self.base), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, hyperparameters: dict[str, str]) -> str:
        process = self.start(hyperparameters)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        return output

    def configure(self, name: str, content: dict[str, Any]) -> None:
        (self.base / "input" / "config" / f"{name}.json").write_text(json.dumps(content))

    @property
    def output(self) -> Path:
        return self.base / "output"

    @property
    def trial(self) -> Trial:
        return open_trial(self.output / "tensors")

    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.base / "model" / "model.safetensors")


@pytest.fixture
def make_job(tmp_path: Path, make_folder: Callable[..., Path]) -> Callable[[str], Job]:
    def make(name: str) -> Job:
        base = tmp_path / name
        (base / "input" / "config").mkdir(parents=True)
        (base / "input" / "data").mkdir()
        (base / "input" / "data" / "train").symlink_to(tmp_path / "pictures")
        return Job(base)

    make_folder()
    return make


def is_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_job_is_watched_as_its_configuration_asks_and_its_model_is_the_same(make_job: Callable[[str], Job]) -> None:
    plain, watched = make_job("plain"), make_job("watched")
    output = plain.run(WHOLE)
    assert "\ndebug" not in output
    assert {path.name for path in plain.output.iterdir()} == {"data"}
    watched.configure("debughookconfig", NULLS)
    watched.configure("profilerconfig", PROFILER)
    output = watched.run(WHOLE)
    assert "\ndebug saved_steps=" in output and "INFO" not in output
    assert is_same(plain.weights(), watched.weights())
    cards = [json.loads((job.base / "model" / "model.json").read_text()) for job in (plain, watched)]
    assert {name: value for name, value in cards[0].items() if name != "created"} == {
        name: value for name, value in cards[1].items() if name != "created"
    }
    read_archive(watched.base / "model")
    trial = watched.trial
    assert len(trial.steps("EVAL")) == 3 and trial.names(collection="gradients")
    assert trial.facts["overhead"]["saved_steps"] == len(trial.steps())
    assert (trial.facts["trainable"], trial.facts["uses_features"], len(trial.facts["classes"])) == ("all", False, 3)
    assert not trial.is_complete, "that is the platform's to say"
    timeline = json.loads((watched.output / "profiler" / "kennel-timeline.json").read_text())
    assert timeline["steps"]["TRAIN"]["count"] == 18 and timeline["steps"]["EVAL"]["count"] == 3
    assert {"data_wait", "forward", "backward", "optimizer", "eval", "checkpoint", "hook", "results"} <= set(
        timeline["phases"]
    )
    assert not (watched.output / "data" / "debug-output").exists()


def test_collections_of_sagemaker_are_read_by_smdebug_itself(make_job: Callable[[str], Job]) -> None:
    job = make_job("raw")
    job.configure("debughookconfig", RAW)
    job.run({**HEAD, "epochs": "2"})
    program = (
        "import json, sys; from smdebug.trials import create_trial; t = create_trial(sys.argv[1]); "
        "names = t.tensor_names(collection='gradients'); "
        "print(json.dumps([t.steps(), names, float(t.tensor(names[1]).reduction_value(0, 'mean', abs=True)), "
        "float(t.tensor('CrossEntropyLoss_output_0').value(0)), t.tensor('1.relu_input_0').shape(0)]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, job.output / "tensors"], capture_output=True, text=True, check=True
    )
    steps, names, mean, loss, shape = json.loads(run.stdout.splitlines()[-1])
    assert steps == [0, 2, 4, 6, 7, 9, 11]  # 6 of training and 1 of validation an epoch; every second, by mode
    assert names == [f"gradient/Sequential_{layer}.{kind}" for layer in (0, 2) for kind in ("bias", "weight")]
    assert mean > 0 and 0.5 < loss < 3 and shape == [6, 16]


def test_debug_on_leaves_all_of_it_in_the_output(make_job: Callable[[str], Job]) -> None:
    job = make_job("on")
    output = job.run({**HEAD, "debug": "on"})
    assert "\ndebug saved_steps=" in output
    trial = open_trial(job.output / "data" / "debug-output")
    assert len(trial.steps("EVAL")) == 3 and trial.is_complete
    assert trial.facts["uses_features"] is True
    profiler = job.output / "data" / "profiler-output"
    timeline = json.loads((profiler / "kennel-timeline.json").read_text())
    assert timeline["phases"]["features"] > 0 and timeline["readers"] > 0
    assert not (job.output / "tensors").exists()


def test_debug_off_is_never_watched(make_job: Callable[[str], Job]) -> None:
    job = make_job("off")
    job.configure("debughookconfig", NULLS)
    job.configure("profilerconfig", PROFILER)
    assert "\ndebug" not in job.run({**HEAD, "debug": "off", "epochs": "1"})
    assert {path.name for path in job.output.iterdir()} == {"data"}
    (job.base / "input" / "config" / "debughookconfig.json").unlink()
    job.configure("profilerconfig", {**PROFILER, "DisableProfiler": True})
    job.run({**HEAD, "epochs": "1"})
    assert {path.name for path in job.output.iterdir()} == {"data"}


def test_a_broken_configuration_is_named_and_the_training_goes_on(make_job: Callable[[str], Job]) -> None:
    job = make_job("broken")
    job.configure("debughookconfig", {"HookParameters": {"save_interval": 5}})
    job.configure("profilerconfig", PROFILER)
    (job.output).mkdir()
    (job.output / "profiler").touch()  # a file where the profiler's folder should be
    output = job.run({**HEAD, "epochs": "1"})
    assert "debug: the hook failed and is off, training goes on (ContractError: " in output
    assert "'save_interval' with value 5; all values are strings" in output
    assert output.count("training goes on") == 1 and "timeline: " in output


def test_a_watched_job_that_is_stopped_goes_on_in_the_same_files(make_job: Callable[[str], Job]) -> None:
    through, cut = make_job("through"), make_job("cut")
    for job in (through, cut):
        job.configure("debughookconfig", {**RAW, "CollectionConfigurations": RAW["CollectionConfigurations"][:1]})
        job.configure("profilerconfig", PROFILER)
    through.run(WHOLE)
    process = cut.start(WHOLE)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch=1/"):
            break
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 128 + signal.SIGTERM and "debug saved_steps=" in output, output
    assert 0 < len(cut.trial.steps()) < len(through.trial.steps())
    output = cut.run({**WHOLE, "debug": "auto"})
    assert "resumed at" in output
    assert cut.trial.steps() == through.trial.steps()
    assert is_same(cut.weights(), through.weights())
    name = "Classifier_head.weight"
    for step in through.trial.steps_of(name):
        assert (cut.trial.value(name, step) == through.trial.value(name, step)).all()
