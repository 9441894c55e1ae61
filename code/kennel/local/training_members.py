"""AWS's rules between the members of a CreateTrainingJob request, in AWS's words where they are known.

Nothing of what this machine can or cannot do (that is kennel.local.training_rules): what is refused here, AWS refuses.
"""

from collections import Counter

from kennel.local.channels import MANIFEST, is_manifest
from kennel.local.faults import invalid
from kennel.local.metric_regexes import check_metrics
from kennel.local.validation import Json


def check_training_members(request: Json) -> None:
    """Raises ApiError for a request whose members contradict each other."""
    _check_algorithm(request["AlgorithmSpecification"])
    _check_stopping(request)
    _check_resources(request)
    _check_channels(request)


def _check_algorithm(algorithm: Json) -> None:
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        raise invalid("You must specify either TrainingImage or AlgorithmName in AlgorithmSpecification, and not both.")
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


def _check_resources(request: Json) -> None:
    resources = request.get("ResourceConfig", {})
    if resources.get("InstanceGroups") and ("InstanceType" in resources or "InstanceCount" in resources):
        raise invalid("ResourceConfig has both InstanceGroups and an InstanceType or InstanceCount. Keep one of them.")
    if resources.get("KeepAlivePeriodInSeconds") and request.get("EnableManagedSpotTraining"):
        raise invalid(
            "KeepAlivePeriodInSeconds cannot be used with EnableManagedSpotTraining: a spot machine is not kept. "
            "Leave one of them out."
        )


def _check_channels(request: Json) -> None:
    channels = request.get("InputDataConfig", [])
    for name, count in Counter(channel["ChannelName"] for channel in channels).items():
        if count > 1:
            raise invalid(f"Duplicate channel name '{name}' in InputDataConfig. Each channel needs a name of its own.")
    for channel in channels:
        mode = channel.get("InputMode", request["AlgorithmSpecification"]["TrainingInputMode"])
        if mode == "FastFile" and "S3DataSource" in channel["DataSource"] and is_manifest(channel):
            raise invalid(
                f"Channel '{channel['ChannelName']}': InputMode 'FastFile' takes S3DataType 'S3Prefix' only. Use "
                f"InputMode 'File' with '{MANIFEST}'."
            )
