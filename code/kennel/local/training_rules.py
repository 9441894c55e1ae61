"""What a CreateTrainingJob request must satisfy beyond each member's own limits.

First AWS's rules between members, in AWS's words where they are known; then what this machine cannot do, so that it
is said when the job is created and not after it has run.
"""

from collections import Counter
from pathlib import Path

from kennel.errors import ContractError
from kennel.local.channels import MANIFEST, check_manifest, is_manifest
from kennel.local.faults import invalid
from kennel.local.metric_regexes import check_metrics
from kennel.local.storage import LocalS3, S3Address, read_address
from kennel.local.validation import Json


def check_training_job(request: Json, s3: LocalS3) -> None:
    """Raises ApiError for a request that AWS would refuse, or that cannot be done here, wherever it runs."""
    _check_algorithm(request["AlgorithmSpecification"])
    _check_stopping(request)
    _check_resources(request.get("ResourceConfig"))
    _check_channels(request, s3)
    _check_outputs(request, s3)


def _check_algorithm(algorithm: Json) -> None:
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        raise invalid("You must specify either TrainingImage or AlgorithmName in AlgorithmSpecification, and not both.")
    if "AlgorithmName" in algorithm:
        raise invalid(f"Algorithm '{algorithm['AlgorithmName']}' is not on this machine. Name a TrainingImage.")
    if algorithm["TrainingInputMode"] == "Pipe":
        raise invalid("TrainingInputMode 'Pipe' is not supported by the local SageMaker. Use 'File'.")
    check_metrics(algorithm.get("MetricDefinitions", []))


def _check_stopping(request: Json) -> None:
    stopping = request.get("StoppingCondition", {})
    wait_s = stopping.get("MaxWaitTimeInSeconds")
    if not request.get("EnableManagedSpotTraining"):
        if wait_s is not None:
            raise invalid(
                "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"
            )
    elif wait_s is None or wait_s < stopping.get("MaxRuntimeInSeconds", 86400):
        raise invalid(
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
        )


def _check_resources(resources: Json | None) -> None:
    if resources and resources.get("InstanceGroups"):
        groups = ", ".join(group["InstanceGroupName"] for group in resources["InstanceGroups"])
        raise invalid(
            f"ResourceConfig.InstanceGroups ({groups}) are not supported by the local SageMaker. Give an instance_type "
            "and an instance_count instead, or use --on aws."
        )
    if not resources or "InstanceType" not in resources or resources.get("InstanceCount", 0) < 1:
        raise invalid("ResourceConfig needs an InstanceType and an InstanceCount of at least 1 to run on this machine.")


def _check_channels(request: Json, s3: LocalS3) -> None:
    channels = request.get("InputDataConfig", [])
    for name, count in Counter(channel["ChannelName"] for channel in channels).items():
        if count > 1:
            raise invalid(f"Duplicate channel name '{name}' in InputDataConfig. Each channel needs a name of its own.")
    for channel in channels:
        mode = channel.get("InputMode", request["AlgorithmSpecification"]["TrainingInputMode"])
        _check_channel(channel, s3, role=request["RoleArn"], mode=mode)


def _check_channel(channel: Json, s3: LocalS3, *, role: str, mode: str) -> None:
    name = channel["ChannelName"]
    source = channel["DataSource"].get("S3DataSource")
    if source is None or name in (".", ".."):
        raise invalid(f"Channel '{name}' has no S3DataSource, the only source the local SageMaker reads.")
    if source["S3DataType"] not in ("S3Prefix", MANIFEST):
        raise invalid(
            f"S3DataType '{source['S3DataType']}' of channel '{name}' is not supported here. Use 'S3Prefix' or "
            f"'{MANIFEST}'."
        )
    if channel.get("InputMode") == "Pipe" or channel.get("CompressionType", "None") != "None":
        raise invalid(f"Channel '{name}': Pipe mode and its compression are not supported here. Use InputMode 'File'.")
    if is_manifest(channel):
        _check_manifest(channel, mode, s3)
        return
    address = _address(source["S3Uri"])
    if isinstance(address, Path):
        if not address.exists():
            raise invalid(
                f"Channel '{name}' has nothing at '{source['S3Uri']}'. Give the path of a folder that exists."
            )
    elif not s3.keys(address):
        raise invalid(
            f'No S3 objects found under S3 URL "{source["S3Uri"]}" given in input data source. Please ensure that the '
            f"bucket exists in the local S3 (it holds what was uploaded since the service started), that objects exist "
            f'under that S3 prefix, and that the role "{role}" has "s3:ListBucket" permissions on bucket '
            f'"{address.bucket}".'
        )


def _check_manifest(channel: Json, mode: str, s3: LocalS3) -> None:
    if mode == "FastFile":
        raise invalid(
            f"Channel '{channel['ChannelName']}': InputMode 'FastFile' takes S3DataType 'S3Prefix' only. Use InputMode "
            f"'File' with '{MANIFEST}'."
        )
    try:
        check_manifest(channel, s3)
    except ContractError as error:
        raise invalid(str(error)) from error


def _check_outputs(request: Json, s3: LocalS3) -> None:
    output = request["OutputDataConfig"]
    if output.get("CompressionType", "GZIP") != "GZIP":
        raise invalid("OutputDataConfig.CompressionType 'NONE' is not supported by the local SageMaker. Leave it out.")
    addresses = [output["S3OutputPath"]]
    if "CheckpointConfig" in request:
        addresses.append(request["CheckpointConfig"]["S3Uri"])
    for uri in addresses:
        address = _address(uri)
        if not isinstance(address, Path) and not s3.has_bucket(address.bucket):
            raise invalid(
                f"The bucket of '{uri}' is not in the local S3. Create it (s3.create_bucket(Bucket='{address.bucket}'))"
                " or use a file:// address. The local S3 forgets its buckets when the service stops."
            )


def _address(uri: str) -> S3Address | Path:
    try:
        return read_address(uri)
    except ContractError as error:
        raise invalid(str(error)) from error
