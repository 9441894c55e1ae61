"""debughookconfig.json, as SageMaker writes it and as it should not be."""

import json
from pathlib import Path
from typing import Any

import pytest

from kennel.debug.hook_config import HookOrder, read_hook_config
from kennel.errors import ContractError


def read(folder: Path, content: Any) -> HookOrder:  # noqa: ANN401
    path = folder / "debughookconfig.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_hook_config(path, base=folder / "ml")


def test_a_configuration_of_nulls_asks_for_the_defaults(tmp_path: Path) -> None:
    nulls = {"S3OutputPath": "s3://b/", "LocalPath": None, "HookParameters": None, "CollectionConfigurations": None}
    order = read(tmp_path, nulls)
    assert order == HookOrder(tmp_path / "ml" / "output" / "tensors")
    assert order.has_defaults and not order.has_schedule


def test_parameters_and_collections_are_read(tmp_path: Path) -> None:
    order = read(
        tmp_path,
        {
            "S3OutputPath": "s3://b/",
            "LocalPath": "/opt/ml/output/mine/",
            "HookParameters": {"save_interval": "10", "kennel.max_mb": "0.5", "colour": "red"},
            "CollectionConfigurations": [
                {"CollectionName": "losses", "CollectionParameters": {"eval.save_steps": "1, 2", "end_step": None}},
                {"CollectionName": "weights", "CollectionParameters": None},
            ],
        },
    )
    assert order.folder == tmp_path / "ml" / "output" / "mine"
    assert order.max_bytes == 500_000 and order.unknown == ("colour",)
    assert order.collections == {"losses": {"eval.save_steps": "1, 2"}, "weights": {}}
    assert order.has_schedule and not order.has_defaults


def test_when_alone_leaves_the_what_to_us(tmp_path: Path) -> None:
    order = read(tmp_path, {"HookParameters": {"train.save_interval": "7"}, "CollectionConfigurations": []})
    assert order.has_defaults and order.has_schedule
    assert not read(tmp_path, {"HookParameters": {"save_all": "true"}}).has_defaults


def test_a_path_outside_of_opt_ml_is_taken_as_it_is(tmp_path: Path) -> None:
    assert read(tmp_path, {"LocalPath": "/var/x"}).folder == Path("/var/x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], r"holds \[\] in place of an object"),
        ({"LocalPath": 3}, "has LocalPath 3 in place of a string"),
        ({"HookParameters": ["a"]}, "has HookParameters .* in place of an object"),
        ({"HookParameters": {"save_interval": 5}}, "'save_interval' with value 5; all values are strings"),
        ({"HookParameters": {"save_interval": "0"}}, "'save_interval' with value '0'; expected whole numbers from 1"),
        ({"HookParameters": {"eval.save_steps": "1,x"}}, "'eval.save_steps' with value '1,x'"),
        ({"HookParameters": {"kennel.max_mb": "-1"}}, "'kennel.max_mb' with value '-1'"),
        ({"CollectionConfigurations": {}}, None),
        ({"CollectionConfigurations": "x"}, "in place of a list"),
        ({"CollectionConfigurations": [{"CollectionParameters": {}}]}, "collection without a CollectionName"),
        (
            {
                "CollectionConfigurations": [
                    {"CollectionName": "a", "CollectionParameters": {"start_step": "__import__"}}
                ]
            },
            "CollectionParameters of a 'start_step' with value '__import__'",
        ),
    ],
)
def test_what_sagemaker_would_not_write_is_named(tmp_path: Path, content: object, message: str | None) -> None:
    if message is None:
        assert read(tmp_path, content).has_defaults
        return
    with pytest.raises(ContractError, match=message):
        read(tmp_path, content)
