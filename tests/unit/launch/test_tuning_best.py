from typing import Any

import pytest
from botocore.exceptions import ClientError

from kennel.errors import UserError
from kennel.launch.best_training import take_over
from kennel.launch.places import Place
from made_search import NAME, Json, made_description, made_summary, made_trial, made_trials

WEIGHTS = {"ChannelName": "weights", "DataSource": {"S3DataSource": {"S3Uri": "file:///w/resnet18.pth"}}}


class Api:
    def __init__(self, description: Json | None) -> None:
        self._description = description

    def describe_hyper_parameter_tuning_job(self, HyperParameterTuningJobName: str) -> Json:  # noqa: N803
        if self._description is None:
            raise ClientError(
                {"Error": {"Code": "ResourceNotFound", "Message": "not found"}}, "DescribeHyperParameterTuningJob"
            )
        return self._description

    def describe_training_job(self, TrainingJobName: str) -> Json:  # noqa: N803
        hyperparameters = {"epochs": '"4"', "batch-size": '"16"', "lr": "0.0042", "backbone": '"resnet18"'}
        hyperparameters["_tuning_objective_metric"] = "validation:loss"
        hyperparameters["sagemaker_job_name"] = f'"{TrainingJobName}"'
        return {"HyperParameters": hyperparameters, "InputDataConfig": [WEIGHTS]}


def taken(description: Json | None, given: dict[str, str] | None = None) -> Any:  # noqa: ANN401
    place = Place(name="local", role="r", train_image="t", serve_image="s", instance_type="ml.m5.large")
    place.__dict__["sagemaker"] = Api(description)  # a cached_property's own value
    return take_over(NAME, given or {}, place)


def test_the_best_trainings_values_are_taken_without_the_platforms_own() -> None:
    found = taken(made_description(made_trials()), {"epochs": "20"})
    assert found.hyperparameters == {"batch-size": "16", "lr": "0.0042", "backbone": "resnet18", "epochs": "20"}
    assert found.weights_uri == "file:///w/resnet18.pth"
    assert "lr=0.0042" in found.said
    assert "and given: epochs=20" in found.said


@pytest.mark.parametrize("given", [{"weights": "none"}, {"backbone": "resnet50"}])
def test_weights_are_not_taken_for_another_network_or_where_others_are_named(given: dict[str, str]) -> None:
    assert taken(made_description(made_trials()), given).weights_uri is None


def test_a_name_with_an_underscore_wins_too() -> None:
    assert "batch-size" not in taken(made_description(made_trials()), {"batch_size": "8"}).hyperparameters


def test_the_best_of_the_parents_is_the_best() -> None:
    parent = made_summary(made_trial(77))
    found = taken(made_description(made_trials(), OverallBestTrainingJob=parent))
    assert parent["TrainingJobName"] in found.said


def test_a_stopped_search_with_a_best_is_taken() -> None:
    assert taken(made_description(made_trials(), status="Stopped")).hyperparameters["lr"] == "0.0042"


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (None, "There is no tuning job 'dogs-1'"),
        (made_description(made_trials(), status="InProgress"), "is InProgress: .* Wait for its end, or stop it"),
        (made_description([], status="Failed", FailureReason="All failed"), "has no best training. All failed"),
    ],
    ids=["unknown", "running", "failed"],
)
def test_a_search_without_a_best_is_refused_with_words(description: Json | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        taken(description)
