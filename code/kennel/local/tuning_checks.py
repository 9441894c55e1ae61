"""What a CreateHyperParameterTuningJob request must satisfy beyond each member's own limits, in AWS's words' shape.

Everything here is said before anything is spent; what one trial's training asks for is checked as every training is
(training_rules).
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

from kennel.local.faults import invalid
from kennel.local.metric_regexes import check_metrics
from kennel.local.tuning_definition import Searched, definition_contents, definitions
from kennel.local.validation import Json
from kennel.local.warm_start_checks import check_warm_start

# AWS's limits of one tuning job.
_MOST_JOBS: Final = {"Random": 10_000}
_MOST_JOBS_ELSE: Final = 750
_MOST_PARALLEL: Final = 100
_MOST_METRICS: Final = 20
_MOST_HYPERPARAMETERS: Final = 100
# Added to every trial, and counted.
OBJECTIVE_HYPERPARAMETER: Final = "_tuning_objective_metric"
# Hyperband takes its largest resource from a static hyperparameter of one of these names.
EPOCH_NAMES: Final = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
_MOST_RESOURCE: Final = 20_000


def check_tuning_job(request: Json, *, find_parent: Callable[[str], Json | None]) -> None:
    """Raises ApiError for a request that AWS would refuse, or that cannot be done here.

    find_parent: the description of a tuning job by its name, or None.
    """
    if "Autotune" in request:
        raise invalid(
            "Autotune is not supported by the local SageMaker. Leave it out, and give ParameterRanges and "
            "ResourceLimits of your own."
        )
    check_tuning_members(request)
    check_warm_start(request, find_parent=find_parent)


def check_tuning_members(request: Json) -> None:
    """Raises ApiError for a request that AWS would refuse, whatever was tuned before; not for one with Autotune."""
    _check_shape(request)
    found = definitions(request)
    _check_names(found)
    for each in found:
        _check_metrics(each)
        _check_hyperparameters(each)
    config = request["HyperParameterTuningJobConfig"]
    _check_limits(config["ResourceLimits"], config["Strategy"])
    _check_strategy(config, found)


def _check_shape(request: Json) -> None:
    if ("TrainingJobDefinition" in request) == ("TrainingJobDefinitions" in request):
        raise invalid("You must specify either TrainingJobDefinition or TrainingJobDefinitions, and not both.")
    config = request["HyperParameterTuningJobConfig"]
    for content in definition_contents(request):
        _check_in_one_place(config, content, ("HyperParameterTuningJobObjective", "TuningObjective"))
        _check_in_one_place(config, content, ("ParameterRanges", "HyperParameterRanges"))
        _check_resources(content)


def _check_resources(content: Json) -> None:
    if ("ResourceConfig" in content) == ("HyperParameterTuningResourceConfig" in content):
        raise invalid(
            "You must specify either ResourceConfig or HyperParameterTuningResourceConfig in the training job "
            "definition, and not both."
        )
    given = content.get("HyperParameterTuningResourceConfig", {})
    twice = [each for each in ("InstanceType", "InstanceCount", "VolumeSizeInGB") if each in given]
    if "InstanceConfigs" in given and twice:
        raise invalid(
            f"HyperParameterTuningResourceConfig has both InstanceConfigs and {twice[0]}. Keep InstanceConfigs, or "
            "InstanceType, InstanceCount and VolumeSizeInGB."
        )


def _check_in_one_place(config: Json, definition: Json, names: tuple[str, str]) -> None:
    of_job, of_definition = names
    if (of_job in config) == (of_definition in definition):
        raise invalid(
            f"You must specify either {of_job} in HyperParameterTuningJobConfig or {of_definition} in the training job "
            "definition, and not both."
        )


def _check_names(found: Sequence[Searched]) -> None:
    names = [each.name for each in found]
    for name in names:
        if len(names) > 1 and (not name or names.count(name) > 1):
            raise invalid(
                f"The DefinitionName '{name}' is used {names.count(name)} times in TrainingJobDefinitions. Where there "
                "are several, each needs a name of its own."
            )
    if len({each.objective["Type"] for each in found}) > 1:
        raise invalid(
            "The TuningObjectives of TrainingJobDefinitions are of both types, Minimize and Maximize: their training "
            "jobs cannot be compared. Use one Type for all."
        )


def _check_metrics(searched: Searched) -> None:
    given, objective = searched.content["AlgorithmSpecification"].get("MetricDefinitions", []), searched.objective
    if len(given) > _MOST_METRICS:
        raise invalid(
            f"MetricDefinitions has {len(given)} metrics; a tuning job has at most {_MOST_METRICS}. "
            "Leave out those that are not needed."
        )
    check_metrics(given)
    names = [each["Name"] for each in given]
    if objective["MetricName"] not in names:
        known = f"it defines {', '.join(names)}" if names else "there are none"
        raise invalid(
            "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
            f"definitions. (The objective metric '{objective['MetricName']}' is not among MetricDefinitions: {known}.)"
        )


def _check_hyperparameters(searched: Searched) -> None:
    static, names = searched.static, {each.name for each in searched.ranges}
    if not names:
        raise invalid("ParameterRanges has no range: there is nothing to search. Give at least one hyperparameter one.")
    for name in names:
        if name == OBJECTIVE_HYPERPARAMETER:
            raise invalid(f"The hyperparameter '{name}' is set by the tuning job itself. Take its range out.")
        if name in static:
            raise invalid(
                f"The hyperparameter '{name}' is both static (value '{static[name]}') and tunable. "
                "Take it out of StaticHyperParameters, or take its range out."
            )
    count = len(names | static.keys() | {OBJECTIVE_HYPERPARAMETER})
    if count > _MOST_HYPERPARAMETERS:
        raise invalid(
            f"A tuning job has at most {_MOST_HYPERPARAMETERS} hyperparameters, static and tunable together with "
            f"'{OBJECTIVE_HYPERPARAMETER}'; this one has {count}. Leave some static ones out."
        )


def _check_limits(limits: Json, strategy: str) -> None:
    jobs, parallel = limits.get("MaxNumberOfTrainingJobs"), limits["MaxParallelTrainingJobs"]
    most = _MOST_JOBS.get(strategy, _MOST_JOBS_ELSE)
    if jobs is not None and jobs > most:
        raise invalid(f"MaxNumberOfTrainingJobs is {jobs}. With Strategy '{strategy}' it is at most {most}.")
    if parallel > _MOST_PARALLEL:
        raise invalid(f"MaxParallelTrainingJobs is {parallel}. It is at most {_MOST_PARALLEL}.")
    if jobs is not None and parallel > jobs:
        raise invalid(
            f"MaxParallelTrainingJobs ({parallel}) cannot be greater than MaxNumberOfTrainingJobs ({jobs}). "
            "Lower the first or raise the second."
        )


def _check_strategy(config: Json, found: Sequence[Searched]) -> None:
    strategy = config["Strategy"]
    if "HyperbandStrategyConfig" in config.get("StrategyConfig", {}) and strategy != "Hyperband":
        raise invalid(
            f"HyperbandStrategyConfig is for Strategy 'Hyperband', and this one is '{strategy}'. Take it out."
        )
    if strategy == "Grid":
        _check_grid(config["ResourceLimits"], found)
    else:
        _check_enough(config["ResourceLimits"], found)
    if strategy == "Hyperband":
        for each in found:
            _check_hyperband(config, each.static)


def _combinations(found: Sequence[Searched]) -> float:
    return sum(math.prod(each.size for each in searched.ranges) for searched in found)


def _check_grid(limits: Json, found: Sequence[Searched]) -> None:
    for each in [each for searched in found for each in searched.ranges]:
        if each.kind != "categorical":
            raise invalid(
                f"Strategy 'Grid' takes categorical ranges only, and the hyperparameter '{each.name}' has a range that "
                f"is {each.kind}. List its values in CategoricalParameterRanges, or use another Strategy."
            )
    count = int(_combinations(found))
    jobs, parallel = limits.get("MaxNumberOfTrainingJobs", count), limits["MaxParallelTrainingJobs"]
    if jobs != count:
        raise invalid(
            f"MaxNumberOfTrainingJobs is {jobs}, and the grid has {count} combinations. With Strategy 'Grid' leave it "
            f"out or set it to {count}."
        )
    if parallel > count:
        raise invalid(
            f"MaxParallelTrainingJobs ({parallel}) cannot be greater than the number of combinations of the grid "
            f"({count}). Lower it."
        )


def _check_enough(limits: Json, found: Sequence[Searched]) -> None:
    """A search must not need more combinations than there are."""
    jobs, count = limits.get("MaxNumberOfTrainingJobs", 1), _combinations(found)
    if count < jobs:
        raise invalid(
            "You don't have enough combinations of hyperparameter ranges. The total number of hyperparameter "
            f"combinations for the provided ranges [{float(count)}] must be equal or greater than the value of "
            f"MaxNumberOfJobs, [{jobs}]. Provide additional ranges. (Or lower MaxNumberOfTrainingJobs.)"
        )


def _check_hyperband(config: Json, static: dict[str, str]) -> None:
    if config.get("TrainingJobEarlyStoppingType", "Off") != "Off":
        raise invalid(
            "TrainingJobEarlyStoppingType 'Auto' cannot be used with Strategy 'Hyperband', which stops jobs early by "
            "itself. Set it to 'Off'."
        )
    low, high = hyperband_resources(config, static)
    if low > high:
        raise invalid(
            f"MinResource ({low}) of HyperbandStrategyConfig is greater than its MaxResource ({high}). Lower the first."
        )


def hyperband_resources(config: Json, static: dict[str, str]) -> tuple[int, int]:
    """The least and the most epochs of a trial. config: HyperParameterTuningJobConfig.

    Raises ApiError if they are neither given nor told by a static hyperparameter.
    """
    given = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
    for end in ("MinResource", "MaxResource"):
        if given.get(end, 1) > _MOST_RESOURCE:
            raise invalid(f"{end} of HyperbandStrategyConfig is {given[end]}. It is at most {_MOST_RESOURCE}.")
    high = given.get("MaxResource") or _static_epochs(static)
    if high is None:
        raise invalid(
            "Strategy 'Hyperband' needs to know how many epochs a training has: give MaxResource in "
            f"HyperbandStrategyConfig, or a static hyperparameter with one of the names {', '.join(EPOCH_NAMES)}."
        )
    return given.get("MinResource", 1), high


def _static_epochs(static: dict[str, str]) -> int | None:
    for name in EPOCH_NAMES:
        text = static.get(name, "").strip().strip('"')
        if text:
            if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST_RESOURCE):
                raise invalid(
                    f"The static hyperparameter '{name}' has value '{static[name]}'. Strategy 'Hyperband' reads the "
                    f"number of epochs from it: 1 to {_MOST_RESOURCE}. Correct it, or give MaxResource in "
                    "HyperbandStrategyConfig."
                )
            return int(text)
    return None
