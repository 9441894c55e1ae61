"""AWS's rules between the members of requests that make models, endpoint configurations and endpoints.

Nothing of what this machine can or cannot do: what is refused here, AWS refuses.
"""

from collections import Counter
from typing import Final

from kennel.local.faults import invalid
from kennel.local.validation import Json

_SIZES: Final = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}


def check_model_members(request: Json) -> None:
    """Raises ApiError for a CreateModel request without one kind of containers, or with a container of two models."""
    if ("PrimaryContainer" in request) == bool(request.get("Containers")):
        raise invalid("You must specify either PrimaryContainer or Containers, and not both.")
    for container in request.get("Containers") or [request["PrimaryContainer"]]:
        if ("Image" in container) == ("ModelPackageName" in container):
            raise invalid("A container needs either an Image or a ModelPackageName, and not both.")
        if "ModelDataUrl" in container and "ModelDataSource" in container:
            raise invalid("A container has both ModelDataUrl and ModelDataSource. Keep one of them.")
        if container.get("Mode") == "MultiModel" and "ModelDataUrl" not in container:
            raise invalid("Mode 'MultiModel' needs a ModelDataUrl: the prefix in S3 under which the archives are.")


def check_config_members(request: Json) -> None:
    """Raises ApiError for a CreateEndpointConfig request whose variants contradict themselves, or what is around."""
    check_variants(request)
    variants = request["ProductionVariants"]
    serverless = [each["VariantName"] for each in variants if "ServerlessConfig" in each]
    # docs.aws.amazon.com/sagemaker, serverless endpoints: feature exclusions
    if serverless and request.get("DataCaptureConfig", {}).get("EnableCapture", "DataCaptureConfig" in request):
        raise invalid(f"Data capture is not there for the serverless variant {serverless[0]}. Leave it out.")
    if serverless and (len(variants) > 1 or request.get("VpcConfig") or request.get("EnableNetworkIsolation")):
        raise invalid(
            f"The serverless variant {serverless[0]} must be the only one, without VpcConfig and network isolation."
        )
    if request.get("ShadowProductionVariants") and (len(variants) > 1 or len(request["ShadowProductionVariants"]) > 1):
        raise invalid("ShadowProductionVariants takes one variant beside one production variant.")


def check_variants(request: Json) -> None:
    """Raises ApiError for a variant without machines, or with two kinds of them."""
    variants = request["ProductionVariants"]
    for name, count in Counter(each["VariantName"] for each in variants).items():
        if count > 1:
            raise invalid(f"Duplicate VariantName '{name}' in ProductionVariants. Give each a name of its own.")
    for variant in variants:
        has_instances = "InstanceType" in variant and ("InitialInstanceCount" in variant or "ModelName" not in variant)
        if has_instances == ("ServerlessConfig" in variant):
            raise invalid(
                f"Production variant {variant['VariantName']} needs either InstanceType and InitialInstanceCount, "
                "or ServerlessConfig, and not both."
            )
        _check_serverless(variant.get("ServerlessConfig", {}))


def _check_serverless(config: Json) -> None:
    if config.get("MemorySizeInMB", 1024) % 1024:
        raise invalid(f"MemorySizeInMB {config['MemorySizeInMB']} must be 1024, 2048, 3072, 4096, 5120 or 6144.")
    if config.get("ProvisionedConcurrency", 0) > config.get("MaxConcurrency", 200):
        raise invalid(
            f"ProvisionedConcurrency {config['ProvisionedConcurrency']} must not be greater than MaxConcurrency "
            f"{config['MaxConcurrency']}."
        )


def check_deployment(request: Json) -> None:
    """Raises ApiError for the DeploymentConfig of a CreateEndpoint or UpdateEndpoint request that says two things."""
    config = request.get("DeploymentConfig", {})
    if "BlueGreenUpdatePolicy" in config and "RollingUpdatePolicy" in config:
        raise invalid("DeploymentConfig has both BlueGreenUpdatePolicy and RollingUpdatePolicy. Keep one of them.")
    routing = config.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    for kind, member in _SIZES.items():
        if (routing.get("Type") == kind) != (member in routing):
            raise invalid(f"TrafficRoutingConfiguration of Type '{kind}', and no other, needs {member}.")
    for member in _SIZES.values():
        size = routing.get(member, {})
        if size.get("Type") == "CAPACITY_PERCENT" and size["Value"] > 50:
            raise invalid(f"{member} is {size['Value']} percent. It is at most 50.")
