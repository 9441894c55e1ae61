import json
from pathlib import Path

import pytest

from kennel.errors import HyperparameterError
from kennel.hyperparameters import (
    FIELDS,
    Hyperparameters,
    read_argv,
    read_assignments,
    read_hyperparameters,
    resolve_hyperparameters,
    table,
)


@pytest.mark.parametrize("quoted", ["16", '"16"', '"\\"16\\""', " 16 ", "16.0", 16, 16.0])
def test_a_number_reads_the_same_in_every_quoting(quoted: object) -> None:
    assert read_hyperparameters({"batch-size": quoted}).batch_size == 16


@pytest.mark.parametrize("quoted", ["sgd", '"sgd"', '"\\"sgd\\""'])
def test_a_word_reads_the_same_in_every_quoting(quoted: str) -> None:
    assert read_hyperparameters({"optimizer": quoted}).optimizer == "sgd"


@pytest.mark.parametrize(
    ("typo", "nearest"),
    [("epoch", "epochs"), ("optimiser", "optimizer"), ("batchsize", "batch-size"), ("learning_rate", "lr")],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(typo: str, nearest: str) -> None:
    with pytest.raises(HyperparameterError, match=rf"Unknown hyperparameter '{typo}'\. Did you mean '{nearest}'\?"):
        read_hyperparameters({typo: "1"})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("lr", "0", "a number, 0 to 10, 0 excluded"),
        ("lr", "nan", "a number"),
        ("lr", "fast", "a number"),
        ("epochs", "0", "a whole number, 1 to 1000"),
        ("epochs", "1.5", "a whole number"),
        ("epochs", "inf", "a whole number"),
        ("optimizer", "rmsprop", "adamw | adam | sgd"),
        ("head", "0", "linear | sizes"),
        ("head", "128,x", "linear | sizes"),
        ("weights", "", "auto | none | a path"),
    ],
)
def test_a_bad_value_is_refused_with_its_range_and_default(name: str, value: str, expected: str) -> None:
    with pytest.raises(HyperparameterError) as caught:
        read_hyperparameters({name: value})
    assert f"Hyperparameter '{name}' has value '{value}'. Expected {expected}" in str(caught.value)
    assert f"(default {getattr(Hyperparameters(), name)})" in str(caught.value)


def test_a_name_given_twice_with_two_values_is_refused() -> None:
    with pytest.raises(HyperparameterError, match="'batch-size' is given twice, as 8 and 16"):
        read_hyperparameters({"batch-size": "8", "batch_size": "16"})


def test_what_the_platform_adds_is_passed_over() -> None:
    added = {
        "sagemaker_program": "x.py",
        "_tuning_objective_metric": "validation:loss",
        "default_user_module_name": "x",
    }
    assert read_hyperparameters(added) == Hyperparameters()


def test_every_default_is_within_its_own_range() -> None:
    for name, field in FIELDS.items():
        assert field.metadata["rule"].accepts(field.default), name


def test_the_mapping_reads_back_as_the_same_hyperparameters() -> None:
    settings = read_hyperparameters({"lr": "1e-05", "head": "256,128", "epochs": "3"})
    assert read_hyperparameters(settings.to_mapping()) == settings


def test_argv_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    config = tmp_path / "hyperparameters.json"
    config.write_text(json.dumps({"epochs": '"1"', "lr": "0.1", "batch_size": "8"}))
    environ = {"SM_HPS": json.dumps({"epochs": 2, "lr": 0.2})}
    settings = resolve_hyperparameters(["--epochs", "3"], environ, config)
    assert (settings.epochs, settings.lr, settings.batch_size) == (3, 0.2, 8)


def test_a_config_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    config = tmp_path / "hyperparameters.json"
    config.write_text("epochs=3")
    with pytest.raises(HyperparameterError, match=f"{config} is not JSON"):
        resolve_hyperparameters([], {}, config)


def test_argv_in_the_toolkits_forms() -> None:
    assert read_argv(["--lr", "0.1", "-x", "1", "--epochs=3"]) == {"lr": "0.1", "x": "1", "epochs": "3"}


@pytest.mark.parametrize(("argv", "message"), [(["--lr"], "'--lr' has no value"), (["lr"], "'lr' stands alone")])
def test_argv_that_is_no_pair_is_refused(argv: list[str], message: str) -> None:
    with pytest.raises(HyperparameterError, match=message):
        read_argv(argv)


@pytest.mark.parametrize("word", ["epochs", "=5"])
def test_an_assignment_without_a_name_or_value_is_refused(word: str) -> None:
    with pytest.raises(HyperparameterError, match=f"'-p {word}' is no assignment"):
        read_assignments([word])


def test_the_table_names_every_hyperparameter() -> None:
    lines = table().splitlines()
    assert [line.split()[0] for line in lines[::2]] == [name.replace("_", "-") for name in FIELDS]
