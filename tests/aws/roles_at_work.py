"""What SageMaker and EventBridge Scheduler do as the roles they are given, worked out from the requests that name them.

    for need in as_execution_role(operation, parameters, account="123456789012"): ...
    for need in as_scheduler_role(parameters, ...): ...

Sources: the developer guide's "SageMaker AI roles" (what each Create call needs of its execution role), and "Delete
endpoints with automatic scaling". How keys are named below an address is the contract of Kennel's own layout.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from permissions import Need

Json = Mapping[str, Any]
_ADDRESS = re.compile(r"s3://([^/]+)/?(.*)")
_IMAGE = re.compile(r"(\d+)\.dkr\.ecr\.([\w-]+)\.[\w.]+/([\w./-]+?)[:@].+")
_LOGS = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents")
_PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_WRITE = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject")
_INTERFACES = (
    *("ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission"),
    *("ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission"),
)
_LOOK_UP = (
    *("ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups"),
    *("ec2:DescribeSubnets", "ec2:DescribeVpcs"),
)


def as_execution_role(operation: str, given: Json, *, region: str, account: str) -> Iterator[Need]:
    """What a Create request makes SageMaker do; nothing for the others."""
    found = _WORK.get(operation)
    if found is None:
        return
    yield from found(given)
    definitions = [given, *_definitions(given)]
    if any(each.get("VpcConfig") for each in definitions):
        yield from (Need(action, f"arn:aws:ec2:{region}:{account}:network-interface/*") for action in _INTERFACES)
        yield from (Need(action, "*") for action in _LOOK_UP)
    if operation in ("CreateTrainingJob", "CreateHyperParameterTuningJob", "CreateTransformJob", "CreateModel"):
        group = f"arn:aws:logs:{region}:{account}:log-group:/aws/sagemaker/{operation.removeprefix('Create')}s"
        yield from (Need(action, f"{group}:log-stream:*") for action in _LOGS)
        yield Need("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"})
    for key in sorted(_keys(given)):
        yield from (Need(f"kms:{each}", key) for each in ("Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey"))
        yield Need("kms:CreateGrant", key)


def as_scheduler_role(given: Json, *, region: str, account: str) -> Iterator[Need]:
    """What a CreateSchedule request makes the scheduler do: only on what carries Kennel's tag."""
    operation = given["Target"]["Arn"].rpartition(":")[2]
    tagged = {"aws:ResourceTag/kennel:created-by": "kennel"}
    ((parameter, name),) = json.loads(given["Target"]["Input"]).items()
    kind = {"EndpointName": "endpoint", "EndpointConfigName": "endpoint-config", "ModelName": "model"}[parameter]
    arn = f"arn:aws:sagemaker:{region}:{account}:{kind}/{name}"
    yield Need(f"sagemaker:{operation[0].upper()}{operation[1:]}", arn, tagged)
    if kind == "endpoint":  # else DeleteEndpoint may be refused where the endpoint is scaled
        target = f"arn:aws:application-autoscaling:{region}:{account}:scalable-target/0123456789"
        space = {"application-autoscaling:service-namespace": "sagemaker"}
        yield Need("application-autoscaling:DeregisterScalableTarget", target, space)


def buckets(given: Any) -> set[str]:  # noqa: ANN401  JSON
    """Of all addresses in a request."""
    return {found[1] for text in _texts(given) if (found := _ADDRESS.fullmatch(text))}


def _training(given: Json) -> Iterator[Need]:
    specification = given["AlgorithmSpecification"]
    yield from _pulled(specification["TrainingImage"])
    for channel in given.get("InputDataConfig", ()):
        yield from _read_all(channel["DataSource"]["S3DataSource"]["S3Uri"])
    yield from _written(given["OutputDataConfig"]["S3OutputPath"])
    checkpoints = given.get("CheckpointConfig", {}).get("S3Uri")
    if checkpoints:
        yield from _read_all(checkpoints)
        yield from _written(checkpoints)


def _tuning(given: Json) -> Iterator[Need]:
    for each in _definitions(given):
        yield from _training(each)


def _model(given: Json) -> Iterator[Need]:
    container = given["PrimaryContainer"]
    yield from _pulled(container["Image"])
    if container.get("Mode") == "MultiModel":
        yield from _read_all(container["ModelDataUrl"])
    elif "ModelDataUrl" in container:
        yield _object("s3:GetObject", container["ModelDataUrl"])


def _transform(given: Json) -> Iterator[Need]:
    yield from _read_all(given["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])
    yield from _written(given["TransformOutput"]["S3OutputPath"])


def _endpoint_config(given: Json) -> Iterator[Need]:
    output = given.get("AsyncInferenceConfig", {}).get("OutputConfig", {})
    addresses = [output.get("S3OutputPath"), output.get("S3FailurePath")]
    for address in [*addresses, given.get("DataCaptureConfig", {}).get("DestinationS3Uri")]:
        if address:
            yield from _written(address)


def _update(given: Json) -> Iterator[Need]:
    """Alarms that take an update back."""
    if given.get("DeploymentConfig", {}).get("AutoRollbackConfiguration"):
        yield Need("cloudwatch:DescribeAlarms", "arn:aws:cloudwatch:us-east-1:123456789012:alarm:*")


def _asynchronous(given: Json) -> Iterator[Need]:
    yield _object("s3:GetObject", given["InputLocation"])


def _pulled(image: str) -> Iterator[Need]:
    yield Need("ecr:GetAuthorizationToken", "*")
    found = _IMAGE.fullmatch(image)
    if found:
        arn = f"arn:aws:ecr:{found[2]}:{found[1]}:repository/{found[3]}"
        yield from (Need(action, arn) for action in _PULL)


def _read_all(address: str) -> Iterator[Need]:
    """All objects below an address: listed, then read."""
    bucket, key = _split(address)
    yield Need("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": key})
    yield Need("s3:GetBucketLocation", f"arn:aws:s3:::{bucket}")
    yield Need("s3:GetObject", f"arn:aws:s3:::{bucket}/{key.rstrip('/')}/x")


def _written(address: str) -> Iterator[Need]:
    yield from (_object(action, f"{address.rstrip('/')}/x") for action in _WRITE)


def _object(action: str, address: str) -> Need:
    return Need(action, f"arn:aws:s3:::{'/'.join(_split(address))}")


def _split(address: str) -> tuple[str, str]:
    found = _ADDRESS.fullmatch(address)
    assert found, f"{address} is no address in S3"
    return found[1], found[2]


def _definitions(given: Json) -> list[Json]:
    one = given.get("TrainingJobDefinition")
    return [*([one] if one else []), *given.get("TrainingJobDefinitions", ())]


def _keys(value: Any) -> set[str]:  # noqa: ANN401  JSON
    if isinstance(value, list):
        return {key for each in value for key in _keys(each)}
    if not isinstance(value, dict):
        return set()
    own = {value[name] for name in ("KmsKeyId", "VolumeKmsKeyId") if value.get(name)}
    return own | {key for each in value.values() for key in _keys(each)}


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401  JSON
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(each)


_WORK: Mapping[str, Callable[[Json], Iterator[Need]]] = {
    "CreateTrainingJob": _training,
    "CreateHyperParameterTuningJob": _tuning,
    "CreateModel": _model,
    "CreateTransformJob": _transform,
    "CreateEndpointConfig": _endpoint_config,
    "UpdateEndpoint": _update,
    "InvokeEndpointAsync": _asynchronous,
}
