"""What Kennel made is found by its tags."""

from collections.abc import Iterator

import boto3
import pytest
from account import Account, open_account
from tagged_resources import tagging_of

from kennel import __version__
from kennel.aws.profile import Profile
from kennel.aws.tags import Tagged, as_list, find_tagged, tags_for

ROLE = "arn:aws:iam::123456789012:role/kennel"


@pytest.fixture
def account(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with open_account(tmp_path_factory.mktemp("tags") / "runs") as opened:
        for key, value in opened.environ.items():
            monkeypatch.setenv(key, value)
        with tagging_of(opened):
            yield opened


def test_what_is_ours_is_found_by_its_tags(account: Account) -> None:
    profile = Profile(tags={"team": "vision", "kennel:name": "overruled"})
    tags = tags_for("dogs", profile)
    assert tags == {
        "team": "vision",
        "kennel:name": "dogs",
        "kennel:created-by": "kennel",
        "kennel:version": __version__,
    }
    sagemaker, tagging = account.admin("sagemaker"), boto3.client("resourcegroupstaggingapi")
    container = {"Image": "kennel-serve:1"}
    for name, its in (("dogs", tags), ("cats", tags_for("cats", profile)), ("others", {"team": "vision"})):
        sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE, Tags=as_list(its))
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "dogs",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="dogs", ProductionVariants=[variant], Tags=as_list(tags))
    account.admin("cloudwatch").put_metric_alarm(
        AlarmName="dogs-errors",
        EvaluationPeriods=1,
        ComparisonOperator="GreaterThanThreshold",
        MetricName="Invocation5XXErrors",
        Namespace="AWS/SageMaker",
        Period=60,
        Statistic="Sum",
        Threshold=1,
        Tags=as_list(tags),
    )
    found = {each.kind + "/" + each.name for each in find_tagged(tagging)}
    assert {"sagemaker:model/dogs", "sagemaker:model/cats", "sagemaker:endpoint-config/dogs"} <= found
    assert "sagemaker:model/others" not in found
    of_dogs = [each for each in find_tagged(tagging, name="dogs") if each.kind.startswith("sagemaker:")]
    arn = "arn:aws:sagemaker:us-east-1:123456789012"
    assert sorted(of_dogs, key=lambda each: each.arn) == [
        Tagged(f"{arn}:endpoint-config/dogs", "sagemaker:endpoint-config", "dogs", tags),
        Tagged(f"{arn}:model/dogs", "sagemaker:model", "dogs", tags),
    ]
    sagemaker.delete_model(ModelName="dogs")
    assert [each.kind for each in find_tagged(tagging, name="dogs") if each.kind == "sagemaker:model"] == []
