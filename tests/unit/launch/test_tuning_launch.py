import re
from pathlib import Path
from typing import Any

import pytest

from kennel.errors import UserError
from kennel.hyperparameters import unquoted
from kennel.launch.search_ranges import SearchRanges
from kennel.launch.tuning import Search, TuningJob, bare_values, plan_tuning, trial_label

LR = {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1"}
LISTS = SearchRanges(
    Path("r.json"),
    {
        "CategoricalParameterRanges": [
            {"Name": "batch-size", "Values": ["8", "16"]},
            {"Name": "lr", "Values": ["1", "2"]},
        ]
    },
)
NUMBERS = SearchRanges(Path("r.json"), {"ContinuousParameterRanges": [LR]})


def plan(tmp_path: Path, ranges: SearchRanges = NUMBERS, *, name: str | None = None, **search: Any) -> TuningJob:  # noqa: ANN401
    folder = tmp_path / "my dogs"
    folder.mkdir(exist_ok=True)
    return plan_tuning(folder, name=name, hyperparameters={}, ranges=ranges, search=Search(**search))


def test_a_name_is_made_that_sagemaker_takes(tmp_path: Path) -> None:
    name = plan(tmp_path).name
    assert name.startswith("my-dogs-")
    assert len(name) <= 32
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}", name)
    long = tmp_path / ("a" * 40)
    long.mkdir()
    assert len(plan_tuning(long, name=None, hyperparameters={}, ranges=NUMBERS, search=Search()).name) == 32


@pytest.mark.parametrize("name", ["my_job", "a" * 33, "-a", "a-"])
def test_a_name_sagemaker_refuses_is_refused_with_one_it_takes(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="up to 32 letters.*Try '"):
        plan(tmp_path, name=name)


def test_twenty_trainings_two_side_by_side_unless_told(tmp_path: Path) -> None:
    job = plan(tmp_path)
    assert (job.jobs, job.search.max_jobs, job.search.max_parallel_jobs) == (20, 20, 2)
    assert plan(tmp_path, max_jobs=1).search.max_parallel_jobs == 1


def test_a_grid_tries_every_combination(tmp_path: Path) -> None:
    job = plan(tmp_path, LISTS, strategy="Grid")
    assert (job.jobs, job.search.max_jobs) == (4, None)
    assert plan(tmp_path, LISTS, strategy="Grid", max_jobs=4).jobs == 4


@pytest.mark.parametrize(
    ("metric", "kind"),
    [("validation:loss", "Minimize"), ("validation:accuracy", "Maximize"), ("train:epoch_seconds", "Minimize")],
)
def test_the_direction_comes_with_the_metric(metric: str, kind: str) -> None:
    assert Search(objective=metric).objective_type == kind


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"objective": "validation:los"}, "Did you mean 'validation:loss'"),
        ({"objective": "f1 or so"}, "There are: train:loss"),
        ({"strategy": "Grid"}, "a range of numbers for lr"),
        ({"strategy": "Hyperband", "early_stopping": "Auto"}, "Leave out --early-stopping"),
        ({"max_jobs": 0}, "--max-jobs 0: expected 1 to 750"),
        ({"max_jobs": 751}, "--max-jobs 751: expected 1 to 750"),
        ({"max_jobs": 2, "max_parallel_jobs": 3}, "--max-parallel-jobs 3 is more than the 2 trainings"),
        ({"max_parallel_jobs": 0}, "--max-parallel-jobs 0: expected 1 to 100"),
        ({"seed": -1}, "--seed -1"),
    ],
    ids=str,
)
def test_what_no_search_can_do_is_refused_before_anything_starts(
    tmp_path: Path, search: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError) as caught:
        plan(tmp_path, **search)
    assert words in str(caught.value)


def test_a_grid_of_another_size_than_its_ranges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 4 combinations"):
        plan(tmp_path, LISTS, strategy="Grid", max_jobs=3)


def test_hyperband_gets_the_epochs_it_measures_by(tmp_path: Path) -> None:
    assert plan(tmp_path, strategy="Hyperband").training.hyperparameters == {"epochs": "30"}
    epochs = SearchRanges(Path("r.json"), {"IntegerParameterRanges": [{**LR, "Name": "epochs"}]})
    with pytest.raises(UserError, match="has a range for epochs"):
        plan(tmp_path, epochs, strategy="Hyperband")


def test_a_random_search_may_have_ten_thousand_trainings(tmp_path: Path) -> None:
    assert plan(tmp_path, strategy="Random", max_jobs=10_000).jobs == 10_000


@pytest.mark.parametrize("text", ["16", '"16"', '"\\"16\\""'])
def test_a_value_loses_the_quotes_of_json(text: str) -> None:
    assert unquoted(text) == "16"


def test_what_the_platform_added_is_left_out() -> None:
    found = bare_values({"lr": "0.1", "_tuning_objective_metric": "x", "sagemaker_program": '"t.py"'})
    assert found == {"lr": "0.1"}


def test_a_trial_is_called_by_its_number() -> None:
    assert trial_label("dogs-1-007-0a1b2c3d") == "007"
    assert trial_label("elsewhere") == "elsewhere"
