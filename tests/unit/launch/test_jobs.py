from pathlib import Path

import pytest

from kennel.errors import HyperparameterError, UserError
from kennel.launch.jobs import check_name, legal_name, new_name, plan_training


def test_a_job_name_with_an_underscore_is_refused_with_a_legal_one() -> None:
    with pytest.raises(UserError, match=r"Job name 'my_job' is not one SageMaker takes: .* Try 'my-job'\."):
        check_name("my_job", "Job")


@pytest.mark.parametrize("name", ["", "-a", "a" * 64, "a b", "ä"])
def test_names_sagemaker_refuses_are_refused(name: str) -> None:
    with pytest.raises(UserError):
        check_name(name, "Endpoint")


@pytest.mark.parametrize("text", ["my_job", "--x--", "_" * 70, "Ünï côdé", "a" * 80, ""])
def test_a_suggested_name_is_always_legal(text: str) -> None:
    assert check_name(legal_name(text), "Job")
    assert check_name(new_name(text), "Job")


def test_two_new_names_differ() -> None:
    assert new_name("x") != new_name("x")


def test_a_plan_carries_the_folder_as_one_channel(tmp_path: Path) -> None:
    job = plan_training(tmp_path, name="first", hyperparameters={"epochs": "3"})
    assert job.channels == {"data": tmp_path.as_uri()}
    assert job.hyperparameters == {"epochs": "3"}
    assert job.checkpoint_uri is None


def test_a_weights_path_becomes_a_channel(tmp_path: Path) -> None:
    weights = tmp_path / "resnet18.pth"
    weights.write_bytes(b"x")
    job = plan_training(tmp_path, name=None, hyperparameters={"weights": str(weights)})
    assert job.channels["weights"] == weights.as_uri()
    assert "weights" not in job.hyperparameters


def test_a_weights_path_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights=.*nowhere\.pth: there is no such file"):
        plan_training(tmp_path, name="first", hyperparameters={"weights": str(tmp_path / "nowhere.pth")})


def test_an_unknown_hyperparameter_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(HyperparameterError, match="Did you mean 'epochs'"):
        plan_training(tmp_path, name="first", hyperparameters={"epoch": "3"})
