"""Scaling of endpoints: what is asked of Application Auto Scaling. moto never scales: that it would is not shown."""

from collections.abc import Iterator

import boto3
import pytest
from account import Account, open_account

from kennel.aws.scaling import Limits, Scaling, wake_alarm
from kennel.errors import UserError

TAGS = {"kennel:name": "dogs", "kennel:created-by": "kennel"}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with open_account(tmp_path_factory.mktemp("scaling") / "runs") as opened:
        yield opened


@pytest.fixture
def scaling(account: Account, monkeypatch: pytest.MonkeyPatch) -> Scaling:
    for key, value in account.environ.items():
        monkeypatch.setenv(key, value)
    account.calls.clear()
    return Scaling(boto3.client("application-autoscaling"))


def policies(account: Account, endpoint: str) -> dict[str, str]:
    found = account.admin("application-autoscaling").describe_scaling_policies(
        ServiceNamespace="sagemaker", ResourceId=f"endpoint/{endpoint}/variant/AllTraffic"
    )
    return {each["PolicyName"]: each["PolicyType"] for each in found["ScalingPolicies"]}


def test_machines_follow_the_requests(scaling: Scaling, account: Account) -> None:
    scaling.follow_invocations("dogs", least=1, most=4, per_minute=100, tags=TAGS)
    assert scaling.limits("dogs") == Limits(1, 4)
    assert scaling.is_followed("dogs") and not scaling.is_followed("cats")
    [registered] = account.asked("RegisterScalableTarget")
    assert (registered["MinCapacity"], registered["MaxCapacity"]) == (1, 4)
    assert registered["Tags"] == TAGS
    [put] = account.asked("PutScalingPolicy")
    configuration = put["TargetTrackingScalingPolicyConfiguration"]
    assert configuration["TargetValue"] == 100
    assert configuration["PredefinedMetricSpecification"] == {
        "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
    }
    assert scaling.forget("dogs") and not scaling.is_followed("dogs") and not scaling.forget("dogs")


def test_an_asynchronous_endpoint_goes_down_to_none_and_wakes(scaling: Scaling, account: Account) -> None:
    cloudwatch = boto3.client("cloudwatch")
    scaling.follow_backlog("later", cloudwatch, most=2, tags=TAGS)
    [registered] = account.asked("RegisterScalableTarget")
    assert (registered["MinCapacity"], registered["MaxCapacity"]) == (0, 2)
    assert policies(account, "later") == {
        "kennel-later-backlog": "TargetTrackingScaling",
        "kennel-later-from-none": "StepScaling",
    }
    [alarm] = cloudwatch.describe_alarms(AlarmNames=[wake_alarm("later")])["MetricAlarms"]
    [policy] = alarm["AlarmActions"]
    assert policy.endswith("policyName/kennel-later-from-none") and alarm["MetricName"] == "HasBacklogWithoutCapacity"


def test_fewer_than_none_is_refused_of_an_asynchronous_endpoint(scaling: Scaling) -> None:
    with pytest.raises(UserError, match="--min 3 and --max 2"):
        scaling.follow_backlog("later", boto3.client("cloudwatch"), least=3, most=2)


@pytest.mark.parametrize(("least", "most"), [(0, 2), (3, 2)])
def test_numbers_that_cannot_be_are_refused(scaling: Scaling, account: Account, least: int, most: int) -> None:
    with pytest.raises(UserError, match=f"--min {least} and --max {most}"):
        scaling.follow_invocations("dogs", least=least, most=most)
    assert not account.asked("RegisterScalableTarget")
