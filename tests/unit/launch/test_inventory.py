"""What belongs to what, and names that ARNs have in lower case."""

import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from kennel.aws.tags import find_tagged
from kennel.errors import UserError
from kennel.launch.account import things as kinds
from kennel.launch.account.clearance import Which
from kennel.launch.account.companions import _due
from kennel.launch.account.inventory import _cased, is_gone
from kennel.launch.account.things import Inventory, Thing

SEARCH = {"TuningJobArn": "arn:aws:sagemaker:eu-west-1:1:hyper-parameter-tuning-job/dogs"}
THINGS = (
    Thing(kinds.ENDPOINT, "Dogs", "Dogs", "InService"),
    Thing(kinds.MODEL, "Dogs-1", "Dogs"),
    Thing(kinds.SCHEDULE, "Dogs.0a1b2c3d.endpoint-1", "Dogs"),
    Thing(kinds.TUNING, "Dogs", "Dogs", "Completed"),
    Thing(kinds.TRAINING, "Dogs-001-0a1b2c3d", "Dogs", "Completed", details=SEARCH),
    Thing(kinds.TRAINING, "cats", "cats", "Completed"),
    Thing(kinds.TRANSFORM, "batch", "batch", "Completed"),
    Thing(kinds.MODEL, "batch", "batch"),
    Thing(kinds.ALARM, "kennel-cats-errors", "cats"),
)


def names(which: Which) -> list[str]:
    return sorted(str(each) for each in which.of(Inventory(THINGS)).things)


def test_an_endpoint_takes_what_was_made_for_it_and_no_job_of_its_name() -> None:
    assert names(Which(endpoint="Dogs")) == ["endpoint Dogs", "model Dogs-1", "schedule Dogs.0a1b2c3d.endpoint-1"]
    # Its endpoint is gone; what stood around it is not.
    assert names(Which(endpoint="cats")) == ["alarm kennel-cats-errors"]


def test_a_job_takes_its_trainings_and_models_that_nothing_serves() -> None:
    assert names(Which(job="Dogs")) == ["training job Dogs-001-0a1b2c3d", "tuning job Dogs"]
    assert names(Which(job="batch")) == ["model batch", "transform job batch"]
    assert len(names(Which(is_all=True))) == len(THINGS)


@pytest.mark.parametrize("which", [Which(endpoint="batch-1"), Which(job="up"), Which(endpoint="")])
def test_a_name_that_nothing_has_is_an_error(which: Which) -> None:
    with pytest.raises(UserError, match="scripts/list.sh --on aws"):
        which.of(Inventory(THINGS))


@pytest.mark.parametrize(
    ("name", "owner", "right"),
    [
        ("dogs-up-20261121-1f2e", "Dogs-Up", "Dogs-Up-20261121-1f2e"),
        ("dogs", "Dogs-Up", "Dogs"),
        ("cats", "Dogs", "cats"),
        ("same", "same", "same"),
    ],
)
def test_names_of_arns_are_cased_as_their_owners(name: str, owner: str, right: str) -> None:
    assert _cased(name, owner) == right


@pytest.mark.parametrize(
    ("code", "message", "gone"),
    [
        ("ValidationException", 'Could not find endpoint "arn:aws:sagemaker:eu-west-1:1:endpoint/up".', True),
        ("ValidationException", "Requested resource not found.", True),
        ("ResourceNotFound", "Amazon SageMaker can't find a tuning job with the name x", True),
        ("ObjectNotFoundException", "No scalable target found", True),
        ("ValidationException", 'Cannot update in-progress endpoint "up".', False),
        ("AccessDeniedException", "could not find an allowing policy", False),
    ],
)
def test_what_is_gone_is_told_from_what_is_refused(code: str, message: str, gone: bool) -> None:  # noqa: FBT001
    assert is_gone(ClientError({"Error": {"Code": code, "Message": message}}, "Delete")) is gone


def test_the_first_try_of_a_ttl_counts() -> None:
    target = {"Target": {"Arn": "arn:aws:scheduler:::aws-sdk:sagemaker:deleteEndpoint"}}
    other = {"Target": {"Arn": "arn:aws:scheduler:::aws-sdk:sagemaker:deleteModel"}}
    schedules = [
        Thing(kinds.SCHEDULE, "b", "up", "at(2026-11-21T15:00:00)", details=target),
        Thing(kinds.SCHEDULE, "a", "up", "at(2026-11-21T14:00:00)", details=target),
        Thing(kinds.SCHEDULE, "c", "up", "at(2026-11-21T13:00:00)", details=other),
        Thing(kinds.SCHEDULE, "d", "rate", "rate(1 hours)", details=target),
    ]
    assert _due(schedules) == {"up": datetime.datetime(2026, 11, 21, 14, tzinfo=datetime.UTC)}


class Tagging:
    """As boto3's client pages."""

    def __init__(self, *arns: str) -> None:
        self.arns = arns

    def get_paginator(self, operation: str) -> "Tagging":
        assert operation == "get_resources"
        return self

    def paginate(self, **asked: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        return [{"ResourceTagMappingList": [{"ResourceARN": arn, "Tags": []} for arn in self.arns]}]


def test_kinds_and_names_are_read_from_arns() -> None:
    found = find_tagged(
        Tagging(
            "arn:aws:s3:::my-bucket",
            "arn:aws:logs:eu-west-1:1:log-group:/aws/sagemaker/Endpoints/up",
            "arn:aws-cn:sagemaker:cn-north-1:1:training-job/dogs",
            "something else",
        )
    )
    assert [(each.kind, each.name) for each in found] == [
        ("s3:bucket", "my-bucket"),
        ("logs:log-group", "/aws/sagemaker/Endpoints/up"),
        ("sagemaker:training-job", "dogs"),
        ("unknown", "something else"),
    ]
