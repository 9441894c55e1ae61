"""Tuning requests that AWS refuses, or that cannot be done here, are refused with a remedy; others pass."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from kennel.local.faults import ApiError
from kennel.local.tuning_checks import check_tuning_job, hyperband_resources
from kennel.local.tuning_definition import resource_config
from kennel.local.warm_start_checks import with_parents_metrics

Json = dict[str, Any]
LR = {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1"}
INSTANCE = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30}
GRID = {"CategoricalParameterRanges": [{"Name": "a", "Values": ["1", "2", "3"]}, {"Name": "b", "Values": ["x", "y"]}]}


def job(strategy: str = "Random", ranges: Json | None = None, **limits: int) -> Json:
    """A request that passes, with another strategy, ranges or limits."""
    return {
        "HyperParameterTuningJobName": "search",
        "HyperParameterTuningJobConfig": {
            "Strategy": strategy,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 6, "MaxParallelTrainingJobs": 2, **limits},
            "ParameterRanges": ranges if ranges is not None else {"ContinuousParameterRanges": [LR]},
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": {"epochs": "5"},
            "ResourceConfig": INSTANCE,
            "AlgorithmSpecification": {
                "TrainingImage": "kennel-train",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
            },
        },
    }


def without_limit(request: Json) -> Json:
    del request["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"]
    return request


def config(request: Json, **members: object) -> Json:
    request["HyperParameterTuningJobConfig"].update(members)
    return request


def definition(request: Json, **members: object) -> Json:
    request["TrainingJobDefinition"].update(members)
    return request


def metrics(*pairs: tuple[str, str]) -> Json:
    return definition(
        job(),
        AlgorithmSpecification={
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in pairs],
        },
    )


def several(*names: str, kinds: tuple[str, ...] = ("Minimize", "Minimize")) -> Json:
    """A request in the other form: TrainingJobDefinitions, each with its name, objective and ranges."""
    request = job()
    of_job = request["HyperParameterTuningJobConfig"]
    one = {
        **request.pop("TrainingJobDefinition"),
        "HyperParameterRanges": of_job.pop("ParameterRanges"),
    }
    del of_job["HyperParameterTuningJobObjective"]
    objectives = [{"Type": kind, "MetricName": "loss"} for kind in kinds]
    named = [
        {**one, "DefinitionName": name, "TuningObjective": objective}
        for name, objective in zip(names, objectives, strict=False)
    ]
    return {**request, "TrainingJobDefinitions": named}


def grids(**limits: int) -> Json:
    """Two definitions that each are a grid of six."""
    request = config(several("one", "two"), Strategy="Grid", ResourceLimits={"MaxParallelTrainingJobs": 2, **limits})
    for each in request["TrainingJobDefinitions"]:
        each["HyperParameterRanges"] = GRID
    return request


def resources(given: Json) -> Json:
    """A request in the form of the SDK v2."""
    request = definition(job(), HyperParameterTuningResourceConfig=given)
    del request["TrainingJobDefinition"]["ResourceConfig"]
    return request


def hyperband(**resources: int) -> Json:
    strategy = {"HyperbandStrategyConfig": resources} if resources else {}
    return config(job("Hyperband"), StrategyConfig=strategy)


def refusal(request: Json, find_parent: Callable[[str], Json | None] = lambda name: None) -> str:
    with pytest.raises(ApiError) as caught:
        check_tuning_job(request, find_parent=find_parent)
    assert caught.value.code == "ValidationException"
    return caught.value.message


@pytest.mark.parametrize(
    "request_",
    [
        job(),
        job("Bayesian", MaxNumberOfTrainingJobs=750, MaxParallelTrainingJobs=100),
        job("Random", MaxNumberOfTrainingJobs=10_000),
        job("Grid", GRID),
        job("Grid", GRID, MaxParallelTrainingJobs=6),
        without_limit(job("Grid", GRID)),
        job("Random", GRID, MaxNumberOfTrainingJobs=6),
        hyperband(MinResource=1, MaxResource=9),
        hyperband(MaxResource=9),
        hyperband(),
        config(hyperband(), TrainingJobEarlyStoppingType="Off"),
        definition(hyperband(), StaticHyperParameters={"n-epochs": '"12"'}),
        config(job(), TrainingJobEarlyStoppingType="Auto", RandomSeed=0),
        definition(job(), StaticHyperParameters={f"s{number}": "1" for number in range(98)}),
        definition(
            job(),
            StaticHyperParameters={"_tuning_objective_metric": "loss", **{f"s{number}": "1" for number in range(98)}},
        ),
        resources(INSTANCE),
        resources({"InstanceConfigs": [INSTANCE, INSTANCE]}),
        several("one"),
        several("one", "two"),
        grids(),
        grids(MaxNumberOfTrainingJobs=12),
    ],
)
def test_request_within_the_rules_passes(request_: Json) -> None:
    before = copy.deepcopy(request_)
    check_tuning_job(request_, find_parent=lambda name: None)
    assert request_ == before


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        # the objective and the metrics
        (
            metrics(("accuracy", "accuracy=([0-9.]+)")),
            "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
            "definitions. (The objective metric 'loss' is not among MetricDefinitions: it defines accuracy.)",
        ),
        (metrics(), "(The objective metric 'loss' is not among MetricDefinitions: there are none.)"),
        (metrics(("loss", "loss=[0-9.]+")), "Invalid regex 'loss=[0-9.]+' of metric 'loss': it has no group."),
        (metrics(("loss", "(l)oss=([0-9.]+)")), "it has 2 groups, and only one can hold the number. Write the others"),
        (metrics(("loss", "loss=(.*?)")), "it reads the empty string and not 0.8125. Put a pattern"),
        (metrics(("loss", r"loss=(\w+)")), "its group takes a word, and not a number"),
        (metrics(("loss", "loss=([0-9.]+)"), ("f1", "f1=(a)(b)")), "Invalid regex 'f1=(a)(b)' of metric 'f1'"),
        (
            metrics(*(("loss", "loss=([0-9.]+)") for _ in range(21))),
            "MetricDefinitions has 21 metrics; a tuning job has at most 20.",
        ),
        # how many jobs
        (job(MaxNumberOfTrainingJobs=10_001), "MaxNumberOfTrainingJobs is 10001. With Strategy 'Random' it is at most"),
        (job("Bayesian", MaxNumberOfTrainingJobs=751), "With Strategy 'Bayesian' it is at most 750."),
        (
            job(MaxNumberOfTrainingJobs=200, MaxParallelTrainingJobs=101),
            "MaxParallelTrainingJobs is 101. It is at most 100.",
        ),
        (
            job(MaxParallelTrainingJobs=7),
            "MaxParallelTrainingJobs (7) cannot be greater than MaxNumberOfTrainingJobs (6). Lower the first or raise",
        ),
        (
            job(ranges=GRID, MaxNumberOfTrainingJobs=7),
            "You don't have enough combinations of hyperparameter ranges. The total number of hyperparameter "
            "combinations for the provided ranges [6.0] must be equal or greater than the value of MaxNumberOfJobs, "
            "[7]. Provide additional ranges.",
        ),
        # grids
        (
            job("Grid"),
            "Strategy 'Grid' takes categorical ranges only, and the hyperparameter 'lr' has a range that is "
            "continuous. List its values in CategoricalParameterRanges, or use another Strategy.",
        ),
        (
            job("Grid", {"IntegerParameterRanges": [{"Name": "n", "MinValue": "1", "MaxValue": "3"}]}),
            "the hyperparameter 'n' has a range that is integer.",
        ),
        (
            job("Grid", GRID, MaxNumberOfTrainingJobs=5),
            "MaxNumberOfTrainingJobs is 5, and the grid has 6 combinations. With Strategy 'Grid' leave it out or set "
            "it to 6.",
        ),
        (without_limit(job("Grid", GRID, MaxParallelTrainingJobs=7)), "the number of combinations of the grid (6)"),
        # Hyperband
        (
            config(hyperband(), TrainingJobEarlyStoppingType="Auto"),
            "TrainingJobEarlyStoppingType 'Auto' cannot be used with Strategy 'Hyperband', which stops jobs early by "
            "itself. Set it to 'Off'.",
        ),
        (
            definition(hyperband(), StaticHyperParameters={"max-epoch": "5"}),
            "Strategy 'Hyperband' needs to know how many epochs a training has: give MaxResource in "
            "HyperbandStrategyConfig, or a static hyperparameter with one of the names epochs, numepochs, n-epochs, "
            "n_epochs, num_epochs.",
        ),
        (definition(hyperband(), StaticHyperParameters={"epochs": "many"}), "'epochs' has value 'many'."),
        (definition(hyperband(), StaticHyperParameters={"epochs": "0"}), "reads the number of epochs from it: 1 to"),
        (hyperband(MinResource=9, MaxResource=3), "MinResource (9) of HyperbandStrategyConfig is greater than its"),
        (hyperband(MinResource=9), "MinResource (9) of HyperbandStrategyConfig is greater than its MaxResource (5)"),
        (hyperband(MaxResource=20_001), "MaxResource of HyperbandStrategyConfig is 20001. It is at most 20000."),
        (
            config(job(), StrategyConfig={"HyperbandStrategyConfig": {"MaxResource": 3}}),
            "HyperbandStrategyConfig is for Strategy 'Hyperband', and this one is 'Random'. Take it out.",
        ),
        # hyperparameters
        (job(ranges={}), "ParameterRanges has no range: there is nothing to search."),
        (
            definition(job(), StaticHyperParameters={"lr": "0.5"}),
            "The hyperparameter 'lr' is both static (value '0.5') and tunable. Take it out of StaticHyperParameters",
        ),
        (
            job(ranges={"CategoricalParameterRanges": [{"Name": "_tuning_objective_metric", "Values": ["a", "b"]}]}),
            "The hyperparameter '_tuning_objective_metric' is set by the tuning job itself. Take its range out.",
        ),
        (
            definition(job(), StaticHyperParameters={f"s{number}": "1" for number in range(99)}),
            "A tuning job has at most 100 hyperparameters, static and tunable together with "
            "'_tuning_objective_metric'; this one has 101. Leave some static ones out.",
        ),
        # the shape
        ({**job(), "Autotune": {"Mode": "Enabled"}}, "Autotune is not supported by the local SageMaker. Leave it out"),
        (
            {**job(), "TrainingJobDefinitions": [{}]},
            "You must specify either TrainingJobDefinition or TrainingJobDefinitions, and not both.",
        ),
        (several("one", "one"), "The DefinitionName 'one' is used 2 times in TrainingJobDefinitions. Where there are"),
        (several("one", "two", kinds=("Minimize", "Maximize")), "are of both types, Minimize and Maximize"),
        (grids(MaxNumberOfTrainingJobs=6), "MaxNumberOfTrainingJobs is 6, and the grid has 12 combinations."),
        (
            config(several("one"), ParameterRanges={"ContinuousParameterRanges": [LR]}),
            "You must specify either ParameterRanges in HyperParameterTuningJobConfig or HyperParameterRanges in the",
        ),
        (
            definition(job(), TuningObjective={"Type": "Minimize", "MetricName": "loss"}),
            "You must specify either HyperParameterTuningJobObjective in HyperParameterTuningJobConfig or",
        ),
        (
            definition(job(), HyperParameterTuningResourceConfig=INSTANCE),
            "You must specify either ResourceConfig or HyperParameterTuningResourceConfig in the training job",
        ),
        (
            resources({**INSTANCE, "InstanceConfigs": [INSTANCE]}),
            "HyperParameterTuningResourceConfig has both InstanceConfigs and InstanceType.",
        ),
    ],
)
def test_request_outside_the_rules_is_refused(request_: Json, fault: str) -> None:
    assert fault in refusal(request_)


@pytest.mark.parametrize(
    "given", [INSTANCE, {"InstanceConfigs": [INSTANCE, {**INSTANCE, "InstanceType": "ml.c5.large"}]}]
)
def test_instance_of_a_training_is_the_first_that_was_asked_for(given: Json) -> None:
    content = {"HyperParameterTuningResourceConfig": {**given, "VolumeKmsKeyId": "key"}}
    assert resource_config(content) == {**INSTANCE, "VolumeKmsKeyId": "key"}
    assert resource_config({"ResourceConfig": INSTANCE}) == INSTANCE


def test_resources_of_hyperband_are_given_or_told_by_the_epochs() -> None:
    of_job = hyperband(MinResource=2)["HyperParameterTuningJobConfig"]
    assert hyperband_resources(of_job, {"num_epochs": "7"}) == (2, 7)
    assert hyperband_resources({}, {"numepochs": '"7"'}) == (1, 7)


# Warm start: `first` is the parent, of a tuning job that passes.
FIRST: Json = {
    **job(),
    "HyperParameterTuningJobName": "first",
    "HyperParameterTuningJobStatus": "Completed",
    "TrainingJobStatusCounters": {"Completed": 6, "InProgress": 0, "Stopped": 0, "NonRetryableError": 0},
}


def warm(request: Json, *parents: str, kind: str = "TransferLearning") -> Json:
    names = [{"HyperParameterTuningJobName": name} for name in parents or ("first",)]
    return {**request, "WarmStartConfig": {"ParentHyperParameterTuningJobs": names, "WarmStartType": kind}}


def channel(uri: str) -> Json:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
    return {"InputDataConfig": [{"ChannelName": "train", "DataSource": source}]}


def parent(**members: object) -> Callable[[str], Json | None]:
    return lambda name: {**FIRST, **members} if name == "first" else None


def with_static(**static: str) -> Json:
    return definition(job(), StaticHyperParameters=static)


@pytest.mark.parametrize(
    ("request_", "find_parent"),
    [
        (warm(job()), parent()),
        (warm(job(), kind="IdenticalDataAndAlgorithm"), parent(HyperParameterTuningJobStatus="Stopped")),
        (warm(with_static(epochs="9")), parent()),
        (warm(config(with_static(lr="0.1"), ParameterRanges={"IntegerParameterRanges": [
            {"Name": "epochs", "MinValue": "1", "MaxValue": "6"}]})), parent()),
        (warm(with_static(epochs="5", sagemaker_program="b.py")), parent(**with_static(epochs="5", sagemaker_x="a"))),
        (warm(several("one")), parent()),
        (
            warm(definition(job(), **channel("s3://b/data/")), kind="IdenticalDataAndAlgorithm"),
            parent(**definition(job(), **channel("s3://b/data"))),
        ),
    ],
    ids=["same", "identical", "one-value", "exchanged", "sdk", "definitions", "slash"],
)  # fmt: skip
def test_warm_start_within_the_rules_passes(request_: Json, find_parent: Callable[[str], Json | None]) -> None:
    check_tuning_job(request_, find_parent=find_parent)


@pytest.mark.parametrize(
    ("request_", "find_parent", "fault"),
    [
        (warm(job(), "second"), parent(), "The parent tuning job 'second' of WarmStartConfig does not exist."),
        (warm(job(), "first", "first"), parent(), "The parent tuning job 'first' is twice in WarmStartConfig."),
        (warm(job(), "search"), parent(), "The tuning job 'search' cannot be its own parent."),
        (
            warm(job()),
            parent(HyperParameterTuningJobStatus="InProgress"),
            "The parent tuning job 'first' is in status InProgress. A parent must be in a terminal state (Completed, "
            "Stopped, Failed). Wait for it, or stop it.",
        ),
        (
            warm(config(job(), HyperParameterTuningJobObjective={"Type": "Maximize", "MetricName": "loss"})),
            parent(),
            "The objective metric must be the same as in every parent tuning job: Type is 'Maximize', and 'Minimize'",
        ),
        (
            warm(with_static(epochs="5", momentum="0.9")),
            parent(),
            "The set of tunable plus static HyperParameter names is not the same across current and parent tuning "
            "jobs. Please ensure this set is constant when warm starting. Note that previously static HyperParameters "
            "can be tuned in warm start jobs and vice versa. (Parent 'first' differs in 'momentum'.)",
        ),
        (
            warm(job(ranges={"CategoricalParameterRanges": [{"Name": "lr", "Values": list("123456")}]})),
            parent(),
            "The type of the hyperparameter 'lr' must not change: it is categorical, and continuous in parent 'first'.",
        ),
        (
            warm(with_static(**{f"s{number}": "new" for number in range(6)})),
            parent(**with_static(**{f"s{number}": "old" for number in range(6)})),
            "There are 12 changes of static hyperparameters between this tuning job and parent 'first'",
        ),
        (
            warm(several("one", "two")),
            parent(),
            "Warm start is not supported for tuning jobs with several training job definitions, and 'search' has 2.",
        ),
        (
            warm(definition(job(), Environment={"A": "1"})),
            parent(),
            "Only the following fields in TrainingJobDefinition are allowed to change: [algorithmSpecification, ",
        ),
        (
            warm(definition(job(), **channel("s3://b/new")), kind="IdenticalDataAndAlgorithm"),
            parent(**definition(job(), **channel("s3://b/old"))),
            "WarmStartType 'IdenticalDataAndAlgorithm' needs the InputDataConfig of its parents: it is {'train': "
            "'s3://b/new'}, and {'train': 's3://b/old'} in parent 'first'. Use the same, or WarmStartType "
            "'TransferLearning'.",
        ),
        (
            warm(job("Bayesian", MaxNumberOfTrainingJobs=700)),
            parent(TrainingJobStatusCounters={"Completed": 51}),
            "MaxNumberOfTrainingJobs is 700, and the parent tuning jobs have launched 51: together they are more than "
            "750.",
        ),
    ],
)
def test_warm_start_outside_the_rules_is_refused(
    request_: Json, find_parent: Callable[[str], Json | None], fault: str
) -> None:
    assert fault in refusal(request_, find_parent)


def test_child_without_metrics_has_those_of_its_first_parent_that_has_some() -> None:
    """As the SDK makes children: it leaves them out."""
    child = warm(metrics(), "nobody", "first")
    expected = FIRST["TrainingJobDefinition"]["AlgorithmSpecification"]["MetricDefinitions"]
    completed = with_parents_metrics(child, find_parent=parent())
    assert completed["TrainingJobDefinition"]["AlgorithmSpecification"]["MetricDefinitions"] == expected
    assert child == warm(metrics(), "nobody", "first")
    own = warm(metrics(("loss", "l=([0-9.]+)")))
    assert with_parents_metrics(own, find_parent=parent()) == own
    assert with_parents_metrics(metrics(), find_parent=parent()) == metrics()
