"""Tuning jobs from one description, made with the SDK's own HyperparameterTuner; and what became of them.

job = plan_tuning(folder, name=None, hyperparameters={"epochs": "5"}, ranges=read_ranges_file(path), search=Search())
create_tuning_job(job, open_place("local"))
"""

import dataclasses
import difflib
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from kennel.errors import UserError
from kennel.hyperparameters import RESERVED, Hyperparameters, unquoted
from kennel.launch.creation import created_once
from kennel.launch.jobs import (
    TrainingJob,
    at_place,
    data_name,
    legal_name,
    make_estimator,
    make_inputs,
    not_there,
    plan_training,
    refusals,
)
from kennel.launch.places import Place
from kennel.launch.resources import Resources
from kennel.launch.search_ranges import CATEGORICAL, CONTINUOUS, SearchRanges, refuse_settled
from kennel.launch.watching.attend import unbroken
from kennel.launch.watching.kinds import TUNING
from kennel.metrics import metric_definitions

Json = dict[str, Any]
ENDED: Final = ("Completed", "Failed", "Stopped")
MAX_NAME: Final = 32
_DEFAULT_JOBS: Final = 20
_MOST_JOBS: Final = {"Random": 10_000}
_MOST_JOBS_OF_OTHERS: Final = 750
_MOST_AT_ONCE: Final = 100
_LESS_IS_BETTER: Final = ("loss", "seconds")


@dataclass(frozen=True)
class Search:
    """How is searched. max_jobs: None for 20, and for every combination of a grid."""

    strategy: str = "Bayesian"
    objective: str = "validation:loss"
    max_jobs: int | None = None
    max_parallel_jobs: int | None = None
    early_stopping: str = "Off"
    warm_start: str | None = None
    seed: int | None = None

    @property
    def objective_type(self) -> str:
        return "Minimize" if self.objective.endswith(_LESS_IS_BETTER) else "Maximize"


@dataclass(frozen=True)
class TuningJob:
    """What to search; nothing in it says where. training: the part that all its trainings share."""

    training: TrainingJob
    ranges: SearchRanges
    search: Search

    @property
    def name(self) -> str:
        return self.training.name

    @property
    def jobs(self) -> int:
        """How many trainings there will be at most."""
        return self.search.max_jobs or self.ranges.combinations or _DEFAULT_JOBS


def plan_tuning(
    data: Path | str, *, name: str | None, hyperparameters: Mapping[str, str], ranges: SearchRanges, search: Search
) -> TuningJob:
    """A search on a folder, or an s3:// address, checked as far as it can be without starting anything: UserError."""
    refuse_settled(ranges, hyperparameters)
    _check_search(ranges, search)
    settled = dict(hyperparameters)
    if search.strategy == "Hyperband" and "epochs" not in settled:
        settled["epochs"] = str(Hyperparameters.epochs)  # its measure of a training's cost
    training = plan_training(data, name=_name(name, data), hyperparameters=settled)
    return TuningJob(training, ranges, _with_limits(search, ranges))


def create_tuning_job(job: TuningJob, place: Place, resources: Resources | None = None) -> None:
    """Starts the search and returns; UserError with the API's own words when it is refused.

    resources: what each training runs on; without, what the place has.
    """
    from sagemaker.tuner import HyperparameterTuner, WarmStartConfig, WarmStartTypes

    search, parent, resources = job.search, None, at_place(resources, place)
    if search.warm_start:
        parent = WarmStartConfig(WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM, parents={search.warm_start})
    tuner = HyperparameterTuner(
        estimator=make_estimator(job.training, place, resources),
        objective_metric_name=search.objective,
        objective_type=search.objective_type,
        metric_definitions=metric_definitions(),
        hyperparameter_ranges=_sdk_ranges(job.ranges),
        strategy=search.strategy,
        max_jobs=job.jobs,  # of a grid too: the SDK sends a null for none, and botocore refuses it
        max_parallel_jobs=search.max_parallel_jobs,
        early_stopping_type=search.early_stopping,
        warm_start_config=parent,
        random_seed=search.seed,
    )
    with (
        unbroken(TUNING, job.name, place),
        refusals(place),
        created_once(place, "CreateHyperParameterTuningJob", job.name),
    ):
        tuner.fit(make_inputs(job.training.channels, resources), job_name=job.name, wait=False)


def describe_tuning_job(name: str, place: Place) -> Json:
    """DescribeHyperParameterTuningJob's answer; UserError naming the way to see what there is."""
    try:
        return dict(place.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name))
    except (ClientError, BotoCoreError) as error:
        raise not_there(error, "tuning job", name) from error


def list_trials(name: str, place: Place) -> list[Json]:
    """The summaries of a tuning job's trainings, in the order they were started, all pages."""
    pages = place.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name, SortBy="CreationTime", SortOrder="Ascending"
    )
    return [trial for page in pages for trial in page["TrainingJobSummaries"]]


def best_of(description: Json) -> Json | None:
    """The summary of the best training, also of the tuning jobs that this one went on from."""
    return description.get("OverallBestTrainingJob") or description.get("BestTrainingJob")


def bare_values(hyperparameters: Mapping[str, str]) -> dict[str, str]:
    """Hyperparameters as -p takes them: without the platform's own, and without the quotes of JSON."""
    return {name: unquoted(text) for name, text in hyperparameters.items() if not name.startswith(RESERVED)}


def trial_label(name: str) -> str:
    """`007` of `dogs-1-007-0a1b2c3d`; the whole name where it has another form."""
    match = re.fullmatch(r".*-(\d{3,})-[0-9a-f]{8}", name)
    return match.group(1) if match else name


def _name(name: str | None, data: Path | str) -> str:
    if name is None:
        base = legal_name(data_name(data))[:13].strip("-") or "kennel"
        return f"{base}-{time.strftime('%y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    shorter = legal_name(name)[:MAX_NAME].strip("-")
    if name != shorter:
        raise UserError(
            f"Tuning job name '{name}' is not one SageMaker takes: up to {MAX_NAME} letters, digits and single "
            f"hyphens inside. Try '{shorter}'."
        )
    return name


def _check_search(ranges: SearchRanges, search: Search) -> None:
    """UserError for what no search can do."""
    _check_objective(search.objective)
    if search.strategy == "Grid" and ranges.combinations is None:
        numbers = [each["Name"] for kind, each in ranges if kind != CATEGORICAL]
        raise UserError(
            f"--strategy Grid tries lists of values, and {ranges.source} has a range of numbers for "
            f"{', '.join(numbers)}. Put the values to try under {CATEGORICAL}."
        )
    if search.strategy == "Hyperband" and search.early_stopping != "Off":
        raise UserError(
            "--strategy Hyperband stops trainings by itself. Leave out --early-stopping, or choose another strategy."
        )
    if search.strategy == "Hyperband" and "epochs" in ranges.names:
        raise UserError(
            f"--strategy Hyperband gives trainings their epochs itself, and {ranges.source} has a range for epochs. "
            "Take it out, and set the most with -p epochs=N."
        )
    _check_numbers(ranges, search)


def _check_objective(metric: str) -> None:
    known = [each["Name"] for each in metric_definitions()]
    if metric not in known:
        near = difflib.get_close_matches(metric, known, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known)}."
        raise UserError(f"--objective {metric} is no metric that a training prints. {hint}")


def _check_numbers(ranges: SearchRanges, search: Search) -> None:
    jobs, at_once, most = (
        search.max_jobs,
        search.max_parallel_jobs,
        _MOST_JOBS.get(search.strategy, _MOST_JOBS_OF_OTHERS),
    )
    if jobs is not None and not 1 <= jobs <= most:
        raise UserError(f"--max-jobs {jobs}: expected 1 to {most} trainings with --strategy {search.strategy}.")
    if search.strategy == "Grid" and jobs not in (None, ranges.combinations):
        raise UserError(
            f"--max-jobs {jobs}: a grid over these ranges has {ranges.combinations} combinations, and tries all of "
            "them. Leave out --max-jobs."
        )
    if at_once is not None and not 1 <= at_once <= _MOST_AT_ONCE:
        raise UserError(f"--max-parallel-jobs {at_once}: expected 1 to {_MOST_AT_ONCE} trainings side by side.")
    limit = jobs or (ranges.combinations if search.strategy == "Grid" else None) or _DEFAULT_JOBS
    if at_once is not None and at_once > limit:
        raise UserError(f"--max-parallel-jobs {at_once} is more than the {limit} trainings in all. Lower it.")
    if search.seed is not None and search.seed < 0:
        raise UserError(f"--seed {search.seed}: expected 0 or more.")


def _with_limits(search: Search, ranges: SearchRanges) -> Search:
    """The search with its defaults: 20 trainings (of a grid all), 2 side by side."""
    is_grid = search.strategy == "Grid"
    jobs = search.max_jobs if is_grid or search.max_jobs else _DEFAULT_JOBS
    at_once = search.max_parallel_jobs or min(2, jobs or ranges.combinations or 1)
    return dataclasses.replace(search, max_jobs=jobs, max_parallel_jobs=at_once)


def _sdk_ranges(ranges: SearchRanges) -> dict[str, Any]:
    from sagemaker.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter

    made: dict[str, Any] = {}
    for kind, each in ranges:
        if kind == CATEGORICAL:
            # Quoted as the other hyperparameters are: see make_estimator.
            made[each["Name"]] = CategoricalParameter([json.dumps(unquoted(value)) for value in each["Values"]])
        else:
            parameter = ContinuousParameter if kind == CONTINUOUS else IntegerParameter
            made[each["Name"]] = parameter(each["MinValue"], each["MaxValue"], each.get("ScalingType", "Auto"))
    return made
