"""The requests that make an endpoint, from its plan: model, configuration, and how an update takes place.

The SDK's Model.deploy names the configuration after the endpoint, so that a second deployment meets the first one's,
and knows nothing of guarded updates. So its own builders are used, and boto3 sends.
Exercise it: pytest tests/aws/test_deploy_on_aws.py
"""

from collections.abc import Sequence
from typing import Any, Final

from kennel.aws.instances import has_own_disk
from kennel.aws.scaling import VARIANT
from kennel.launch.endpoint.endpoint_plan import EndpointPlan
from kennel.launch.places import Place

Json = dict[str, Any]
# The image is pulled, the archive comes, the golden inputs are replayed: minutes, and not SageMaker's hour.
_START_S: Final = 900
_CANARY_S: Final = 600
# After all requests went over, for alarms that come late; and for everything.
_LAST_LOOK_S: Final = 120
_LONGEST_S: Final = 2 * 3600


def make_model(plan: EndpointPlan, place: Place, name: str) -> None:
    """The model `name`: image, archive, role, network."""
    from sagemaker.session import container_def

    profile = place.profile
    network = {"Subnets": list(profile.subnets), "SecurityGroupIds": list(profile.security_groups)}
    data = models_uri(plan.name, place) if plan.target_model else plan.model_uri
    place.session.create_model(
        name,
        place.role,
        container_def(place.serve_image, data, container_mode="MultiModel" if plan.target_model else None),
        vpc_config=network if profile.subnets else None,
        enable_network_isolation=plan.is_isolated,
        tags=place.tags_for(plan.name),
    )


def models_uri(endpoint: str, place: Place) -> str:
    """The folder of archives that one endpoint serves."""
    return place.uri("models", endpoint) + "/"


def config_request(plan: EndpointPlan, place: Place, name: str, *, count: int, inference_ami: str | None) -> Json:
    """CreateEndpointConfig's request, for the model of the same name."""
    request: Json = {
        "EndpointConfigName": name,
        "ProductionVariants": [_variant(plan, place, name, count, inference_ami)],
        "Tags": place.tags_for(plan.name),
    }
    key = place.profile.kms_key
    if key and plan.instance_type and not has_own_disk(plan.instance_type):
        request["KmsKeyId"] = key  # of the volume; a disk of the machine's own is encrypted without
    if plan.async_uri is not None:
        base = plan.async_uri.rstrip("/")
        output = {"S3OutputPath": f"{base}/output", "S3FailurePath": f"{base}/failures"}
        request["AsyncInferenceConfig"] = {"OutputConfig": {**output, **({"KmsKeyId": key} if key else {})}}
    if plan.capture_percent is not None:
        request["DataCaptureConfig"] = _capture(plan.capture_percent, place.uri("capture", plan.name), key)
    return request


def _variant(plan: EndpointPlan, place: Place, name: str, count: int, inference_ami: str | None) -> Json:
    from sagemaker.session import production_variant

    serverless = {"MemorySizeInMB": plan.serverless_mb, "MaxConcurrency": plan.concurrency}
    start_s = _START_S if place.is_aws else None
    return dict(
        production_variant(
            model_name=name,
            instance_type=plan.instance_type,
            initial_instance_count=count,
            variant_name=VARIANT,
            serverless_inference_config=serverless if plan.serverless_mb else None,
            model_data_download_timeout=start_s,
            container_startup_health_check_timeout=start_s,
            inference_ami_version=inference_ami,
        )
    )


def _capture(percent: int, uri: str, key: str | None) -> Json:
    """Photos come in as base64, answers as the JSON they are."""
    request: Json = {
        "EnableCapture": True,
        "InitialSamplingPercentage": percent,
        "DestinationS3Uri": uri,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }
    return {**request, "KmsKeyId": key} if key else request


def canary_size(percent: int, count: int) -> int:
    """Machines of `count` that the new model begins with; SageMaker takes at most half of them."""
    return max(1, count * percent // 100)


def canary_deployment(size: int, alarms: Sequence[str]) -> Json:
    """UpdateEndpoint's DeploymentConfig: `size` machines get their requests first, and an alarm takes it all back."""
    traffic = {
        "Type": "CANARY",
        "CanarySize": {"Type": "INSTANCE_COUNT", "Value": size},
        "WaitIntervalInSeconds": _CANARY_S,
    }
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": traffic,
            "TerminationWaitInSeconds": _LAST_LOOK_S,
            "MaximumExecutionTimeoutInSeconds": _LONGEST_S,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]},
    }
