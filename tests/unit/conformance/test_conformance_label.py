import json

import pytest

from kennel.conformance.exercise import LABEL, Exercise, override, read_label
from kennel.errors import UserError


def test_an_image_without_the_label_gets_the_defaults() -> None:
    assert read_label({}) == Exercise()
    assert read_label({}).channels == {"training": "."}


def test_the_label_is_read_with_numbers_as_text_in_hyperparameters() -> None:
    text = json.dumps({"hyperparameters": {"epochs": 2, "name": "a", "on": True}, "distributed": True, "tolerance": 1})
    exercise = read_label({LABEL: text})
    assert exercise.hyperparameters == {"epochs": "2", "name": "a", "on": "true"}
    assert exercise.distributed
    assert exercise.tolerance == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "has list"),
        ('{"metrics": []}', r"has \['metrics'\]"),
        ('{"hyperparameters": []}', "'hyperparameters' has value"),
        ('{"distributed": "yes"}', "'distributed' has value 'yes'"),
        ('{"metric_definitions": {}}', "Expected list"),
    ],
)
def test_a_label_that_cannot_be_meant_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_label({LABEL: text})


def test_options_win_over_the_label_and_leave_the_rest() -> None:
    label = Exercise(hyperparameters={"epochs": "2", "lr": "1"}, metric_definitions=({"Name": "a", "Regex": "b"},))
    exercise = override(label, hyperparameters={"epochs": "3"}, metric_definitions=(), channels={"data": "/x"})
    assert exercise.hyperparameters == {"epochs": "3", "lr": "1"}
    assert exercise.metric_definitions == label.metric_definitions
    assert exercise.channels == {"data": "/x"}
