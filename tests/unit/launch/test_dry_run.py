"""Requests that are held: seen as they would be sent, checked by botocore, and never sent."""

import json
import shlex
from typing import Any

import boto3
import pytest
from botocore.exceptions import ParamValidationError

from kennel.launch.dry_run import as_json, held


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return boto3.Session(region_name="eu-west-1")


MODEL = {
    "ModelName": "dogs",
    "PrimaryContainer": {"Image": "it's"},
    "ExecutionRoleArn": "arn:aws:iam::123456789012:role/k",
}


def test_requests_are_seen_and_not_sent_without_credentials(session: Any) -> None:  # noqa: ANN401
    with held(session) as requests:
        answer = session.client("sagemaker").create_model(**MODEL)
        session.client("s3").put_object(Bucket="b", Key="k", Body=b"x")
    assert answer["ModelArn"] == "kennel-dry-run"
    assert [(each.service, each.operation) for each in requests] == [("sagemaker", "CreateModel"), ("s3", "PutObject")]
    assert requests[0].parameters == MODEL
    words = shlex.split(requests[0].command)
    assert words[:4] == ["aws", "sagemaker", "create-model", "--cli-input-json"] and json.loads(words[4]) == MODEL
    assert json.loads(as_json(requests))[0]["request"] == MODEL


def test_what_is_wrong_is_refused_as_ever(session: Any) -> None:  # noqa: ANN401
    with held(session) as requests, pytest.raises(ParamValidationError, match="ModelName"):
        session.client("sagemaker").create_model(ModelName=5)
    assert requests == []


def test_reading_is_not_held(session: Any) -> None:  # noqa: ANN401
    with held(session) as requests, pytest.raises(Exception, match="Unable to locate credentials"):
        session.client("sagemaker").list_models()
    assert requests == []


def test_afterwards_nothing_is_held(session: Any) -> None:  # noqa: ANN401
    with held(session) as requests:
        pass
    with pytest.raises(Exception, match="Unable to locate credentials"):
        session.client("sagemaker").create_model(**MODEL)
    assert requests == []
