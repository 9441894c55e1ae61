"""The alarms of a canary: what is asked of CloudWatch. moto never evaluates them: that they fire is not shown."""

from collections.abc import Iterator

import boto3
import pytest
from account import Account, open_account

from kennel.aws.alarms import CanaryAlarms, names

TAGS = {"kennel:name": "dogs", "kennel:created-by": "kennel"}


@pytest.fixture
def account(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with open_account(tmp_path_factory.mktemp("alarms") / "runs") as opened:
        for key, value in opened.environ.items():
            monkeypatch.setenv(key, value)
        yield opened


def test_errors_of_all_and_the_time_of_the_new_model_alone_are_watched_and_forgotten(account: Account) -> None:
    alarms = CanaryAlarms(boto3.client("cloudwatch"))
    assert alarms.put("dogs", config="dogs-2", tags=TAGS) == names("dogs")
    errors, latency = account.admin("cloudwatch").describe_alarms()["MetricAlarms"]
    assert (errors["MetricName"], errors["Threshold"]) == ("Invocation5XXErrors", 0.05)
    assert (latency["MetricName"], latency["Threshold"]) == ("ModelLatency", 2_000_000)
    assert [each["Name"] for each in errors["Dimensions"]] == ["EndpointName", "VariantName"]
    assert latency["Dimensions"][2] == {"Name": "EndpointConfigName", "Value": "dogs-2"}
    assert alarms.remove("dogs") and not alarms.remove("dogs")
    assert len(account.asked("DeleteAlarms")) == 1, "an alarm that is not there is not deleted"
