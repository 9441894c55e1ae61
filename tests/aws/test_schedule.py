"""An endpoint's time to live: schedules that AWS runs. moto keeps them and runs none: that they work is not shown."""

import datetime
import json
from collections.abc import Iterator

import boto3
import pytest
from account import Account, open_account

from kennel.aws.schedule import GROUP, TimeToLive, read_duration
from kennel.errors import UserError

ROLE = "arn:aws:iam::123456789012:role/kennel-scheduler"
NOON = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with open_account(tmp_path_factory.mktemp("schedule") / "runs") as opened:
        yield opened


@pytest.fixture
def ttl(account: Account, monkeypatch: pytest.MonkeyPatch) -> TimeToLive:
    for key, value in account.environ.items():
        monkeypatch.setenv(key, value)
    account.calls.clear()
    return TimeToLive(boto3.client("scheduler"), ROLE, now=NOON.timestamp)


def details(ttl: TimeToLive, endpoint: str) -> dict[str, tuple[str, str, dict[str, str]]]:
    """By suffix: when, what, with what."""
    found = {}
    for name in ttl.schedules(endpoint):
        each = ttl.client.get_schedule(Name=name, GroupName=GROUP)
        operation = each["Target"]["Arn"].rpartition(":")[2]
        found[name.rpartition(".")[2]] = (each["ScheduleExpression"], operation, json.loads(each["Target"]["Input"]))
        assert each["ActionAfterCompletion"] == "DELETE" and each["ScheduleExpressionTimezone"] == "UTC"
        assert each["Target"]["RoleArn"] == ROLE and len(name) <= 64
    return found


def test_an_endpoint_is_deleted_then_and_what_belongs_to_it_later(ttl: TimeToLive) -> None:
    assert ttl.schedules("dogs") == []
    assert ttl.set("dogs", in_s=7200, configs=("dogs-config",), models=("dogs-model",)) == NOON + datetime.timedelta(
        hours=2
    )
    endpoint = {"EndpointName": "dogs"}
    assert ttl.due("dogs") == NOON + datetime.timedelta(hours=2) and ttl.due("nobody") is None
    assert details(ttl, "dogs") == {
        "endpoint-1": ("at(2030-01-01T14:00:00)", "deleteEndpoint", endpoint),
        "endpoint-2": ("at(2030-01-01T15:00:00)", "deleteEndpoint", endpoint),
        "endpoint-3": ("at(2030-01-01T20:00:00)", "deleteEndpoint", endpoint),
        "config-1": ("at(2030-01-01T21:00:00)", "deleteEndpointConfig", {"EndpointConfigName": "dogs-config"}),
        "model-1": ("at(2030-01-01T21:00:00)", "deleteModel", {"ModelName": "dogs-model"}),
    }


def test_another_time_replaces_the_first_and_a_cancelled_one_is_gone(ttl: TimeToLive) -> None:
    for name in ("cats", "cats2", "c" * 63):
        ttl.set(name, in_s=600, configs=(name,), models=(name,))
    ttl.set("cats", in_s=1200, configs=("cats",), models=())
    assert details(ttl, "cats")["endpoint-1"][0] == "at(2030-01-01T12:20:00)"
    assert len(ttl.cancel("cats")) == 4 and ttl.schedules("cats") == []
    assert len(ttl.schedules("cats2")) == 5 and len(ttl.schedules("c" * 63)) == 5


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("2h", 7200), ("1d12h", 129600), ("1h30m", 5400)])
def test_durations_are_read(text: str, seconds: int) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "-1h", "1s", "4m", "366d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no duration|is outside of 5 minutes to 365 days"):
        read_duration(text)
