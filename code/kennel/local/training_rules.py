"""What a CreateTrainingJob request must satisfy beyond each member's own limits.

First AWS's rules between members (kennel.local.training_members); then what this machine cannot do, so that it is said
when the job is created and not after it has run.
"""

from pathlib import Path

from kennel.errors import ContractError
from kennel.local.channels import MANIFEST, check_manifest, is_manifest
from kennel.local.faults import invalid
from kennel.local.storage import LocalS3, S3Address, read_address
from kennel.local.training_members import check_training_members
from kennel.local.validation import Json


def check_training_job(request: Json, s3: LocalS3) -> None:
    """Raises ApiError for a request that AWS would refuse, or that cannot be done here, wherever it runs."""
    check_training_members(request)
    _check_here(request)
    _check_channels(request, s3)
    _check_outputs(request, s3)


def _check_here(request: Json) -> None:
    """What AWS would do and this machine cannot."""
    algorithm = request["AlgorithmSpecification"]
    if "AlgorithmName" in algorithm:
        raise invalid(f"Algorithm '{algorithm['AlgorithmName']}' is not on this machine. Name a TrainingImage.")
    if algorithm["TrainingInputMode"] == "Pipe":
        raise invalid("TrainingInputMode 'Pipe' is not supported by the local SageMaker. Use 'File'.")
    resources = request.get("ResourceConfig", {})
    if resources.get("InstanceGroups"):
        groups = ", ".join(group["InstanceGroupName"] for group in resources["InstanceGroups"])
        raise invalid(
            f"ResourceConfig.InstanceGroups ({groups}) are not supported by the local SageMaker. Give an instance_type "
            "and an instance_count instead, or use --on aws."
        )
    if "InstanceType" not in resources or resources.get("InstanceCount", 0) < 1:
        raise invalid("ResourceConfig needs an InstanceType and an InstanceCount of at least 1 to run on this machine.")


def _check_channels(request: Json, s3: LocalS3) -> None:
    for channel in request.get("InputDataConfig", []):
        _check_channel(channel, s3, role=request["RoleArn"])


def _check_channel(channel: Json, s3: LocalS3, *, role: str) -> None:
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
        _check_manifest(channel, s3)
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


def _check_manifest(channel: Json, s3: LocalS3) -> None:
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
