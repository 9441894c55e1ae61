"""What a search costs: trials over the learning rate and batch size of a head, beside a single such training.

    .venv/bin/python benchmarks/tuning.py [--shared DIR] [--backbone resnet50] [--trials 20] [--trials-off 4]

DIR holds data/dogs20 and weights/<backbone>-half.pth (default: `shared` beside the project). Through the local
SageMaker, in this order: one training; a Random search with the features shared, two trials at once; the first
`--trials-off` trials of the same search with nothing shared (KENNEL_SHARED_DIR empty), whose time is scaled to all of
them. Then how far the trials' losses differ between the two, and how fast the network alone is on prepared tensors,
which is what no training of this head can beat. Run it on an otherwise idle machine; the load is printed.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kennel.launch import jobs
from kennel.launch.places import Place, open_place, runs_folder
from kennel.local import daemon
from kennel.metrics import metric_definitions
from kennel.model.backbones import build_backbone

ENDED = ("Completed", "Failed", "Stopped")
SEED = 5
# The SDK's own wait() asks every 10 s. Each asking takes CPU from the trials.
POLL_S = 2.0


@dataclass(frozen=True)
class Search:
    """wall_s: from the request to the end, as the API tells them. trials: as trials.json lists them."""

    wall_s: float
    load: float
    trials: list[dict[str, Any]]


def main() -> None:
    arguments = read_arguments()
    with tempfile.TemporaryDirectory(prefix="kennel-benchmark-") as folder:
        os.environ["KENNEL_RUNS"] = folder
        place = open_place()
        try:
            run(arguments, place)
        finally:
            daemon.stop(runs_folder())


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).resolve().parents[2] / "shared"
    parser.add_argument("--shared", type=Path, default=beside, metavar="DIR")
    parser.add_argument("--backbone", default="resnet50", choices=["resnet18", "resnet50"])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--trials-off", type=int, default=4, help="trials with nothing shared; 0 leaves them out")
    return parser.parse_args()


def run(arguments: argparse.Namespace, place: Place) -> None:
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, load {os.getloadavg()[0]:.1f} before")
    data = arguments.shared / "data" / "dogs20"
    weights = arguments.shared / "weights" / f"{arguments.backbone}-half.pth"
    job = jobs.plan_training(
        data, name="single", hyperparameters={"backbone": arguments.backbone, "weights": str(weights)}
    )
    print(f"\n{arguments.backbone}, a linear head, {sum(1 for _ in data.rglob('*.jpg'))} photos")
    print(f"  {'':<30} {'wall s':>8} {'of a single one':>16} {'load':>6}")
    single_s = run_single(job, place)
    row("a single training", single_s, single_s)
    on = run_search("shared", job, place, trials=arguments.trials, environment={})
    row(f"{arguments.trials} trials, features shared", on.wall_s, single_s)
    if arguments.trials_off:
        off = run_search("off", job, place, trials=arguments.trials_off, environment={"KENNEL_SHARED_DIR": ""})
        row(f"{arguments.trials_off} trials, nothing shared", off.wall_s, single_s)
        scaled_s = off.wall_s * arguments.trials / arguments.trials_off
        row(f"  scaled to {arguments.trials}", scaled_s, single_s)
        print(f"\n  largest difference of a loss between shared and not: {largest_difference(on, off):.1e}")
    print_trials(on)
    print_limit(arguments.backbone, data, single_s)


def run_single(job: jobs.TrainingJob, place: Place) -> float:
    """Its seconds, from the request to its end as the API tells them."""
    jobs.create_training_job(job, place)
    while (found := jobs.describe_training_job(job.name, place))["TrainingJobStatus"] not in ENDED:
        time.sleep(POLL_S)
    expect("Completed", found["TrainingJobStatus"], job.name)
    return float((found["TrainingEndTime"] - found["CreationTime"]).total_seconds())


def run_search(name: str, job: jobs.TrainingJob, place: Place, *, trials: int, environment: dict[str, str]) -> Search:
    """The same parameters in the same order every time: a Random search with a seed."""
    from sagemaker.parameter import CategoricalParameter, ContinuousParameter  # quiet once a place is open
    from sagemaker.tuner import HyperparameterTuner

    estimator = jobs.make_estimator(job, place)
    estimator.environment = environment
    tuner = HyperparameterTuner(
        estimator,
        "validation:loss",
        {
            "lr": ContinuousParameter(1e-4, 3e-2, scaling_type="Logarithmic"),
            "batch-size": CategoricalParameter(["16", "32", "64", "128"]),
        },
        metric_definitions(),
        strategy="Random",
        objective_type="Minimize",
        max_jobs=trials,
        max_parallel_jobs=2,
        random_seed=SEED,
    )
    tuner.fit(jobs.make_inputs(job.channels), job_name=name, wait=False)
    while (told := tuner.describe())["HyperParameterTuningJobStatus"] not in ENDED:
        time.sleep(POLL_S)
    wall_s = float((told["HyperParameterTuningEndTime"] - told["CreationTime"]).total_seconds())
    expect("Completed", told["HyperParameterTuningJobStatus"], name)
    found = json.loads((runs_folder() / name / "trials.json").read_text())
    for trial in found:
        expect("Completed", trial["status"], trial["TrainingJobName"])
    return Search(wall_s, os.getloadavg()[0], found)


def expect(wanted: str, found: str, name: str) -> None:
    if found != wanted:
        raise SystemExit(f"{name} is {found}; see {runs_folder() / name}")


def row(what: str, wall_s: float, single_s: float) -> None:
    print(f"  {what:<30} {wall_s:8.1f} {wall_s / single_s:16.2f} {os.getloadavg()[0]:6.1f}", flush=True)


def largest_difference(on: Search, off: Search) -> float:
    """Over every epoch of the trials that both have, of the objective as printed."""
    pairs = list(zip(on.trials, off.trials, strict=False))
    assert all(one["parameters"] == other["parameters"] for one, other in pairs), "other parameters were drawn"
    losses = [zip(one["history"], other["history"], strict=True) for one, other in pairs]
    return max(abs(one - other) for each in losses for one, other in each)


def print_trials(search: Search) -> None:
    seconds = [trial["seconds"] for trial in search.trials]
    later = seconds[2:] or seconds
    print(f"  a trial once features are there: {statistics.median(later):.0f} s (median), the first: {seconds[0]} s")


def print_limit(backbone: str, data: Path, single_s: float) -> None:
    pictures = sum(1 for _ in data.rglob("*.jpg"))
    alone = network_images_per_s(backbone)
    print(f"  the network alone: {alone:.1f} images/s, {pictures / alone:.1f} s for all of them", end=" ")
    print(f"({pictures / alone / single_s:.2f} of a single training)")


@torch.inference_mode()
def network_images_per_s(backbone: str) -> float:
    """The frozen network on prepared tensors, eval mode, batches of 64, all cores."""
    network = build_backbone(backbone).eval().to(memory_format=torch.channels_last)
    images = torch.randn(64, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    network(images)
    start = time.perf_counter()
    for _ in range(3):
        network(images)
    return 3 * len(images) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
