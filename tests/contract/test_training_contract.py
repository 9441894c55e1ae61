"""The real `train` of sagemaker-training over the real train.py, under a folder that stands for /opt/ml."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kennel.images.decode import read_image
from kennel.metrics import EPOCH_METRICS, FINAL_METRICS, read_metrics
from kennel.model.archive import read_archive, replay_golden
from kennel.model.trained import array_predictor, load_classifier, predict_probabilities

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN = Path(sys.executable).with_name("train")
TINY = {"weights": "none", "image-size": "32", "batch-size": "6", "patience": "0"}
# Small enough to be trained whole in seconds, and with dropout.
WHOLE = {**TINY, "backbone": "mobilenet_v3_small", "trainable": "all", "lr": "0.003"}


@dataclass(frozen=True)
class Result:
    status: int
    output: str

    def line(self, beginning: str) -> str:
        lines = [line for line in self.output.splitlines() if line.startswith(beginning)]
        assert lines, f"no line begins with {beginning!r} in:\n{self.output}"
        return lines[-1]


class Job:
    """A folder that stands for /opt/ml, and runs of `train` in it."""

    def __init__(self, base: Path, data: Path, hyperparameters: dict[str, str]) -> None:
        self.base = base
        config, code = base / "input" / "config", base / "code"
        for folder in (config, base / "input" / "data", base / "model", base / "output" / "data", code):
            folder.mkdir(parents=True, exist_ok=True)
        (base / "input" / "data" / "train").symlink_to(data)
        (code / "train.py").symlink_to(REPOSITORY / "code" / "train.py")
        # As the SDK writes them: JSON text inside a string.
        values = {name: json.dumps(value) for name, value in hyperparameters.items()}
        (config / "hyperparameters.json").write_text(json.dumps(values))
        (config / "inputdataconfig.json").write_text('{"train": {"TrainingInputMode": "File"}}')
        (config / "resourceconfig.json").write_text('{"current_host": "localhost", "hosts": ["localhost"]}')

    def start(self) -> "subprocess.Popen[str]":
        environ = {
            **os.environ,
            "SAGEMAKER_BASE_DIR": str(self.base),
            "SAGEMAKER_PROGRAM": "train.py",
            "SAGEMAKER_TRAINING_MODULE": "kennel.training.toolkit:main",
            "OMP_NUM_THREADS": "1",  # beside other processes, threads that wait for each other are many times slower
        }
        return subprocess.Popen(
            [TRAIN], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def run(self) -> Result:
        return _end(self.start())

    def run_until(self, beginning: str, signum: signal.Signals) -> Result:
        """Sends a signal as soon as a line begins so."""
        process = self.start()
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if line.startswith(beginning):
                break
        process.send_signal(signum)
        result = _end(process)
        return Result(result.status, "".join(seen) + result.output)

    @property
    def failure(self) -> str:
        return (self.base / "output" / "failure").read_text()

    def json(self, name: str) -> "dict[str, object]":
        content: dict[str, object] = json.loads((self.base / "output" / "data" / name).read_text())
        return content

    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.base / "model" / "model.safetensors")


def _end(process: "subprocess.Popen[str]") -> Result:
    output, _ = process.communicate(timeout=240)
    return Result(process.returncode, output)


Maker = Callable[..., Job]


@pytest.fixture
def make_job(tmp_path: Path, make_folder: Callable[..., Path]) -> Maker:
    """A job on three colours, 12 training pictures each."""

    def make(name: str, hyperparameters: dict[str, str], *, data: Path | None = None) -> Job:
        return Job(tmp_path / name, data or tmp_path / "pictures", hyperparameters)

    make_folder()
    return make


def test_training_leaves_an_archive_and_results_that_agree(make_job: Maker, tmp_path: Path) -> None:
    job = make_job("job", {**TINY, "epochs": "8", "lr": "0.01"})
    result = job.run()
    assert result.status == 0, result.output

    assert " epochs=8 batch-size=6 lr=0.01 " in result.line("settings ")
    assert result.line("data ").startswith("data classes=3 train=36 valid=12 test=12 layout=split")
    assert result.line("device=cpu threads=1 ")
    assert set(read_metrics(result.line("epoch=8/8 "))) == set(EPOCH_METRICS)
    final = read_metrics(result.line("final "))
    assert set(final) == set(FINAL_METRICS)
    epochs = [read_metrics(line) for line in result.output.splitlines() if line.startswith("epoch=")]
    kept = min(epochs, key=lambda epoch: epoch["validation:loss"])
    assert {name: final[name] for name in final if name in kept} == {name: kept[name] for name in final if name in kept}
    # No other line may be taken for a metric.
    others = [line for line in result.output.splitlines() if not line.startswith(("epoch=", "final "))]
    assert [line for line in others if read_metrics(line)] == []

    lines = [json.loads(line) for line in (job.base / "output/data/predictions-test.jsonl").read_text().splitlines()]
    hits = [line["target"].partition(".")[2] == line["label"] for line in lines]
    evaluation = job.json("evaluation.json")
    assert evaluation["test"]["accuracy"] == sum(hits) / len(hits) == pytest.approx(final["test:accuracy"], abs=1e-6)  # type: ignore[index]
    assert final["test:accuracy"] > 0.9
    assert [line["path"] for line in lines] == job.json("split.json")["test"]
    assert len(json.loads((job.base / "output/data/history.json").read_text())) == 8

    archive = read_archive(job.base / "model")
    model = load_classifier(archive)
    replay_golden(archive, array_predictor(model, temperature=archive.card.temperature))
    assert [entry.label for entry in archive.card.classes] == ["Red", "Green", "Blue"]
    assert archive.card.metrics["test"]["accuracy"] == evaluation["test"]["accuracy"]  # type: ignore[index]
    images = torch.stack(
        [archive.card.eval_transform(read_image(tmp_path / "pictures/test" / line["path"])) for line in lines]
    )
    stored = torch.tensor([line["probabilities"] for line in lines])
    assert torch.allclose(predict_probabilities(model, images, temperature=archive.card.temperature), stored, atol=1e-5)


def test_training_stopped_and_killed_goes_on_to_the_same_weights(make_job: Maker) -> None:
    through, cut = (make_job(name, {**WHOLE, "epochs": "5"}) for name in ("through", "cut"))
    whole: list[Result] = []
    beside = threading.Thread(target=lambda: whole.append(through.run()))
    beside.start()

    stopped = cut.run_until("epoch=2/", signal.SIGTERM)
    assert stopped.status == 143, stopped.output
    assert "stopped by SIGTERM: start the job again to go on" in stopped.output
    assert "epoch=5/" not in stopped.output
    assert not (cut.base / "output" / "failure").exists()
    # The best epoch so far is a model already; SageMaker uploads it.
    assert read_archive(cut.base / "model").card.metrics.keys() == {"valid"}

    killed = cut.run_until("epoch=4/", signal.SIGKILL)
    assert killed.status == -signal.SIGKILL
    assert re.search(r"resumed at epoch=[34] step=\d+", killed.output)

    resumed = cut.run()
    beside.join()
    assert resumed.status == whole[0].status == 0, resumed.output + whole[0].output
    assert re.search(r"resumed at epoch=[45] step=\d+", resumed.output)
    ours, theirs = cut.weights(), through.weights()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert cut.json("evaluation.json") == through.json("evaluation.json")


def test_failure_says_why_in_its_first_line(make_job: Maker) -> None:
    job = make_job("job", {"epochz": "3"})
    result = job.run()
    message = "HyperparameterError: Unknown hyperparameter 'epochz'. Did you mean 'epochs'?"
    assert result.status == 2, result.output
    assert job.failure.splitlines()[0] == message
    assert f"error: {message}" in result.output
    assert "Traceback" not in result.output
