"""The account that tests use instead of AWS: who answers what, and faults that are planned."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from account import THROTTLED, UNAVAILABLE, Account, open_account
from botocore.exceptions import ClientError

from kennel.aws.profile import Profile


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with open_account(tmp_path / "runs", policy=None) as opened:
        for key, value in opened.environ.items():
            monkeypatch.setenv(key, value)
        yield opened


def test_each_service_is_answered_by_its_own(account: Account) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="pictures")
    s3.put_object(Bucket="pictures", Key="a/b c.txt", Body=b"hello" * 1000)
    with s3.get_object(Bucket="pictures", Key="a/b c.txt")["Body"] as stream:
        assert stream.read() == b"hello" * 1000
    assert s3.list_objects_v2(Bucket="pictures", Prefix="a/")["KeyCount"] == 1
    assert boto3.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []
    assert boto3.client("sts").get_caller_identity()["Arn"].endswith(":assumed-role/kennel-local/kennel-local")
    boto3.client("ecr").create_repository(repositoryName="kennel-train")
    scaling = boto3.client("application-autoscaling")
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []
    assert account.asked("CreateRepository") == [{"repositoryName": "kennel-train"}]


def test_planned_faults_come_once_and_are_retried(account: Account) -> None:
    account.faults["ListTrainingJobs"] = [THROTTLED, UNAVAILABLE]
    answer = boto3.client("sagemaker").list_training_jobs()
    assert answer["ResponseMetadata"]["RetryAttempts"] == 2 and len(account.asked("ListTrainingJobs")) == 3
    account.faults["ListTrainingJobs"] = [THROTTLED] * 3
    with pytest.raises(ClientError, match="ThrottlingException.*reached max retries: 2"):
        boto3.client("sagemaker").list_training_jobs()


def test_what_the_policy_does_not_allow_is_refused_as_aws_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_account(tmp_path / "runs", profile=Profile(bucket="others")) as account:
        for key, value in account.environ.items():
            monkeypatch.setenv(key, value)
        with account.expects_denied() as denied:
            with pytest.raises(ClientError, match=r"AccessDenied.*kennel-local is not authorized to perform: s3:Crea"):
                boto3.client("s3").create_bucket(Bucket="pictures")
            with pytest.raises(
                ClientError, match=r"AccessDeniedException.*ecr:CreateRepository on resource: arn:aws:ecr"
            ):
                boto3.client("ecr").create_repository(repositoryName="kennel-train")
            with pytest.raises(ClientError, match=r"AccessDeniedException.*scheduler:DeleteSchedule"):
                boto3.client("scheduler").delete_schedule(Name="others")
            with pytest.raises(ClientError, match=r"AccessDenied.*iam:GetRole on resource: arn:aws:iam::123456789012:"):
                boto3.client("iam").get_role(RoleName="kennel-local")
        assert len(denied) == 4
        account.admin("s3").create_bucket(Bucket="pictures")  # whoever administers it may


def test_a_thing_without_kennels_tag_cannot_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_account(tmp_path / "runs") as account:
        for key, value in account.environ.items():
            monkeypatch.setenv(key, value)
        account.admin("s3").create_bucket(Bucket="pictures")
        account.admin("s3").put_object(Bucket="pictures", Key="kennel/model.tar.gz", Body=b"")
        tags = [{"Key": "kennel:created-by", "Value": "kennel"}]
        for name, more in (("ours", {"Tags": tags}), ("theirs", {})):
            model = {"Image": "kennel-serve:1", "ModelDataUrl": "s3://pictures/kennel/model.tar.gz"}
            account.admin("sagemaker").create_model(
                ModelName=name, PrimaryContainer=model, ExecutionRoleArn="arn:aws:iam::123456789012:role/r", **more
            )
        person = boto3.client("sagemaker")
        person.delete_model(ModelName="ours")
        with account.expects_denied(), pytest.raises(ClientError, match="AccessDeniedException.*sagemaker:DeleteModel"):
            person.delete_model(ModelName="theirs")


def test_requests_that_aws_would_refuse_fail_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(AssertionError, match="AWS would have refused: .*ListTrainingJobs.*nameContains"),
        open_account(tmp_path / "runs") as account,
    ):
        for key, value in account.environ.items():
            monkeypatch.setenv(key, value)
        client = boto3.client("sagemaker")
        with account.expects_invalid() as found, pytest.raises(ClientError):
            client.list_training_jobs(NameContains="two words")
        assert len(found) == 1
        with pytest.raises(ClientError):
            client.list_training_jobs(NameContains="two words")
