"""A stand-in for the tagging API: one GetResources over all that carries tags in an account, deleted things included.

    with tagging_of(account) as tagging:
        boto3.client("resourcegroupstaggingapi").get_resources(...)
        tagging.deleted.append((arn, tags))         # AWS tells of what is gone for a while

moto's own knows neither the local SageMaker's resources nor schedule groups and scaling. moto keeps no tags of scaling
either: those that were asked for are taken from the account's calls. Real answers come with a delay; this one's do not.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from account import Account
from botocore.exceptions import ClientError
from werkzeug.wrappers import Request, Response

_KINDS = (
    ("list_training_jobs", "TrainingJobSummaries", "TrainingJobArn"),
    ("list_hyper_parameter_tuning_jobs", "HyperParameterTuningJobSummaries", "HyperParameterTuningJobArn"),
    ("list_transform_jobs", "TransformJobSummaries", "TransformJobArn"),
    ("list_models", "Models", "ModelArn"),
    ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigArn"),
    ("list_endpoints", "Endpoints", "EndpointArn"),
)
_PAGE = 20
Tags = dict[str, str]


@dataclass
class Tagging:
    """A WSGI app. deleted: what it still tells of. unknown: ARNs that it does not tell of yet."""

    account: Account
    deleted: list[tuple[str, Tags]] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        asked = json.loads(Request(environ).get_data())
        found = [
            {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            for arn, tags in self.resources()
            if all(_fits(tags, each) for each in asked.get("TagFilters", []))
        ]
        start = int(asked.get("PaginationToken") or 0)
        token = str(start + _PAGE) if len(found) > start + _PAGE else ""
        answer = {"ResourceTagMappingList": found[start : start + _PAGE], "PaginationToken": token}
        return Response(json.dumps(answer), content_type="application/x-amz-json-1.1")(environ, start_response)

    def resources(self) -> Iterator[tuple[str, Tags]]:
        """ARN and tags of everything, as of now."""
        for room in (self._sagemaker, self._alarms, self._schedule_groups, self._scaling, self._buckets):
            yield from (each for each in room() if each[0] not in self.unknown)
        yield from self.deleted

    def ours(self) -> list[str]:
        """ARNs of what carries Kennel's tag, but for what is deleted."""
        gone = {arn for arn, _ in self.deleted}
        return [arn for arn, tags in self.resources() if tags.get("kennel:created-by") == "kennel" and arn not in gone]

    def _sagemaker(self) -> Iterator[tuple[str, Tags]]:
        client = self.account.admin("sagemaker")
        for operation, key, arn in _KINDS:
            for page in client.get_paginator(operation).paginate():
                for each in page[key]:
                    yield each[arn], _pairs(client.list_tags(ResourceArn=each[arn])["Tags"])

    def _alarms(self) -> Iterator[tuple[str, Tags]]:
        client = self.account.admin("cloudwatch")
        for each in client.describe_alarms()["MetricAlarms"]:
            yield each["AlarmArn"], _pairs(client.list_tags_for_resource(ResourceARN=each["AlarmArn"])["Tags"])

    def _schedule_groups(self) -> Iterator[tuple[str, Tags]]:
        client = self.account.admin("scheduler")
        for each in client.list_schedule_groups()["ScheduleGroups"]:
            yield each["Arn"], _pairs(client.list_tags_for_resource(ResourceArn=each["Arn"])["Tags"])

    def _scaling(self) -> Iterator[tuple[str, Tags]]:
        calls = list(self.account.calls)
        given = {
            call.parameters["ResourceId"]: call.parameters.get("Tags", {})
            for call in calls
            if call.target == "RegisterScalableTarget"
        }
        client = self.account.admin("application-autoscaling")
        for each in client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]:
            yield each["ScalableTargetARN"], given.get(each["ResourceId"], {})

    def _buckets(self) -> Iterator[tuple[str, Tags]]:
        client = self.account.admin("s3")
        for each in client.list_buckets()["Buckets"]:
            try:
                yield f"arn:aws:s3:::{each['Name']}", _pairs(client.get_bucket_tagging(Bucket=each["Name"])["TagSet"])
            except ClientError:  # a bucket without tags
                continue


@contextmanager
def tagging_of(account: Account) -> Iterator[Tagging]:
    """Meanwhile the account's tagging API is this one."""
    account.others["tagging"] = tagging = Tagging(account)
    try:
        yield tagging
    finally:
        del account.others["tagging"]


def _pairs(tags: Iterable[Mapping[str, str]]) -> Tags:
    return {each["Key"]: each["Value"] for each in tags}


def _fits(tags: Tags, wanted: Mapping[str, Any]) -> bool:
    """A filter without values asks for the key alone."""
    return wanted["Key"] in tags and (not wanted.get("Values") or tags[wanted["Key"]] in wanted["Values"])
