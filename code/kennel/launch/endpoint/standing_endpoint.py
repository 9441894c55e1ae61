"""An endpoint as it stands, before it is changed.

standing = find_endpoint("dogs", place)             # None: there is none
"""

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from kennel.aws.words import in_words
from kennel.errors import UserError
from kennel.launch.places import Place


@dataclass(frozen=True)
class StandingEndpoint:
    """count: of machines now, as SageMaker counts them; 0 of a serverless one, and an asynchronous one that sleeps.

    serverless_mb, concurrency, async_uri, capture_percent: as in EndpointPlan.
    """

    name: str
    status: str
    config: str
    models: tuple[str, ...]
    instance_type: str | None
    count: int
    serverless_mb: int | None = None
    concurrency: int | None = None
    async_uri: str | None = None
    capture_percent: int | None = None

    @property
    def is_async(self) -> bool:
        return self.async_uri is not None

    @property
    def is_serverless(self) -> bool:
        return self.instance_type is None

    def check_ready(self, place: Place) -> None:
        """UserError unless it can be changed."""
        if self.status == "Failed":
            raise UserError(
                f"Endpoint '{self.name}' has failed, and can only be deleted: "
                f"kennel delete --endpoint-name {self.name} --on {place.name}"
            )
        if self.status != "InService":
            raise UserError(f"Endpoint '{self.name}' is {self.status}. Wait until it is InService, and say it again.")


def find_endpoint(name: str, place: Place) -> StandingEndpoint | None:
    """The endpoint; None where there is none."""
    client = place.sagemaker
    with in_words():
        try:
            description = client.describe_endpoint(EndpointName=name)
        except ClientError as error:
            if "Could not find" in error.response["Error"].get("Message", ""):
                return None
            raise
        config = client.describe_endpoint_config(EndpointConfigName=description["EndpointConfigName"])
    return _standing(description, config)


def is_multi_model(standing: StandingEndpoint, place: Place) -> bool:
    """Whether it serves a folder of archives."""
    with in_words():
        model = place.sagemaker.describe_model(ModelName=standing.models[0])
    return bool(model.get("PrimaryContainer", {}).get("Mode") == "MultiModel")


def _standing(description: dict[str, Any], config: dict[str, Any]) -> StandingEndpoint:
    variants = config["ProductionVariants"]
    serverless, capture = variants[0].get("ServerlessConfig", {}), config.get("DataCaptureConfig", {})
    output = config.get("AsyncInferenceConfig", {}).get("OutputConfig")
    now: dict[str, Any] = next(iter(description.get("ProductionVariants", [])), {})
    return StandingEndpoint(
        name=description["EndpointName"],
        status=description["EndpointStatus"],
        config=description["EndpointConfigName"],
        models=tuple(each["ModelName"] for each in variants if "ModelName" in each),
        instance_type=variants[0].get("InstanceType"),
        count=int(now.get("DesiredInstanceCount", variants[0].get("InitialInstanceCount", 0))),
        serverless_mb=serverless.get("MemorySizeInMB"),
        concurrency=serverless.get("MaxConcurrency"),
        async_uri=output["S3OutputPath"].removesuffix("/output") if output else None,
        capture_percent=capture.get("InitialSamplingPercentage") if capture.get("EnableCapture") else None,
    )
