"""The account that tests use instead of AWS: who answers what, and faults that are planned."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from account import THROTTLED, UNAVAILABLE, Account, open_account
from botocore.exceptions import ClientError


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
