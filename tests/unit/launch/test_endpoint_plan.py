"""What an endpoint may be: everything that AWS would refuse is refused in words before anything is asked."""

from typing import Any

import pytest

from kennel.errors import UserError
from kennel.launch.endpoint.deploy_command import target_model
from kennel.launch.endpoint.endpoint_plan import EndpointPlan
from kennel.launch.endpoint.endpoint_requests import canary_size
from kennel.launch.endpoint.endpoints import check
from kennel.launch.places import Place

MACHINES: dict[str, Any] = {"instance_type": "ml.c7i.large"}
SERVERLESS: dict[str, Any] = {"serverless_mb": 2048}
ASYNC: dict[str, Any] = {**MACHINES, "async_uri": "s3://bucket/async"}


def plan(**members: Any) -> EndpointPlan:  # noqa: ANN401  members of a plan
    return EndpointPlan("dogs", "s3://bucket/model.tar.gz", **members)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "An endpoint needs an --instance type, or --serverless"),
        ({**SERVERLESS, **MACHINES}, "--serverless and --instance exclude each other"),
        ({**SERVERLESS, "most": 4}, "--serverless and --min/--max exclude each other.*--concurrency"),
        ({**SERVERLESS, "capture_percent": 20}, "--serverless and --capture exclude each other"),
        ({**SERVERLESS, "canary_percent": 20}, "--serverless and --canary exclude each other"),
        ({**SERVERLESS, "async_uri": "s3://b/a"}, "--serverless and --async exclude each other"),
        ({**SERVERLESS, "target_model": "a.tar.gz"}, "--serverless and --multi-model exclude each other"),
        ({**SERVERLESS, "is_isolated": True}, "--serverless and --isolated exclude each other"),
        ({**ASYNC, "capture_percent": 20}, "--async and --capture exclude each other: its answers are kept in S3"),
        ({**ASYNC, "canary_percent": 20}, "--async and --canary exclude each other: its requests wait in a queue"),
        ({**ASYNC, "target_model": "a.tar.gz"}, "--async and --multi-model exclude each other"),
        ({**MACHINES, "async_uri": "bucket/async"}, "--async 'bucket/async' is no address in S3"),
        ({"serverless_mb": 3000}, "--serverless 3000: there are 1024, 2048, 3072, 4096, 5120, 6144 MB"),
        ({**SERVERLESS, "concurrency": 201}, "--concurrency 201 is outside of 1 to 200"),
        ({**MACHINES, "least": 0}, "--min 0 is outside of 1 to 100"),
        ({**MACHINES, "least": 3, "most": 2}, "--min 3 is more than --max 2"),
        ({**MACHINES, "capture_percent": 0}, "--capture 0 is outside of 1 to 100"),
        ({**MACHINES, "canary_percent": 51}, "--canary 51 is outside of 1 to 50"),
        ({**MACHINES, "canary_percent": 10, "least": 1}, "--canary needs 2 machines or more.*--min 2"),
    ],
)
def test_what_cannot_be_is_refused(members: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan(**members)


def test_a_name_that_sagemaker_does_not_take_is_refused() -> None:
    with pytest.raises(UserError, match="Endpoint name 'my_dogs' is not one SageMaker takes.*Try 'my-dogs'"):
        EndpointPlan("my_dogs", "s3://bucket/model.tar.gz", **MACHINES)


@pytest.mark.parametrize(
    ("members", "fewest", "at_most", "is_scaled"),
    [
        (MACHINES, 1, 1, False),
        ({**MACHINES, "least": 2}, 2, 2, False),
        ({**MACHINES, "most": 4}, 1, 4, True),
        ({**MACHINES, "least": 2, "most": 2}, 2, 2, False),
        (ASYNC, 0, 1, True),
        ({**ASYNC, "least": 1, "most": 3}, 1, 3, True),
    ],
)
def test_how_many_machines_there_are(members: dict[str, Any], fewest: int, at_most: int, is_scaled: bool) -> None:
    made = plan(**members)
    assert (made.fewest, made.at_most, made.is_scaled) == (fewest, at_most, is_scaled)


@pytest.mark.parametrize(
    ("members", "flags"),
    [
        ({**MACHINES, "ttl_s": 7200}, "--ttl"),
        ({**ASYNC, "most": 2}, "--async, --max"),
        ({**MACHINES, "least": 2, "canary_percent": 10, "capture_percent": 5}, "--min, --capture, --canary"),
        ({**MACHINES, "target_model": "a.tar.gz", "is_isolated": True}, "--multi-model, --isolated"),
        (SERVERLESS, "--serverless"),
    ],
)
def test_what_this_machine_does_not_do_names_the_place_that_does(members: dict[str, Any], flags: str) -> None:
    here = Place("local", "role", "train:1", "serve:1", "ml.m5.large")
    with pytest.raises(UserError, match=f"^{flags} needs --on aws: --on local has one machine"):
        check(plan(**members), here)
    check(plan(**MACHINES), here)


@pytest.mark.parametrize(("percent", "count", "size"), [(10, 2, 1), (50, 3, 1), (50, 4, 2), (30, 4, 1), (1, 100, 1)])
def test_a_canary_is_at_least_one_machine_and_at_most_half(percent: int, count: int, size: int) -> None:
    assert canary_size(percent, count) == size <= count / 2


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("dogs-1", "dogs-1.tar.gz"),
        ("s3://bucket/kennel/jobs/dogs-1/output/model.tar.gz", "dogs-1.tar.gz"),
        ("s3://bucket/all/poodle_2.tar.gz", "poodle-2.tar.gz"),
    ],
)
def test_one_of_many_models_is_asked_for_by_its_jobs_name(source: str, name: str) -> None:
    assert target_model(source) == name
