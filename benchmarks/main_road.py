"""The main road on real photos: accuracy, agreement of endpoint and evaluation, and a SIGTERM in mid-training.

    .venv/bin/python benchmarks/main_road.py [--shared DIR] [--backbones resnet18 resnet50]

DIR holds data/dogs20 and weights/<backbone>-half.pth (default: `shared` beside the project). For each backbone, on
all 200 test photos: the test accuracy beside the published one for a linear head; the endpoint's answers beside the
training's own predictions; a second training that is sent SIGTERM after its third epoch and started again, beside one
that never stopped. Then how fast features were computed, beside the network alone on prepared tensors, and beside
what this machine's fp32 matrix product allows.
"""

import argparse
import hashlib
import json
import os
import signal
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from kennel.launch import jobs
from kennel.launch.account import cleanup
from kennel.launch.endpoint import endpoints
from kennel.launch.endpoint.endpoint_plan import EndpointPlan
from kennel.launch.places import Place, open_place, runs_folder
from kennel.launch.watching import follow
from kennel.local import daemon
from kennel.model.backbones import build_backbone

PUBLISHED = {"resnet18": 0.92, "resnet50": 0.93}  # linear head chosen on validation loss, n=200
GFLOP_PER_IMAGE = {"resnet18": 3.64, "resnet50": 8.18}  # multiply and add counted apart, 224x224


@dataclass(frozen=True)
class Agreement:
    """The endpoint's answers beside training's predictions for the same files."""

    photos: int
    same_label: int
    largest_difference: float


def main() -> None:
    arguments = read_arguments()
    with tempfile.TemporaryDirectory(prefix="kennel-benchmark-") as folder:
        os.environ["KENNEL_RUNS"] = folder
        place = open_place()
        try:
            print(f"{os.cpu_count()} cores, torch {torch.__version__}, {sgemm_gflops():.0f} GFLOP/s in fp32 products")
            for backbone in arguments.backbones:
                run_backbone(backbone, arguments.shared, place)
        finally:
            cleanup.delete_all(place)
            daemon.stop(runs_folder())


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).resolve().parents[2] / "shared"
    parser.add_argument("--shared", type=Path, default=beside, metavar="DIR")
    parser.add_argument("--backbones", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    return parser.parse_args()


def run_backbone(backbone: str, shared: Path, place: Place) -> None:
    data = shared / "data" / "dogs20"
    settings = {"backbone": backbone, "weights": str(shared / "weights" / f"{backbone}-half.pth")}
    job = jobs.plan_training(data, name=f"plain-{backbone}", hyperparameters=settings)
    jobs.create_training_job(job, place)
    description = finish(job.name, place)
    accuracy = evaluation(job.name)["test"]["accuracy"]
    print(f"\n{backbone}: trained in {description['TrainingTimeInSeconds']} s")
    print(f"  test accuracy            {accuracy:.3f}   published for a linear head {PUBLISHED[backbone]:.3f}")

    archive = endpoints.find_model(job.name, place)
    endpoints.deploy(EndpointPlan(job.name, archive, instance_type=place.instance_type), place)
    agreement = compare(job.name, data, place)
    print(f"  endpoint, same label     {agreement.same_label} of {agreement.photos}")
    print(f"  largest difference       {agreement.largest_difference:.2e} in probability   allowed 1e-3")
    cleanup.delete_endpoint(job.name, place)

    long = {**settings, "epochs": "150", "patience": "0"}
    whole = train_whole(backbone, data, long, place)
    resumed = train_interrupted(backbone, data, long, place)
    same = weights_digest(whole) == weights_digest(resumed)
    print(f"  SIGTERM and restart      {'the same weights' if same else 'OTHER WEIGHTS'}, accuracy", end=" ")
    print(f"{evaluation(resumed)['test']['accuracy']:.3f}   never stopped {evaluation(whole)['test']['accuracy']:.3f}")
    print_speed(backbone, description)


def train_whole(backbone: str, data: Path, settings: dict[str, str], place: Place) -> str:
    job = jobs.plan_training(data, name=f"whole-{backbone}", hyperparameters=settings)
    jobs.create_training_job(job, place)
    finish(job.name, place)
    return job.name


def train_interrupted(backbone: str, data: Path, settings: dict[str, str], place: Place) -> str:
    """Sends SIGTERM to the container's process after epoch 3, as SageMaker does, and goes on in a second job."""
    first = jobs.plan_training(data, name=f"stopped-{backbone}", hyperparameters=settings)
    jobs.create_training_job(first, place)
    log = runs_folder() / first.name / "log.txt"
    while not log.exists() or "epoch=3/" not in log.read_text():
        time.sleep(0.01)
    toolkit_process(first.name).send_signal(signal.SIGTERM)
    finish(first.name, place)
    second = jobs.plan_training(
        data, name=f"resumed-{backbone}", hyperparameters=settings, resume=runs_folder() / first.name
    )
    jobs.create_training_job(second, place)
    finish(second.name, place)
    said = (runs_folder() / second.name / "log.txt").read_text()
    print("  " + next(line for line in said.splitlines() if line.startswith("resumed at")))
    return second.name


def toolkit_process(job: str) -> psutil.Process:
    """The `train` program of a job: what SageMaker would send its SIGTERM to."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if len(words) > 1 and words[1].endswith("/bin/train") and process.environ().get("TRAINING_JOB_NAME") == job:
            return process
    sys.exit(f"no train process of {job}")


def finish(name: str, place: Place) -> dict[str, Any]:
    while True:
        description = jobs.describe_training_job(name, place)
        if description["TrainingJobStatus"] in follow.FINISHED:
            return description
        time.sleep(0.2)


def evaluation(job: str) -> dict[str, Any]:
    return dict(json.loads((runs_folder() / job / "ml" / "output" / "data" / "evaluation.json").read_text()))


def compare(job: str, data: Path, place: Place) -> Agreement:
    rows = (runs_folder() / job / "ml" / "output" / "data" / "predictions-test.jsonl").read_text().splitlines()
    runtime = place.runtime
    same, largest = 0, 0.0
    for row in map(json.loads, rows):
        body = (data / "test" / row["path"]).read_bytes()
        response = runtime.invoke_endpoint(EndpointName=job, Body=body, ContentType="image/jpeg")
        prediction = json.loads(response["Body"].read())["predictions"][0]
        same += prediction["label"] == row["label"]
        largest = max(largest, abs(prediction["probability"] - row["probability"]))
    return Agreement(len(rows), same, largest)


def weights_digest(job: str) -> str:
    with tarfile.open(runs_folder() / job / "model.tar.gz") as archive:
        member = archive.extractfile("model.safetensors")
        assert member is not None
        return hashlib.sha256(member.read()).hexdigest()


def print_speed(backbone: str, description: dict[str, Any]) -> None:
    images_per_s = 1000 / description["TrainingTimeInSeconds"]
    alone = network_images_per_s(backbone)
    limit = sgemm_gflops() / GFLOP_PER_IMAGE[backbone]
    print(f"  whole job                {images_per_s:6.1f} images/s   {images_per_s / alone:.2f} of the network alone")
    print(
        f"  the network alone        {alone:6.1f} images/s   {alone / limit:.2f} of the machine's limit ({limit:.1f})"
    )


@torch.inference_mode()
def network_images_per_s(backbone: str) -> float:
    """The frozen network on prepared tensors, eval mode, batches of 32: what no data loading can beat."""
    network = build_backbone(backbone).eval()
    images = torch.randn(32, 3, 224, 224)
    network(images)
    start = time.perf_counter()
    for _ in range(3):
        network(images)
    return 3 * 32 / (time.perf_counter() - start)


def sgemm_gflops() -> float:
    """Best of five fp32 products of 2048x2048 matrices, all cores."""
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times[1:]) / 1e9


if __name__ == "__main__":
    main()
