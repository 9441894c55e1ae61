"""The rules between a tuning job that is warm started and its parents, as the developer guide has them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kennel.local.faults import invalid
from kennel.local.tuning_definition import Searched, definitions
from kennel.local.validation import Json

_ENDED: Final = ("Completed", "Stopped", "Failed")
_MOST_CHANGES: Final = 10
# What a static value that is changed counts for; a category that becomes static counts its values.
_STATIC_CHANGE: Final = 2
_MOST_JOBS: Final = 750
# Of the SDK's own hyperparameters some differ from job to job.
_ADDED: Final = ("sagemaker_", "_tuning_objective_metric")
# What must stay as it is, with what it is when it is not given; the rest may change.
_FIXED: Final[Mapping[str, object]] = {
    "EnableNetworkIsolation": False,
    "EnableInterContainerTrafficEncryption": False,
    "Environment": {},
    "RetryStrategy": {},
}
_MAY_CHANGE: Final = (
    "algorithmSpecification, inputDataConfig, outputDataConfig, staticHyperParameters, roleArn, resourceConfig, "
    "stoppingCondition, vpcConfig, enableManagedSpotTraining, checkpointConfig"
)


def check_warm_start(request: Json, *, find_parent: Callable[[str], Json | None]) -> None:
    """Raises ApiError for parents that a new tuning job cannot learn from.

    find_parent: the description of a tuning job by its name, or None.
    """
    if "WarmStartConfig" not in request:
        return
    config = request["WarmStartConfig"]
    parents = _parents(request["HyperParameterTuningJobName"], config, find_parent)
    for name, parent in parents.items():
        new, old = _only(request), _only(parent)
        _check_parent(new, old, name)
        if config["WarmStartType"] == "IdenticalDataAndAlgorithm":
            _check_identical(new, old, name)
    _check_count(request, list(parents.values()))


def with_parents_metrics(request: Json, *, find_parent: Callable[[str], Json | None]) -> Json:
    """The request with the metric definitions of its parent, if it is warm started and has none of its own.

    The SDK's transfer_learning_tuner() and identical_dataset_and_algorithm_tuner() do not copy those of the tuner.
    """
    parents = request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", [])
    algorithm = request.get("TrainingJobDefinition", {}).get("AlgorithmSpecification", {})
    if not algorithm or algorithm.get("MetricDefinitions"):
        return request
    for each in parents:
        content = (find_parent(each.get("HyperParameterTuningJobName", "")) or {}).get("TrainingJobDefinition", {})
        if metrics := content.get("AlgorithmSpecification", {}).get("MetricDefinitions"):
            changed = {"AlgorithmSpecification": {**algorithm, "MetricDefinitions": metrics}}
            return {**request, "TrainingJobDefinition": {**request["TrainingJobDefinition"], **changed}}
    return request


def _parents(child: str, config: Json, find_parent: Callable[[str], Json | None]) -> dict[str, Json]:
    """The parents' descriptions by their names."""
    parents: dict[str, Json] = {}
    for each in config["ParentHyperParameterTuningJobs"]:
        name = each.get("HyperParameterTuningJobName", "")
        if name in parents:
            raise invalid(f"The parent tuning job '{name}' is twice in WarmStartConfig. Name each parent once.")
        if name == child:
            raise invalid(f"The tuning job '{name}' cannot be its own parent. Name another one in WarmStartConfig.")
        parent = find_parent(name)
        if parent is None:
            raise invalid(
                f"The parent tuning job '{name}' of WarmStartConfig does not exist. Name a tuning job that has ended."
            )
        if parent["HyperParameterTuningJobStatus"] not in _ENDED:
            raise invalid(
                f"The parent tuning job '{name}' is in status {parent['HyperParameterTuningJobStatus']}. A parent must "
                f"be in a terminal state ({', '.join(_ENDED)}). Wait for it, or stop it."
            )
        parents[name] = parent
    return parents


def _only(job: Json) -> Searched:
    """The definition of a tuning job that has one. As on AWS, others have no part in warm starts."""
    found = definitions(job)
    if len(found) > 1:
        raise invalid(
            f"Warm start is not supported for tuning jobs with several training job definitions, and "
            f"'{job['HyperParameterTuningJobName']}' has {len(found)}. Use TrainingJobDefinition, in the parents too."
        )
    return found[0]


def _check_parent(new: Searched, old: Searched, name: str) -> None:
    for member in ("MetricName", "Type"):
        if new.objective[member] != old.objective[member]:
            raise invalid(
                f"The objective metric must be the same as in every parent tuning job: {member} is "
                f"'{new.objective[member]}', and '{old.objective[member]}' in parent '{name}'. Use that one."
            )
    for member, default in _FIXED.items():
        if new.content.get(member, default) != old.content.get(member, default):
            raise invalid(
                f"Only the following fields in TrainingJobDefinition are allowed to change: [{_MAY_CHANGE}]. "
                f"({member} is not what it was in parent '{name}'.)"
            )
    _check_hyperparameters(_Space(new), _Space(old), name)


def _check_hyperparameters(new: "_Space", old: "_Space", name: str) -> None:
    if new.names != old.names:
        differing = ", ".join(f"'{each}'" for each in sorted(new.names ^ old.names))
        raise invalid(
            "The set of tunable plus static HyperParameter names is not the same across current and parent tuning "
            "jobs. Please ensure this set is constant when warm starting. Note that previously static HyperParameters "
            f"can be tuned in warm start jobs and vice versa. (Parent '{name}' differs in {differing}.)"
        )
    for each in new.ranges.keys() & old.ranges.keys():
        if new.ranges[each].kind != old.ranges[each].kind:
            raise invalid(
                f"The type of the hyperparameter '{each}' must not change: it is {new.ranges[each].kind}, and "
                f"{old.ranges[each].kind} in parent '{name}'."
            )
    changes = _changes(new, old)
    if changes > _MOST_CHANGES:
        raise invalid(
            f"There are {changes} changes of static hyperparameters between this tuning job and parent '{name}' "
            f"(a value that is changed counts {_STATIC_CHANGE}, a category that became static the number of its "
            f"values); at most {_MOST_CHANGES} are allowed. Keep more values as they were."
        )


class _Space:
    """The hyperparameters of a definition, without those that the SDK and the platform add."""

    def __init__(self, searched: Searched) -> None:
        self.ranges = {each.name: each for each in searched.ranges}
        self.static = {name: value for name, value in searched.static.items() if not name.startswith(_ADDED)}

    @property
    def names(self) -> set[str]:
        return self.ranges.keys() | self.static.keys()


def _changes(new: _Space, old: _Space) -> int:
    count = 0
    for name, value in new.static.items():
        if name in old.ranges:
            count += max(1, len(old.ranges[name].values))
        elif old.static[name] != value:
            count += _STATIC_CHANGE
    return count


def _check_identical(new_one: Searched, old_one: Searched, name: str) -> None:
    contents = new_one.content, old_one.content
    images = [each["AlgorithmSpecification"].get("TrainingImage") for each in contents]
    inputs = [_inputs(each) for each in contents]
    for what, (new, old) in (("TrainingImage", images), ("InputDataConfig", inputs)):
        if new != old:
            raise invalid(
                f"WarmStartType 'IdenticalDataAndAlgorithm' needs the {what} of its parents: it is {new}, and {old} in "
                f"parent '{name}'. Use the same, or WarmStartType 'TransferLearning'."
            )


def _inputs(definition: Json) -> dict[str, Any]:
    """The address of each channel."""
    channels = definition.get("InputDataConfig", [])
    sources = {each["ChannelName"]: each["DataSource"].get("S3DataSource", {}) for each in channels}
    return {name: str(source.get("S3Uri", "")).rstrip("/") for name, source in sources.items()}


def _check_count(request: Json, parents: Sequence[Json]) -> None:
    """The parents' training jobs count against the limit of the new job."""
    jobs = request["HyperParameterTuningJobConfig"]["ResourceLimits"].get("MaxNumberOfTrainingJobs", 1)
    launched = sum(sum(parent.get("TrainingJobStatusCounters", {}).values()) for parent in parents)
    if jobs + launched > _MOST_JOBS and request["HyperParameterTuningJobConfig"]["Strategy"] != "Random":
        raise invalid(
            f"MaxNumberOfTrainingJobs is {jobs}, and the parent tuning jobs have launched {launched}: together they "
            f"are more than {_MOST_JOBS}. Lower it, or name fewer parents."
        )
