"""The SDK v2's HyperparameterTuner against the local service, with stand-in trainings: what people's notebooks call."""

import copy
import json
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import test_sdk
from botocore.config import Config
from botocore.exceptions import ClientError

from kennel.local import daemon
from kennel.local.settings import DEFAULT_BUCKET
from local_service import ROLE, Client, wait_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own, at import
    import sagemaker.session
    import sagemaker.utils
    from sagemaker.analytics import HyperparameterTuningJobAnalytics
    from sagemaker.estimator import Estimator
    from sagemaker.exceptions import UnexpectedStatusException
    from sagemaker.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter, ParameterRange
    from sagemaker.session import Session
    from sagemaker.telemetry import telemetry_logging
    from sagemaker.tuner import (
        HyperbandStrategyConfig,
        HyperparameterTuner,
        StrategyConfig,
        TuningJobCompletionCriteriaConfig,
        WarmStartConfig,
        WarmStartTypes,
        create_identical_dataset_and_algorithm_tuner,
        create_transfer_learning_tuner,
    )

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the SDK's own
    pytest.mark.filterwarnings("ignore::sagemaker.deprecations.SageMakerV2DeprecationWarning"),
]
METRICS = [{"Name": "objective", "Regex": r"objective=([0-9.]+)"}, {"Name": "loss", "Regex": r"loss=([0-9.]+)"}]
LR = ContinuousParameter(0.0001, 1, scaling_type="Logarithmic")
BATCH = CategoricalParameter([16, 32, 64])


@pytest.fixture(scope="module")
def session(client: Client) -> Iterator[Session]:
    """One session for all tests: to make one takes half a second."""
    with pytest.MonkeyPatch.context() as patch:
        for key in [key for key in os.environ if key.startswith("AWS_")]:
            patch.delenv(key)
        for key, value in daemon.environment(client.state).items():
            patch.setenv(key, value)
        patch.setattr(sagemaker.session, "time", test_sdk.HurriedTime())
        made = Session()
        patch.setattr(sagemaker.utils, "validate_sagemaker_config", lambda config: None)
        patch.setattr(telemetry_logging, "_send_telemetry_request", lambda *args: pytest.fail("it calls home"))
        yield made


def estimator(session: Session, **orders: object) -> Estimator:
    """A training of the stand-in: its objective is lowest for lr 0.01 and batch 32."""
    return Estimator(
        image_uri=test_sdk.IMAGE.format("train"),
        role=ROLE,
        instance_count=1,
        instance_type="ml.m5.large",
        sagemaker_session=session,
        hyperparameters={"objective": 1, "steps": 2, **orders},
        tags=[{"Key": "team", "Value": "dogs"}],
    )


def tuner(
    session: Session,
    ranges: dict[str, ParameterRange] | None = None,
    *,
    orders: dict[str, object] | None = None,
    **options: Any,  # noqa: ANN401  HyperparameterTuner's own
) -> HyperparameterTuner:
    """A tuner that minimizes the stand-in's objective; four trainings, two at a time."""
    defaults = {"objective_type": "Minimize", "max_jobs": 4, "max_parallel_jobs": 2, "strategy": "Random"}
    return HyperparameterTuner(
        estimator(session, **(orders or {})),
        "objective",
        ranges or {"lr": LR, "batch": BATCH},
        METRICS,
        **{**defaults, **options},
    )


def found(made: HyperparameterTuner) -> Any:  # noqa: ANN401  a pandas data frame
    """What analytics() tells, a row a training."""
    return made.analytics().dataframe(force_refresh=True)


def counted(made: HyperparameterTuner) -> dict[str, int]:
    """How many trainings ended how, without zeros."""
    return {key: count for key, count in made.describe()["TrainingJobStatusCounters"].items() if count}


@pytest.mark.parametrize(
    ("name", "options", "ranges"),
    [
        ("amt-bayesian", {"strategy": "Bayesian"}, {"lr": LR, "batch": BATCH}),
        ("amt-random", {"strategy": "Random", "early_stopping_type": "Auto"}, {"lr": LR, "batch": BATCH}),
        ("amt-grid", {"strategy": "Grid", "max_jobs": 6}, {"batch": BATCH, "lr": CategoricalParameter([0.1, 0.01])}),
        (
            "amt-hyperband",
            {
                "strategy": "Hyperband",
                "strategy_config": StrategyConfig(HyperbandStrategyConfig(max_resource=4, min_resource=1)),
            },
            {"lr": LR, "batch": BATCH},
        ),
    ],
)
def test_tuner_of_each_strategy_finds_a_best_training(
    session: Session, name: str, options: dict[str, Any], ranges: dict[str, ParameterRange]
) -> None:
    made = tuner(session, ranges, **options)
    made.fit(job_name=name)  # waits
    rows = found(made)
    jobs = 6 if name == "amt-grid" else 4
    description = made.describe()
    assert description["HyperParameterTuningJobStatus"] == "Completed"
    assert len(rows) == sum(counted(made).values()) == jobs
    assert set(rows["TrainingJobStatus"]) <= {"Completed", "Stopped"}
    done = rows[rows["TrainingJobStatus"] == "Completed"]
    best = done.loc[done["FinalObjectiveValue"].idxmin()]
    assert made.best_training_job() == best["TrainingJobName"] == description["BestTrainingJob"]["TrainingJobName"]
    assert set(rows["batch"]) <= {16, 32, 64} and all(rows["lr"].between(0.0001, 1))
    assert (rows["TrainingElapsedTimeSeconds"] >= 0).all()


def test_grid_tries_every_combination_once(session: Session) -> None:
    made = tuner(
        session,
        {"batch": BATCH, "optimizer": CategoricalParameter(["adam", "sgd"])},
        strategy="Grid",
        max_jobs=6,
        max_parallel_jobs=3,
    )
    made.fit(job_name="amt-grid-all")
    tried = sorted((row["batch"], row["optimizer"]) for row in found(made).to_dict("records"))
    assert tried == [(batch, optimizer) for batch in (16, 32, 64) for optimizer in ("adam", "sgd")]


def test_ranges_of_every_kind_and_scaling_reach_the_trainings(client: Client, session: Session) -> None:
    ranges = {
        "c-auto": ContinuousParameter(0, 1),
        "c-linear": ContinuousParameter(-1, 1, scaling_type="Linear"),
        "lr": ContinuousParameter(1e-4, 1e-1, scaling_type="Logarithmic"),
        "c-reverse": ContinuousParameter(0.5, 0.999, scaling_type="ReverseLogarithmic"),
        "i-auto": IntegerParameter(0, 3),
        "i-linear": IntegerParameter(10, 20, scaling_type="Linear"),
        "i-log": IntegerParameter(1, 1024, scaling_type="Logarithmic"),
        "category": CategoricalParameter(["a b", "c,d", "ü"]),
    }
    made = tuner(session, ranges, max_jobs=3, max_parallel_jobs=3)
    made.fit(job_name="amt-kinds")
    for name in found(made)["TrainingJobName"]:
        given = client.job(name)["HyperParameters"]
        for key, asked in ranges.items():
            assert asked.is_valid(asked.cast_to_type(given[key])), (key, given[key])
        assert given["_tuning_objective_metric"] == "objective" and given["steps"] == "2"
        seen = json.loads((client.runs / name / "ml/input/config/hyperparameters.json").read_text())
        assert seen == given
        assert client.job(name)["TuningJobArn"].endswith(":hyper-parameter-tuning-job/amt-kinds")


def test_objective_is_maximized_when_asked(session: Session) -> None:
    made = tuner(session, objective_type="Maximize")
    made.fit(job_name="amt-maximize")
    rows = found(made)
    assert made.best_training_job() == rows.loc[rows["FinalObjectiveValue"].idxmax()]["TrainingJobName"]


def test_tuner_that_does_not_wait_is_attached_and_stopped(client: Client, session: Session) -> None:
    made = tuner(session, orders={"steps": 600, "step-s": 0.1}, max_jobs=4)
    made.fit(job_name="amt-stopped", wait=False)
    attached = HyperparameterTuner.attach("amt-stopped", sagemaker_session=session)
    assert attached.describe()["HyperParameterTuningJobStatus"] == "InProgress"
    assert (attached.strategy, attached.objective_type, attached.max_jobs) == ("Random", "Minimize", 4)
    assert attached.objective_metric_name == "objective" and attached.metric_definitions == METRICS
    assert attached.estimator.hyperparameters() == {"objective": "1", "steps": "600", "step-s": "0.1"}
    wait_until(lambda: len(found(attached)) == 2, what="two trainings")
    attached.stop_tuning_job()
    attached.wait()
    assert attached.describe()["HyperParameterTuningJobStatus"] == "Stopped"
    assert set(found(made)["TrainingJobStatus"]) == {"Stopped"}
    with pytest.raises(ClientError, match="is in status Stopped"):
        client.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="amt-stopped")


def test_attached_tuner_of_a_finished_job_knows_what_it_found(session: Session) -> None:
    made = tuner(session, strategy="Grid", max_jobs=3, ranges={"batch": BATCH}, random_seed=3)
    made.fit(job_name="amt-attached")
    attached = HyperparameterTuner.attach("amt-attached", sagemaker_session=session)
    assert attached.best_training_job() == made.best_training_job()
    assert (attached.max_jobs, attached.random_seed, attached.early_stopping_type) == (3, 3, "Off")
    analytics = HyperparameterTuningJobAnalytics("amt-attached", sagemaker_session=session)
    assert {each["TrainingJobStatus"] for each in analytics.training_job_summaries()} == {"Completed"}
    assert analytics.tuning_ranges == {"batch": {"Name": "batch", "Values": ["16", "32", "64"]}}
    tuned = attached.best_estimator().hyperparameters()
    assert tuned["batch"] == "32" and tuned["_tuning_objective_metric"] == "objective"


def test_best_estimator_is_deployed_and_answers(client: Client, session: Session) -> None:
    made = tuner(session, max_jobs=2)
    made.fit(job_name="amt-deployed")
    predictor = made.best_estimator().deploy(
        1, "ml.m5.large", endpoint_name="amt-best", image_uri=test_sdk.IMAGE.format("serve")
    )
    assert predictor.predict(b"woof") == b"trained model: woof"
    predictor.delete_model()
    predictor.delete_endpoint()
    predictor = made.deploy(1, "ml.m5.large", image_uri=test_sdk.IMAGE.format("serve"))
    assert predictor.endpoint_name == made.best_training_job()
    assert predictor.predict(b"wuff") == b"trained model: wuff"
    predictor.delete_model()
    predictor.delete_endpoint()


def test_one_seed_gives_one_random_search(session: Session) -> None:
    tried = []
    for name, seed, parallel in (("amt-seed-a", 7, 1), ("amt-seed-b", 7, 2), ("amt-seed-c", 8, 2)):
        made = tuner(session, random_seed=seed, max_jobs=2, max_parallel_jobs=parallel)
        made.fit(job_name=name)
        rows = found(made).sort_values("TrainingJobName")
        tried.append([(row["lr"], row["batch"]) for row in rows.to_dict("records")])
    assert tried[0] == tried[1] != tried[2]


def test_target_ends_the_search(session: Session) -> None:
    made = tuner(
        session,
        {"lr": ContinuousParameter(0.009, 0.011)},
        max_jobs=50,
        max_parallel_jobs=1,
        completion_criteria_config=TuningJobCompletionCriteriaConfig(target_objective_metric_value=0.9),
    )
    made.fit(job_name="amt-target")
    description = made.describe()
    assert description["HyperParameterTuningJobStatus"] == "Completed"
    assert len(found(made)) < 10
    attached = HyperparameterTuner.attach("amt-target", sagemaker_session=session)
    assert attached.completion_criteria_config.target_objective_metric_value == 0.9


def test_search_ends_when_its_best_does_not_improve(session: Session) -> None:
    made = tuner(
        session,
        {"ignored": ContinuousParameter(0, 1)},  # the objective is always the same
        max_jobs=50,
        max_parallel_jobs=2,
        completion_criteria_config=TuningJobCompletionCriteriaConfig(
            max_number_of_training_jobs_not_improving=3, complete_on_convergence=False
        ),
    )
    made.fit(job_name="amt-not-improving")
    assert made.describe()["HyperParameterTuningJobStatus"] == "Completed"
    assert 4 <= len(found(made)) < 10


def test_children_learn_from_their_parents(client: Client, session: Session) -> None:
    parent = tuner(session, max_jobs=3)
    parent.fit(job_name="amt-parent")
    identical = parent.identical_dataset_and_algorithm_tuner()
    identical.max_jobs = 2
    identical.fit(job_name="amt-identical")
    description = identical.describe()
    assert description["HyperParameterTuningJobStatus"] == "Completed"
    assert description["WarmStartConfig"]["WarmStartType"] == "IdenticalDataAndAlgorithm"
    best = min([*found(parent)["FinalObjectiveValue"], *found(identical)["FinalObjectiveValue"]])
    overall = description["OverallBestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    assert overall == pytest.approx(best, rel=1e-6)
    assert len(found(identical)) == 2

    warm = WarmStartConfig(WarmStartTypes.TRANSFER_LEARNING, parents={"amt-parent", "amt-identical"})
    child = tuner(session, {"lr": LR, "batch": BATCH}, warm_start_config=warm, strategy="Bayesian", max_jobs=2)
    child.fit(job_name="amt-transfer")
    assert child.describe()["HyperParameterTuningJobStatus"] == "Completed"
    attached = HyperparameterTuner.attach("amt-transfer", sagemaker_session=session)
    assert attached.warm_start_config.parents == {"amt-parent", "amt-identical"}


def test_functions_of_the_sdk_make_warm_started_tuners(session: Session) -> None:
    parent = tuner(session, max_jobs=2)
    parent.fit(job_name="amt-old")
    for number, make in enumerate((create_identical_dataset_and_algorithm_tuner, create_transfer_learning_tuner)):
        child = make(parent="amt-old", sagemaker_session=session)
        child.max_jobs = 1
        child.max_parallel_jobs = 1
        child.fit(job_name=f"amt-young-{number}")
        assert child.describe()["HyperParameterTuningJobStatus"] == "Completed"
    again = parent.transfer_learning_tuner(estimator=estimator(session))
    again.fit(job_name="amt-young-2", wait=False)
    again.wait()
    assert len(found(again)) == 2


def test_tuner_of_two_estimators(session: Session) -> None:
    made = HyperparameterTuner.create(
        estimator_dict={"plain": estimator(session), "longer": estimator(session, steps=4)},
        objective_metric_name_dict={"plain": "objective", "longer": "objective"},
        hyperparameter_ranges_dict={"plain": {"lr": LR}, "longer": {"lr": LR, "batch": BATCH}},
        metric_definitions_dict={"plain": METRICS, "longer": METRICS},
        strategy="Random",
        objective_type="Minimize",
        max_jobs=4,
        max_parallel_jobs=2,
    )
    made.fit({"plain": None, "longer": None}, include_cls_metadata={}, job_name="amt-two")
    rows = found(made)
    assert len(rows) == 4 and set(rows["TrainingJobDefinitionName"]) == {"plain", "longer"}
    assert made.best_training_job() == rows.loc[rows["FinalObjectiveValue"].idxmin()]["TrainingJobName"]
    assert made.best_estimator().latest_training_job.name == made.best_training_job()


def test_tags_stand_at_the_tuning_job_and_its_trainings(client: Client, session: Session) -> None:
    made = tuner(session, max_jobs=1, max_parallel_jobs=1, tags=[{"Key": "cost", "Value": "none"}])
    made.fit(job_name="amt-tags")
    expected = {"cost": "none", "team": "dogs"}
    for address in (
        made.describe()["HyperParameterTuningJobArn"],
        client.job(made.best_training_job())["TrainingJobArn"],
    ):
        tags = client.sagemaker.list_tags(ResourceArn=address)["Tags"]
        assert {each["Key"]: each["Value"] for each in tags} == expected


def test_failed_trainings_do_not_end_the_search(session: Session) -> None:
    made = tuner(session, {"lr": CategoricalParameter([0.001, 0.01, 0.5])}, strategy="Grid", max_jobs=3,
                 orders={"fail-above": 0.1})  # fmt: skip
    made.fit(job_name="amt-some-fail")
    assert counted(made) == {"Completed": 2, "NonRetryableError": 1}
    assert made.describe()["HyperParameterTuningJobStatus"] == "Completed"


def test_metric_that_never_appears_is_a_failed_objective_that_says_so(session: Session) -> None:
    made = tuner(session, max_jobs=1, max_parallel_jobs=1)
    made.metric_definitions = [{"Name": "objective", "Regex": "valid_f1=([0-9.]+)"}]
    with pytest.raises(UnexpectedStatusException, match="valid_f1"):
        made.fit(job_name="amt-no-metric")
    [only] = made.analytics().training_job_summaries()
    assert (only["TrainingJobStatus"], only["ObjectiveStatus"]) == ("Completed", "Failed")
    with pytest.raises(Exception, match="Best training job not available for tuning job: amt-no-metric"):
        made.best_training_job()


# ----------------------------------------------------------------------------------------------------------- refusals


def metric(regex: str) -> Callable[[HyperparameterTuner], None]:
    def change(made: HyperparameterTuner) -> None:
        made.metric_definitions = [{"Name": "objective", "Regex": regex}]

    return change


def attribute(name: str, value: object) -> Callable[[HyperparameterTuner], None]:
    return lambda made: setattr(made, name, value)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (metric("objective=[0-9.]+"), "Invalid regex 'objective=[0-9.]+' of metric 'objective': it has no group. Put"),
        (metric("(o)bjective=([0-9.]+)"), "it has 2 groups, and only one can hold the number. Write the others as (?:"),
        (metric("objective=(.*?)"), "from the line 'objective=0.8125' it reads the empty string and not 0.8125."),
        (metric("([0-9.]*)"), "it matches the empty string, which is in every line."),
        (metric(r"objective=(\w+)"), "its group takes a word, and not a number such as 0.8125."),
        (
            attribute("objective_metric_name", "validation:loss"),
            "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
            "definitions. (The objective metric 'validation:loss' is not among MetricDefinitions: it defines "
            "objective, loss.)",
        ),
        (attribute("strategy", "Grid"), "Strategy 'Grid' takes categorical ranges only, and the hyperparameter 'lr'"),
        (attribute("max_jobs", 0), "Member must have value greater than or equal to 1"),
        (attribute("max_jobs", 751), "MaxNumberOfTrainingJobs is 751. With Strategy 'Bayesian' it is at most 750."),
        (
            attribute("max_parallel_jobs", 5),
            "MaxParallelTrainingJobs (5) cannot be greater than MaxNumberOfTrainingJobs (4). Lower the first or raise",
        ),
        (attribute("max_parallel_jobs", 0), "Member must have value greater than or equal to 1"),
        (attribute("autotune", True), "Autotune is not supported by the local SageMaker."),
        (attribute("strategy", "Simplex"), "Member must satisfy enum value set: [Bayesian, Random, Hyperband, Grid]"),
        (
            attribute("_hyperparameter_ranges", {"batch": BATCH}),
            "You don't have enough combinations of hyperparameter ranges.",
        ),
        (
            attribute("_hyperparameter_ranges", {"lr": ContinuousParameter(0, 1, scaling_type="Logarithmic")}),
            "The range of the hyperparameter 'lr' is invalid: ScalingType 'Logarithmic' needs values greater than 0",
        ),
        (
            attribute("_hyperparameter_ranges", {"lr": ContinuousParameter(1, 0.1)}),
            "The range of the hyperparameter 'lr' is invalid: MinValue 1 is greater than MaxValue 0.1.",
        ),
        (
            attribute("_hyperparameter_ranges", {"n": IntegerParameter(1, 2.5)}),
            "MaxValue '2.5' of its integer range is not a whole number such as 16.",
        ),
        (
            attribute("warm_start_config", WarmStartConfig(WarmStartTypes.TRANSFER_LEARNING, parents={"nobody"})),
            "The parent tuning job 'nobody' of WarmStartConfig does not exist.",
        ),
        (
            attribute(
                "completion_criteria_config",
                TuningJobCompletionCriteriaConfig(max_number_of_training_jobs_not_improving=2),
            ),
            "Member must have value greater than or equal to 3",
        ),
        (attribute("max_runtime_in_seconds", 60), "Member must have value greater than or equal to 120"),
    ],
)
def test_tuner_that_cannot_work_is_refused_before_anything_runs(
    client: Client, session: Session, change: Callable[[HyperparameterTuner], None], fault: str
) -> None:
    made = tuner(session, strategy="Bayesian")
    change(made)
    with pytest.raises(Exception) as caught:  # noqa: PT011  some are boto3's own, before it sends
        made.fit(job_name="amt-refused", wait=False)
    assert_refused(client, str(caught.value), fault)


def assert_refused(client: Client, message: str, fault: str) -> None:
    boto3s_own = {"Member must have value greater than or equal to 1": "valid min value: 1",
                  "Member must have value greater than or equal to 3": "valid min value: 3",
                  "Member must have value greater than or equal to 120": "valid min value: 120"}  # fmt: skip
    assert fault in message or boto3s_own.get(fault, fault) in message
    assert not client.sagemaker.list_hyper_parameter_tuning_jobs(NameContains="amt-refused")[
        "HyperParameterTuningJobSummaries"
    ]
    assert not client.sagemaker.list_training_jobs(NameContains="amt-refused")["TrainingJobSummaries"]
    assert not (client.runs / "amt-refused").exists()


@pytest.mark.parametrize(
    ("member", "rule"),
    [
        ("MaxNumberOfTrainingJobs", "Member must have value greater than or equal to 1"),
        ("MaxParallelTrainingJobs", "Member must have value greater than or equal to 1"),
        ("MaxRuntimeInSeconds", "Member must have value greater than or equal to 120"),
    ],
)
def test_no_jobs_are_refused_without_boto3s_help_too(
    client: Client, session: Session, member: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 refuses these before it sends; another client gets the service's answer."""
    unchecked = boto3.client("sagemaker", config=Config(parameter_validation=False))
    requests: list[dict[str, Any]] = []
    monkeypatch.setattr(
        session.sagemaker_client, "create_hyper_parameter_tuning_job", lambda **sent: requests.append(sent)
    )
    tuner(session).fit(job_name="amt-refused", wait=False)
    [request] = requests
    request["HyperParameterTuningJobConfig"]["ResourceLimits"][member] = 0
    with pytest.raises(ClientError) as caught:
        unchecked.create_hyper_parameter_tuning_job(**request)
    place = f"hyperParameterTuningJobConfig.resourceLimits.{member[0].lower()}{member[1:]}"
    assert_refused(client, str(caught.value), f"Value '0' at '{place}' failed to satisfy constraint: {rule}")


def test_hyperband_with_early_stopping_is_refused(client: Client, session: Session) -> None:
    made = tuner(session, strategy="Hyperband", orders={"epochs": 9}, early_stopping_type="Auto")
    with pytest.raises(ClientError) as caught:
        made.fit(job_name="amt-refused", wait=False)
    assert_refused(
        client,
        str(caught.value),
        "TrainingJobEarlyStoppingType 'Auto' cannot be used with Strategy 'Hyperband', which stops jobs early by "
        "itself. Set it to 'Off'.",
    )


def test_hyperband_without_resources_is_refused_unless_the_epochs_are_static(client: Client, session: Session) -> None:
    made = tuner(session, strategy="Hyperband")
    with pytest.raises(ClientError) as caught:
        made.fit(job_name="amt-refused", wait=False)
    assert_refused(client, str(caught.value), "Strategy 'Hyperband' needs to know how many epochs a training has")
    made = tuner(session, strategy="Hyperband", orders={"epochs": 3}, max_jobs=2)
    made.fit(job_name="amt-inferred")
    assert len(found(made)) == 2


def test_parent_that_still_runs_is_refused(client: Client, session: Session) -> None:
    parent = tuner(session, orders={"steps": 600, "step-s": 0.1})
    parent.fit(job_name="amt-busy", wait=False)
    with pytest.raises(ClientError) as caught:
        parent.identical_dataset_and_algorithm_tuner().fit(job_name="amt-refused", wait=False)
    parent.stop_tuning_job()
    assert_refused(client, str(caught.value), "The parent tuning job 'amt-busy' is in status InProgress.")
    parent.wait()


def test_training_that_cannot_run_here_is_refused_when_its_search_is_created(client: Client, session: Session) -> None:
    """What a training job is refused for, a tuning job is too."""
    made = tuner(session)
    with pytest.raises(ClientError) as caught:
        made.fit({"train": f"s3://{DEFAULT_BUCKET}/nothing-here"}, job_name="amt-refused", wait=False)
    assert_refused(client, str(caught.value), "No S3 objects found under S3 URL")


def test_name_is_taken_once_and_may_have_32_characters(client: Client, session: Session) -> None:
    made = tuner(session, max_jobs=1, max_parallel_jobs=1)
    made.fit(job_name="amt-name-of-exactly-32-character", wait=True)
    with pytest.raises(ClientError, match="ResourceInUse"):
        copy.copy(made).fit(job_name="amt-name-of-exactly-32-character", wait=False)
    with pytest.raises(ClientError, match="length less than or equal to 32"):
        made.fit(job_name="amt-refused-name-of-33-characters", wait=False)
