"""The ranges files that are shipped: SageMaker's own form, values that a training accepts, reasons where promised."""

import json
from pathlib import Path
from typing import Any

import pytest

from kennel.hyperparameters import Hyperparameters, read_hyperparameters
from kennel.launch.search_ranges import read_ranges_file
from kennel.local.tuning_ranges import Range, read_ranges
from kennel.local.validation import service_model, validate

FOLDER = Path(__file__).parents[2] / "tuning"
FILES = {
    "lr-batch.json": {"lr", "batch-size"},
    "adamw.json": {"lr", "weight-decay", "eps", "batch-size"},
    "lr-batch-epochs.json": {"lr", "batch-size", "epochs"},
    "recommended.json": {"lr", "batch-size", "weight-decay"},
}


def ranges_of(name: str) -> dict[str, Any]:
    """A file without its reasons, as SageMaker takes it."""
    given: dict[str, Any] = json.loads((FOLDER / name).read_text())
    return {
        kind: [{key: value for key, value in each.items() if key != "Reason"} for each in ranges]
        for kind, ranges in given.items()
    }


def ends(each: Range) -> list[Any]:
    return list(each.values) or [each.low, each.high]


def test_all_files_are_known_here() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_file_is_parameter_ranges_of_sagemaker(name: str) -> None:
    given = ranges_of(name)
    assert validate(service_model("sagemaker").shape_for("ParameterRanges"), given) == given
    assert {each.name for each in read_ranges(given)} == FILES[name]


@pytest.mark.parametrize("name", FILES)
def test_command_line_reads_the_file(name: str) -> None:
    assert set(read_ranges_file(FOLDER / name).names) == FILES[name]


@pytest.mark.parametrize("name", FILES)
def test_training_accepts_every_end(name: str) -> None:
    for each in read_ranges(ranges_of(name)):
        for value in ends(each):
            read_hyperparameters({each.name: value})


@pytest.mark.parametrize("name", FILES)
def test_defaults_lie_within(name: str) -> None:
    """A search can find what is there without one; eps and epochs have few better values than the default."""
    for each in read_ranges(ranges_of(name)):
        default = getattr(Hyperparameters(), each.name.replace("-", "_"))
        if each.kind == "categorical":
            assert str(default) in each.values
        else:
            assert each.low is not None and each.high is not None
            assert each.low <= default <= each.high, each.name


def test_recommended_ranges_have_reasons_and_the_others_need_none() -> None:
    reasons = read_ranges_file(FOLDER / "recommended.json").reasons
    assert set(reasons) == FILES["recommended.json"]
    for name, reason in reasons.items():
        assert 40 < len(reason) < 250 and reason.endswith("."), name
