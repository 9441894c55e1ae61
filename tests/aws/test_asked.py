"""Requests are read back as they were given to boto3, in all of AWS's protocols; and what needs which action."""

import datetime
from typing import Any

import boto3
import pytest
from asked import Asked, UnknownRequest, read_request
from botocore.awsrequest import AWSPreparedRequest
from gatekeeper import violations
from permissions import UnknownNeed, needs_of
from policies import Policy
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

PREFIX = "arn:aws:sagemaker:eu-west-1:123456789012"
ROLE = "arn:aws:iam::123456789012:role/r"
TAGS = [{"Key": "kennel:created-by", "Value": "kennel"}]
TRAINING: dict[str, Any] = {
    "TrainingJobName": "dogs",
    "RoleArn": ROLE,
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    "OutputDataConfig": {"S3OutputPath": "s3://b/kennel/jobs"},
    "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    "Tags": TAGS,
}
AT = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
# service, operation, what boto3 is given, what is read where that differs.
REQUESTS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("sagemaker", "CreateTrainingJob", TRAINING, {}),
    ("sagemaker", "ListTrainingJobs", {"CreationTimeAfter": AT}, {"CreationTimeAfter": AT.timestamp()}),
    (
        "sagemaker-runtime",
        "InvokeEndpoint",
        {"EndpointName": "dogs", "Body": b"\xff\xd8\x00", "ContentType": "image/jpeg", "TargetModel": "a.tar.gz"},
        {"Body": "\xff\xd8\x00"},
    ),
    ("sagemaker-runtime", "InvokeEndpointAsync", {"EndpointName": "dogs", "InputLocation": "s3://b/k"}, {}),
    (
        "s3",
        "PutObject",
        {"Bucket": "b", "Key": "a/ü b+c?.jpg", "Body": b"x", "ContentType": "image/jpeg", "Metadata": {"digest": "1"}},
        {"Body": "x", "ChecksumAlgorithm": "CRC32"},
    ),
    ("s3", "HeadObject", {"Bucket": "b", "Key": "a/b"}, {}),
    ("s3", "GetObject", {"Bucket": "b", "Key": "a/b", "Range": "bytes=0-1"}, {}),
    ("s3", "ListObjectsV2", {"Bucket": "b", "Prefix": "a/", "MaxKeys": 3}, {}),
    ("s3", "HeadBucket", {"Bucket": "b"}, {}),
    ("s3", "ListBuckets", {}, {}),
    ("s3", "UploadPart", {"Bucket": "b", "Key": "k", "UploadId": "u", "PartNumber": 2, "Body": b"x"}, {"Body": "x"}),
    ("s3", "ListParts", {"Bucket": "b", "Key": "k", "UploadId": "u"}, {}),
    ("s3", "AbortMultipartUpload", {"Bucket": "b", "Key": "k", "UploadId": "u"}, {}),
    ("s3", "CreateMultipartUpload", {"Bucket": "b", "Key": "k"}, {}),
    (
        "s3",
        "CompleteMultipartUpload",
        {
            "Bucket": "b",
            "Key": "k",
            "UploadId": "u",
            "MultipartUpload": {"Parts": [{"ETag": "e", "PartNumber": 1}, {"ETag": "f", "PartNumber": 2}]},
        },
        {},
    ),
    ("s3", "DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "a&b"}, {"Key": "c"}], "Quiet": True}}, {}),
    ("s3", "GetBucketLocation", {"Bucket": "b"}, {}),
    ("s3", "GetBucketLifecycleConfiguration", {"Bucket": "b"}, {}),
    (
        "scheduler",
        "CreateSchedule",
        {
            "Name": "dogs.1",
            "GroupName": "kennel",
            "ScheduleExpression": "at(2026-11-21T12:00:00)",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {"Arn": "arn:aws:scheduler:::aws-sdk:sagemaker:deleteEndpoint", "RoleArn": ROLE},
        },
        {},
    ),
    ("scheduler", "ListSchedules", {"GroupName": "kennel", "NamePrefix": "dogs"}, {}),
    ("scheduler", "DeleteSchedule", {"Name": "dogs.1", "GroupName": "kennel"}, {}),
    ("iam", "GetRole", {"RoleName": "r"}, {}),
    (
        "iam",
        "SimulatePrincipalPolicy",
        {"PolicySourceArn": ROLE, "ActionNames": ["s3:GetObject", "s3:PutObject"]},
        {},
    ),
    ("sts", "GetCallerIdentity", {}, {}),
    ("cloudwatch", "DeleteAlarms", {"AlarmNames": ["a", "b"]}, {}),
    ("resourcegroupstaggingapi", "GetResources", {"TagFilters": [{"Key": "k", "Values": ["v"]}]}, {}),
    ("ecr", "BatchGetImage", {"repositoryName": "kennel-train", "imageIds": [{"imageTag": "1"}]}, {}),
    ("service-quotas", "ListServiceQuotas", {"ServiceCode": "sagemaker"}, {}),
    ("pricing", "GetProducts", {"ServiceCode": "AmazonSageMaker"}, {}),
    ("cloudformation", "DescribeStacks", {"StackName": "kennel"}, {}),
]


def sent(service: str, operation: str, given: dict[str, Any]) -> Asked:
    """What boto3 would send, read back."""
    client = boto3.client(
        service,
        region_name="eu-west-1",
        endpoint_url="http://127.0.0.1:1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    client.meta.events.register("before-send", _catch)
    with pytest.raises(_Caught) as caught:
        client._make_api_call(operation, given)
    request = caught.value.request
    path, _, query = request.url.removeprefix("http://127.0.0.1:1").partition("?")
    body = request.body.read() if hasattr(request.body, "read") else request.body or b""
    body = body.encode() if isinstance(body, str) else body
    headers = {key: value.decode() if isinstance(value, bytes) else value for key, value in request.headers.items()}
    environ = EnvironBuilder(path=path, query_string=query, method=request.method, headers=headers, data=body)
    signing_name = client.meta.service_model.signing_name
    return read_request(Request(environ.get_environ()), body, signing_name)


class _Caught(Exception):
    """A request that would be sent now."""

    def __init__(self, request: AWSPreparedRequest) -> None:
        super().__init__(request.url)
        self.request = request


def _catch(request: AWSPreparedRequest, **_: object) -> None:
    raise _Caught(request)


@pytest.mark.parametrize(
    ("service", "operation", "given", "other"), REQUESTS, ids=lambda each: each if isinstance(each, str) else ""
)
def test_a_request_is_read_as_it_was_given(
    service: str, operation: str, given: dict[str, Any], other: dict[str, Any]
) -> None:
    asked = sent(service, operation, given)
    assert (asked.service, asked.operation) == (service, operation)
    read = {key: value for key, value in asked.parameters.items() if key in given or key in other}
    assert read == {**given, **other}
    assert violations(asked) == []
    assert all(need.resource for need in needs_of(asked, region="eu-west-1", account="123456789012"))


def test_what_boto3_lets_through_is_found() -> None:
    asked = sent("sagemaker", "CreateTrainingJob", {**TRAINING, "TrainingJobName": "two words", "RoleArn": "r" * 20})
    (found,) = violations(asked)
    assert found.startswith("sagemaker CreateTrainingJob: 2 validation errors detected") and "trainingJobName" in found
    asked = sent("scheduler", "ListSchedules", {"GroupName": "a/b"})
    assert "groupName" in violations(asked)[0]


def test_a_request_that_no_model_has_is_unknown() -> None:
    environ = EnvironBuilder(path="/nowhere", method="PATCH").get_environ()
    with pytest.raises(UnknownRequest, match="scheduler: PATCH /nowhere"):
        read_request(Request(environ), b"", "scheduler")
    asked = sent("sagemaker", "ListDomains", {})
    with pytest.raises(UnknownNeed, match="sagemaker ListDomains"):
        needs_of(asked, region="eu-west-1", account="123456789012")


def actions(service: str, operation: str, given: dict[str, Any]) -> list[tuple[str, str]]:
    needs = needs_of(sent(service, operation, given), region="eu-west-1", account="123456789012")
    return [(need.action, need.resource) for need in needs]


def test_what_a_request_needs_is_more_than_its_name() -> None:
    assert actions("sagemaker", "CreateTrainingJob", TRAINING) == [
        ("sagemaker:CreateTrainingJob", f"{PREFIX}:training-job/dogs"),
        ("sagemaker:AddTags", f"{PREFIX}:training-job/dogs"),
        ("iam:PassRole", ROLE),
    ]
    assert actions("sagemaker", "CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c"}) == [
        ("sagemaker:CreateEndpoint", f"{PREFIX}:endpoint/e"),
        ("sagemaker:CreateEndpoint", f"{PREFIX}:endpoint-config/c"),
    ]
    assert actions("sagemaker", "ListEndpoints", {}) == [("sagemaker:ListEndpoints", "*")]
    assert actions("s3", "HeadBucket", {"Bucket": "b"}) == [("s3:ListBucket", "arn:aws:s3:::b")]
    assert actions("s3", "DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "a"}, {"Key": "c"}]}}) == [
        ("s3:DeleteObject", "arn:aws:s3:::b/a"),
        ("s3:DeleteObject", "arn:aws:s3:::b/c"),
    ]
    assert actions("sts", "GetCallerIdentity", {}) == []
    key = "arn:aws:kms:eu-west-1:123456789012:key/1"
    assert actions("s3", "PutObject", {"Bucket": "b", "Key": "k", "SSEKMSKeyId": key}) == [
        ("s3:PutObject", "arn:aws:s3:::b/k"),
        ("kms:GenerateDataKey", key),
        ("kms:Decrypt", key),
    ]
    machines = {**TRAINING["ResourceConfig"], "VolumeKmsKeyId": key}
    needed = actions("sagemaker", "CreateTrainingJob", {**TRAINING, "ResourceConfig": machines})
    assert needed[-2:] == [("kms:CreateGrant", key), ("kms:DescribeKey", key)]


def test_a_policy_allows_what_fits_action_resource_and_condition() -> None:
    statement = {
        "Sid": "Pass",
        "Effect": "Allow",
        "Action": ["iam:Pass*"],
        "Resource": "arn:aws:iam::1:role/a*",
        "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    }
    policy = Policy({"Version": "2012-10-17", "Statement": [statement]})
    to = {"iam:PassedToService": "sagemaker.amazonaws.com"}
    found = policy.allowing("iam:PassRole", "arn:aws:iam::1:role/ab", to)
    assert found is not None and found.sid == "Pass"
    assert not policy.allowing("iam:GetRole", "arn:aws:iam::1:role/ab", to)
    assert not policy.allowing("iam:PassRole", "arn:aws:iam::1:role/b", to)
    assert not policy.allowing("iam:PassRole", "arn:aws:iam::1:role/ab", {})
    assert not policy.allowing("iam:PassRole", "arn:aws:iam::1:role/ab", {"iam:PassedToService": "x"})


@pytest.mark.parametrize(
    "more",
    [
        {"Effect": "Deny"},
        {"NotAction": "s3:*"},
        {"Condition": {"StringNotEquals": {"s3:prefix": "a"}}},
        {"Condition": {"StringEquals": {"aws:CurrentTime": "a"}}},
    ],
)
def test_a_policy_with_what_the_evaluator_does_not_know_is_an_error(more: dict[str, Any]) -> None:
    statement = {"Sid": "S", "Effect": "Allow", "Action": "s3:*", "Resource": "*", **more}
    with pytest.raises(ValueError, match="S: this evaluator knows nothing of"):
        Policy({"Version": "2012-10-17", "Statement": [statement]})
