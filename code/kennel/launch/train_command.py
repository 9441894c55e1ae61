"""What `kennel train` does: plans a job, starts it where it is to run, follows it, and says how it ended."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kennel.errors import UserError
from kennel.launch import aws_inputs, aws_jobs, best_training
from kennel.launch.debugging import Debugging
from kennel.launch.jobs import TrainingJob, create_training_job, plan_training
from kennel.launch.places import AWS, Place, runs_folder
from kennel.launch.resources import Resources
from kennel.launch.tuning import bare_values
from kennel.launch.watching.follow import follow_training
from kennel.launch.watching.kinds import TRAINING, attach_command, stop_command
from kennel.launch.watching.rule_lines import rules_table

Json = dict[str, Any]


def plan(
    arguments: argparse.Namespace,
    settings: Mapping[str, str],
    place: Callable[[], Place],
    *,
    debugging: Debugging | None,
) -> TrainingJob:
    """What the arguments ask for, checked as far as it can be without the pictures. Raises UserError.

    settings: of -p. place: opens it, for what earlier jobs have there.
    """
    weights_uri = None
    if arguments.best_of is not None:
        taken = best_training.take_over(arguments.best_of, settings, place())
        print(taken.said, file=sys.stderr if arguments.dry_run else sys.stdout)
        settings, weights_uri = taken.hyperparameters, taken.weights_uri
    return plan_training(
        arguments.data,
        name=arguments.name,
        hyperparameters=settings,
        checkpoint_uri=_checkpoints(arguments.resume, place)
        if arguments.on == AWS
        else _checkpoints_here(arguments.resume),
        debugging=debugging,
        weights_uri=weights_uri,
    )


def run_here(job: TrainingJob, place: Place, resources: Resources) -> Json:
    """Starts it on this machine and shows it until it has ended; its last description."""
    create_training_job(job, place, resources)
    print(f"training job {job.name}\n  files: {runs_folder() / job.name}\n  Ctrl-C stops it", flush=True)
    return follow_training(job.name, place)


def run_on_aws(job: TrainingJob, place: Place, wanted: aws_jobs.Wanted) -> Json | None:
    """The same there, after all checks; None for a dry run, whose requests are printed."""
    ready = aws_jobs.prepare(job, place, wanted)
    if not aws_jobs.create(ready, wanted, lambda there: create_training_job(ready.job, there, wanted.resources)):
        return None
    checkpoints = job.checkpoint_uri or place.uri("jobs", job.name, "checkpoints")
    print(
        f"training job {job.name}\n"
        f"  output: {place.uri('jobs', job.name)}/\n  checkpoints: {checkpoints.rstrip('/')}/\n"
        f"  watch it again: {attach_command(job.name, place)}\n  stop it: {stop_command(TRAINING, job.name, place)}",
        flush=True,
    )
    return follow_training(job.name, ready.place)


def report(description: Json, *, on: str) -> int:
    """Prints the end of a job; its exit status."""
    name, status = description["TrainingJobName"], description["TrainingJobStatus"]
    billed = f", {description['BillableTimeInSeconds']} s billed" if "BillableTimeInSeconds" in description else ""
    print(f"training job {name}: {status} after {description.get('TrainingTimeInSeconds', 0)} s{billed}")
    rules, there = rules_table(description), " --on aws" if on == AWS else ""
    if rules:
        print(rules)
    exit_status = _print_outcome(description, there)
    if rules or there:
        print(f"see all of it: kennel report {name}{there}")
    if rules or (there and has_own_hook(description)):
        print(f"the rules again, with other thresholds: kennel debug {output_uri(description) if there else name}")
    return exit_status


def has_own_hook(description: Json) -> bool:
    """Whether the training itself saved what rules look at, into its output.tar.gz."""
    return bare_values(description.get("HyperParameters", {})).get("debug") == "on"


def output_uri(description: Json) -> str:
    """Where a job's results are."""
    return f"{description['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{description['TrainingJobName']}"


def _print_outcome(description: Json, there: str) -> int:
    name, status = description["TrainingJobName"], description["TrainingJobStatus"]
    if status == "Failed":
        print(f"kennel: {description.get('FailureReason', 'no reason was left')}", file=sys.stderr)
        return 1
    for metric in description.get("FinalMetricDataList", []):
        print(f"  {metric['MetricName']:<24} {metric['Value']:.4g}")
    if status == "Stopped":
        print(f"go on from its checkpoint: kennel train{there} ... --resume {name}")
        return 1
    print(f"deploy it: kennel deploy {name}{there}")
    return 0


def _checkpoints(job: str | None, place: Callable[[], Place]) -> str | None:
    return aws_inputs.checkpoint_uri(job, place()) if job else None


def _checkpoints_here(job: str | None) -> str | None:
    """Those in a run's folder; UserError if there are none."""
    if job is None:
        return None
    folder: Path = runs_folder() / job / "ml" / "checkpoints"
    if not any(folder.glob("*")):
        raise UserError(f"'{job}' has no checkpoint to go on from: {folder} is empty or missing.")
    return folder.as_uri()
