"""What a CreateHyperParameterTuningJob request asks for: the searches of it, the trials' requests, its description."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kennel.local.settings import arn
from kennel.local.store import now
from kennel.local.tuning_checks import OBJECTIVE_HYPERPARAMETER, hyperband_resources
from kennel.local.tuning_definition import Searched, definitions, resource_config
from kennel.local.tuning_ranges import Range
from kennel.local.tuning_search import Plan
from kennel.local.tuning_trials import objective_counters, status_counters
from kennel.local.validation import Json

_KINDS: Final = ("ContinuousParameterRanges", "IntegerParameterRanges", "CategoricalParameterRanges")
# AWS's own limits, for a request that names no number of jobs.
_MOST_JOBS: Final = {"Random": 10_000}
_MOST_JOBS_ELSE: Final = 750
# Members of a training job definition that a training job has under the same name.
_TAKEN_OVER: Final = (
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "VpcConfig",
    "OutputDataConfig",
    "StoppingCondition",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "CheckpointConfig",
    "RetryStrategy",
    "Environment",
)


@dataclass(frozen=True)
class Definition:
    """One training job definition of a tuning job, and the search over its ranges. name: None if it has none."""

    name: str | None
    content: Json
    ranges: tuple[Range, ...]
    metric: str
    plan: Plan

    @property
    def static(self) -> dict[str, str]:
        """The hyperparameters that every trial gets."""
        return {**self.content.get("StaticHyperParameters", {}), OBJECTIVE_HYPERPARAMETER: self.metric}


def seeded(request: Json) -> Json:
    """The request with a RandomSeed, drawn if it names none, so that a search goes on as it began."""
    config = request["HyperParameterTuningJobConfig"]
    return {**request, "HyperParameterTuningJobConfig": {"RandomSeed": secrets.randbits(31), **config}}


def definitions_of(request: Json) -> tuple[Definition, ...]:
    """The definitions of a request that was checked and `seeded`."""
    return tuple(_definition(request, each) for each in definitions(request))


def most_jobs(request: Json) -> int:
    """How many training jobs the search has at most."""
    config = request["HyperParameterTuningJobConfig"]
    given = config["ResourceLimits"].get("MaxNumberOfTrainingJobs")
    if given is not None:
        return int(given)
    most = _MOST_JOBS.get(config["Strategy"], _MOST_JOBS_ELSE)
    return int(min(most, sum(math.prod(one.size for one in each.ranges) for each in definitions(request))))


def trial_request(request: Json, definition: Definition, name: str, parameters: Mapping[str, str]) -> Json:
    """CreateTrainingJob's request for one trial; `request` is the tuning job's, its place in its tags.

    A trial's checkpoints are in a folder of its own: in a common one, each would go on from another's.
    """
    taken: Json = {key: definition.content[key] for key in _TAKEN_OVER if key in definition.content}
    taken["ResourceConfig"] = resource_config(definition.content)
    if "CheckpointConfig" in taken:
        config = taken["CheckpointConfig"]
        taken["CheckpointConfig"] = {**config, "S3Uri": f"{config['S3Uri'].rstrip('/')}/{name}"}
    return {
        **taken,
        "TrainingJobName": name,
        "TuningJobArn": arn("hyper-parameter-tuning-job", request["HyperParameterTuningJobName"]),
        "HyperParameters": {**definition.static, **parameters},
        **({"Tags": request["Tags"]} if request.get("Tags") else {}),
    }


def trial_name(job: str, number: int) -> str:
    """As SageMaker names the trials: `<tuning job>-007-1a2b3c4d`."""
    return f"{job}-{number:03d}-{secrets.token_hex(4)}"


def least_parameters(definition: Definition) -> dict[str, str]:
    """Hyperparameters within the ranges, to check a trial's request by before there is a trial."""
    return {each.name: each.values[0] if each.kind == "categorical" else str(each.low) for each in definition.ranges}


def first_description(request: Json, *, with_seed: bool) -> Json:
    """What DescribeHyperParameterTuningJob answers at first, with the members the SDK's attach() counts on."""
    config, at = dict(request["HyperParameterTuningJobConfig"]), now()
    if not with_seed:
        config.pop("RandomSeed", None)
    limits = {"MaxNumberOfTrainingJobs": most_jobs(request), **config["ResourceLimits"]}
    ranges = {"ParameterRanges": _all_kinds(config["ParameterRanges"])} if "ParameterRanges" in config else {}
    name = request["HyperParameterTuningJobName"]
    shown = {**config, **ranges, "ResourceLimits": limits}
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobArn": arn("hyper-parameter-tuning-job", name),
        "HyperParameterTuningJobConfig": {"TrainingJobEarlyStoppingType": "Off", **shown},
        **_shown_definitions(request),
        **({"WarmStartConfig": request["WarmStartConfig"]} if "WarmStartConfig" in request else {}),
        "HyperParameterTuningJobStatus": "InProgress",
        "CreationTime": at,
        "LastModifiedTime": at,
        "TrainingJobStatusCounters": status_counters(()),
        "ObjectiveStatusCounters": objective_counters(()),
        "TuningJobCompletionDetails": {"NumberOfTrainingJobsObjectiveNotImproving": 0},
        "ConsumedResources": {"RuntimeInSeconds": 0},
    }


def _definition(request: Json, searched: Searched) -> Definition:
    config = request["HyperParameterTuningJobConfig"]
    is_hyperband = config["Strategy"] == "Hyperband"
    plan = Plan(
        name="/".join(filter(None, (request["HyperParameterTuningJobName"], searched.name))),
        strategy=config["Strategy"],
        minimize=searched.objective["Type"] == "Minimize",
        ranges=searched.ranges,
        seed=config["RandomSeed"],
        most=most_jobs(request),
        resources=hyperband_resources(config, searched.static) if is_hyperband else None,
    )
    return Definition(searched.name or None, searched.content, searched.ranges, searched.objective["MetricName"], plan)


def _shown_definitions(request: Json) -> Json:
    """As asked for, and as SageMaker completes them: every kind of range, and the objective's hyperparameter."""
    shown = [_shown(each) for each in definitions(request)]
    single = "TrainingJobDefinition"
    return {single: shown[0]} if single in request else {f"{single}s": shown}


def _shown(searched: Searched) -> Json:
    content = searched.content
    ranges = content.get("HyperParameterRanges")
    return {
        "EnableNetworkIsolation": False,
        "EnableInterContainerTrafficEncryption": False,
        "EnableManagedSpotTraining": False,
        **content,
        "ResourceConfig": resource_config(content),  # the SDK's attach() reads it
        "StaticHyperParameters": {**searched.static, OBJECTIVE_HYPERPARAMETER: searched.objective["MetricName"]},
        **({"HyperParameterRanges": _all_kinds(ranges)} if ranges else {}),
    }


def _all_kinds(ranges: Json) -> Json:
    return {**{kind: [] for kind in _KINDS}, **ranges}
