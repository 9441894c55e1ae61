import re

import pytest

from kennel.metrics import EPOCH_METRICS, FINAL_METRICS, epoch_line, final_line, metric_definitions, read_metrics


def values_of(metrics: dict[str, str], start: float) -> dict[str, float]:
    return {key: start + number / 8 for number, key in enumerate(metrics.values())}


def test_every_epoch_metric_is_read_back_from_its_line_with_its_own_value() -> None:
    values = values_of(dict(EPOCH_METRICS), 0.125)
    assert read_metrics(epoch_line(3, 10, values)) == {name: values[key] for name, key in EPOCH_METRICS.items()}


def test_every_final_metric_is_read_back_from_its_line_with_its_own_value() -> None:
    values = values_of(dict(FINAL_METRICS), 0.5)
    assert read_metrics(final_line(values)) == {name: values[key] for name, key in FINAL_METRICS.items()}


def test_the_final_line_without_test_images_gives_the_kept_epochs_validation_only() -> None:
    line = final_line({"valid_loss": 0.25, "valid_accuracy": 0.5, "valid_top5": 1.0})
    assert line == "final valid_loss=0.25 valid_accuracy=0.5 valid_top5=1"
    assert read_metrics(line)["validation:loss"] == 0.25


@pytest.mark.parametrize("value", [1e-05, 1234567.0, 0.0, 2.5e-12])
def test_small_and_large_values_survive_the_line(value: float) -> None:
    values = dict.fromkeys(EPOCH_METRICS.values(), value)
    assert read_metrics(epoch_line(1, 1, values))["validation:loss"] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_not_reported(value: float) -> None:
    assert read_metrics(epoch_line(1, 1, dict.fromkeys(EPOCH_METRICS.values(), value))) == {}


def test_a_regex_never_matches_inside_a_longer_key() -> None:
    assert read_metrics("my_train_loss=1 xseconds=2 seconds_left=3") == {}


def test_definitions_keep_sagemakers_limits() -> None:
    definitions = metric_definitions()
    assert len(definitions) <= 20
    for definition in definitions:
        assert re.compile(definition["Regex"]).groups == 1
        assert len(definition["Regex"]) <= 500 and len(definition["Name"]) <= 255
