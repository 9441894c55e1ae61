"""What `kennel tune` does: reads the ranges, starts the search, follows it, and says what was found."""

import argparse
import dataclasses
import shlex
from pathlib import Path

from kennel.errors import UserError
from kennel.hyperparameters import read_assignments
from kennel.launch import aws_inputs, aws_jobs
from kennel.launch.places import AWS, Place, runs_folder
from kennel.launch.resources import Resources
from kennel.launch.search_ranges import default_ranges_file, fit_batch_size, read_ranges_file, without
from kennel.launch.tuning import Search, TuningJob, bare_values, best_of, create_tuning_job, plan_tuning
from kennel.launch.watching.follow_tuning import Outcome, follow_tuning, objective_of
from kennel.launch.watching.kinds import TUNING, attach_command, stop_command


def plan(arguments: argparse.Namespace) -> TuningJob:
    """What the arguments ask for, checked as far as it can be without the pictures. Raises UserError."""
    settled = read_assignments(arguments.parameters)
    ranges = read_ranges_file(arguments.ranges or default_ranges_file())
    if arguments.ranges is None:  # the recommended ones are an offer: what is set is not searched
        ranges = without(ranges, settled)
    search = Search(
        strategy=arguments.strategy,
        objective=arguments.objective,
        max_jobs=arguments.max_jobs,
        max_parallel_jobs=arguments.max_parallel_jobs,
        early_stopping=arguments.early_stopping,
        warm_start=arguments.warm_start,
        seed=arguments.seed,
    )
    return plan_tuning(arguments.data, name=arguments.name, hyperparameters=settled, ranges=ranges, search=search)


def fit_to_pictures(job: TuningJob, images: int, *, is_recommended: bool) -> TuningJob:
    """The search without batch sizes above the number of training images, which a training refuses.

    is_recommended: the ranges are ours, and are narrowed; UserError for a person's own.
    """
    fitting = fit_batch_size(job.ranges, images)
    if fitting == job.ranges:
        return job
    if not is_recommended:
        raise UserError(
            f"{job.ranges.source} has batch sizes above {images}, the number of training images: such trainings fail. "
            "Lower them."
        )
    print(f"batch sizes above {images}, the number of training images, are left out")
    return dataclasses.replace(job, ranges=fitting)


def run_here(job: TuningJob, place: Place, resources: Resources) -> Outcome:
    """Starts the search on this machine, and shows it until it has ended."""
    create_tuning_job(job, place, resources)
    _say_started(job, f"  files: {runs_folder() / job.name}\n  Ctrl-C stops it")
    return follow_tuning(job.name, place)


def run_on_aws(job: TuningJob, place: Place, wanted: aws_jobs.Wanted, *, is_recommended: bool) -> Outcome | None:
    """The same there, after all checks; None for a dry run, whose requests are printed."""
    place.need("role", "bucket")
    if not wanted.is_dry and (found := aws_inputs.find_manifest(job.training.channels["data"], place)):
        job = fit_to_pictures(job, aws_inputs.training_images(found), is_recommended=is_recommended)
    at_once = job.search.max_parallel_jobs or 1
    ready = aws_jobs.prepare(job.training, place, wanted, jobs=job.jobs, at_once=at_once)
    job = dataclasses.replace(job, training=ready.job)
    if not aws_jobs.create(ready, wanted, lambda there: create_tuning_job(job, there, wanted.resources)):
        return None
    _say_started(
        job,
        f"  models: {place.uri('jobs', '')}\n  checkpoints: {place.uri('jobs', job.name, 'checkpoints', '')}\n"
        f"  watch it again: {attach_command(job.name, place)}\n"
        f"  stop it: {stop_command(TUNING, job.name, place)}",
    )
    return follow_tuning(job.name, ready.place)


def _say_started(job: TuningJob, rest: str) -> None:
    search = job.search
    print(f"ranges of {job.ranges.source}:\n{job.ranges.table()}")
    print(
        f"tuning job {job.name}: {search.strategy}, {job.jobs} trainings, {search.max_parallel_jobs} side by side, "
        f"{search.objective_type.lower()}s {search.objective}\n{rest}",
        flush=True,
    )


def summary(outcome: Outcome, data: Path | str, on: str = "local") -> str:
    """How the search ended, and its best hyperparameters, ready to paste. data: the pictures. on: where it was."""
    description = outcome.description
    name, counts = description["HyperParameterTuningJobName"], description.get("TrainingJobStatusCounters", {})
    ended = ", ".join(
        f"{counts[key]} {word}"
        for key, word in (
            ("Completed", "completed"),
            ("Stopped", "stopped"),
            ("NonRetryableError", "failed"),
            ("RetryableError", "interrupted"),
        )
        if counts.get(key)
    )
    lines = [f"tuning job {name}: {outcome.status}, {len(outcome.trials)} trainings ({ended or 'none ended'})"]
    if reason := description.get("FailureReason"):
        lines.append(f"  {reason}")
    best = best_of(description)
    if best is None:
        return "\n".join([*lines, "no training has ended with an objective: there is no best one"])
    words = [f"-p {key}={shlex.quote(text)}" for key, text in bare_values(best["TunedHyperParameters"]).items()]
    value = objective_of(best)
    parent = best.get("TuningJobName", name)
    found = f"best: {best['TrainingJobName']}" + ("" if parent == name else f" (of {parent})")
    lines.append(found + ("" if value is None else f"  {outcome.metric}={value:.6g}"))
    lines.append(f"  {' '.join(words)}")
    there = " --on aws" if on == AWS else ""
    if there:
        lines.append(f"see all of it: kennel report {name}{there}")
    lines.append(f"train with them: scripts/train.sh{there} --data {shlex.quote(str(data))} --best-of {name}")
    return "\n".join(lines)


def exit_status(outcome: Outcome) -> int:
    """0 only for a search that is Completed and has a best training."""
    return 0 if outcome.status == "Completed" and outcome.best else 1
