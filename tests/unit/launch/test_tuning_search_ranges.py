import json
from pathlib import Path
from typing import Any

import pytest

from kennel.errors import HyperparameterError, UserError
from kennel.launch.search_ranges import default_ranges_file, fit_batch_size, read_ranges_file, refuse_settled, without

LR = {"Name": "lr", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
BATCH = {"Name": "batch-size", "Values": ["16", '"32"', "64"]}


def written(tmp_path: Path, **ranges: Any) -> Path:  # noqa: ANN401
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps({f"{kind}ParameterRanges": each for kind, each in ranges.items()}))
    return path


def test_a_file_in_sagemakers_form_is_read_and_its_reasons_taken_out(tmp_path: Path) -> None:
    path = written(tmp_path, Continuous=[{**LR, "Reason": "the head is small"}], Categorical=[BATCH])
    ranges = read_ranges_file(path)
    assert ranges.names == ["lr", "batch-size"]
    assert ranges.reasons == {"lr": "the head is small"}
    assert ranges.parameter_ranges["ContinuousParameterRanges"] == [LR]
    assert ranges.combinations is None
    assert ranges.table().splitlines() == [
        "  lr          0.0001 to 0.1, Logarithmic",
        "      the head is small",
        '  batch-size  16 | "32" | 64',
    ]


def test_a_grid_has_as_many_trainings_as_combinations(tmp_path: Path) -> None:
    optimizers = {"Name": "optimizer", "Values": ["sgd", "adamw"]}
    assert read_ranges_file(written(tmp_path, Categorical=[BATCH, optimizers])).combinations == 6


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({"Continuous": [{**LR, "Name": "learning-rate"}]}, "Did you mean 'lr'"),
        ({"Continuous": [{**LR, "MaxValue": "11"}]}, "Hyperparameter 'lr' has value '11'"),
        ({"Continuous": [{**LR, "MinValue": "0.2"}]}, "0.2"),
        ({"Continuous": [LR], "Categorical": [{"Name": "lr", "Values": ["1"]}]}, "lr"),
        ({"Categorical": [BATCH, {"Name": "batch_size", "Values": ["8"]}]}, "'batch_size' has two ranges"),
        ({"Categorical": [{"Name": "optimizer", "Values": ["sgd", "lion"]}]}, "'optimizer' has value 'lion'"),
        ({"Continuous": [{"Name": "batch-size", "MinValue": "8", "MaxValue": "16"}]}, "IntegerParameterRanges"),
        ({"Integer": [{"Name": "backbone", "MinValue": "8", "MaxValue": "16"}]}, "'backbone' is no number"),
        ({"Categorical": [{"Name": "weights", "Values": ["none", "/w.pth"]}]}, "-p weights=FILE"),
        ({"Continuous": [{**LR, "MinValue": 0.1}]}, "Expected SageMaker's ParameterRanges"),
        ({"Continuous": [{**LR, "Why": "so"}]}, "member.why"),
        ({"Continuous": []}, "nothing to search"),
        ({"Auto": []}, "autoParameterRanges"),
    ],
    ids=str,
)
def test_a_range_no_training_could_use_is_refused_with_words(tmp_path: Path, ranges: Any, words: str) -> None:  # noqa: ANN401
    with pytest.raises(UserError) as caught:
        read_ranges_file(written(tmp_path, **ranges))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '"lr"', "{}"])
def test_a_file_of_another_form_is_refused_with_an_example(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(text)
    with pytest.raises(UserError, match="ContinuousParameterRanges"):
        read_ranges_file(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file of ranges"):
        read_ranges_file(tmp_path / "none.json")


def test_what_is_searched_cannot_be_set_as_well(tmp_path: Path) -> None:
    ranges = read_ranges_file(written(tmp_path, Categorical=[BATCH]))
    refuse_settled(ranges, {"epochs": "3"})
    with pytest.raises(HyperparameterError, match="'batch_size' is set by -p and has a range"):
        refuse_settled(ranges, {"batch_size": "8"})


def test_batch_sizes_above_the_training_set_are_left_out(tmp_path: Path) -> None:
    listed = read_ranges_file(written(tmp_path, Categorical=[BATCH], Continuous=[LR]))
    assert fit_batch_size(listed, 64) == listed
    assert fit_batch_size(listed, 40).parameter_ranges["CategoricalParameterRanges"] == [
        {"Name": "batch-size", "Values": ["16", '"32"']}
    ]
    with pytest.raises(UserError, match="larger than the 8 training images"):
        fit_batch_size(listed, 8)
    whole = read_ranges_file(written(tmp_path, Integer=[{"Name": "batch-size", "MinValue": "8", "MaxValue": "128"}]))
    assert fit_batch_size(whole, 36).parameter_ranges["IntegerParameterRanges"][0]["MaxValue"] == "36"


def test_what_is_set_is_not_searched_in_the_recommended_ranges() -> None:
    recommended = read_ranges_file(default_ranges_file())
    left = without(recommended, {"lr": "0.01", "epochs": "3"})
    assert "lr" in recommended.names
    assert left.names == [name for name in recommended.names if name != "lr"]


def test_ranges_of_which_all_is_set_are_refused() -> None:
    recommended = read_ranges_file(default_ranges_file())
    with pytest.raises(HyperparameterError, match="nothing is left to search"):
        without(recommended, dict.fromkeys(recommended.names, "1"))
