"""SageMaker's model and endpoint configuration operations on this machine."""

from pathlib import Path
from typing import Final

from kennel.errors import ContractError
from kennel.local.faults import invalid
from kennel.local.listing import list_page
from kennel.local.machine import Machine
from kennel.local.places import placed
from kennel.local.runners import runner_of
from kennel.local.serving_members import check_variants
from kennel.local.settings import arn
from kennel.local.storage import LocalS3, read_address
from kennel.local.store import Record, Store, now
from kennel.local.validation import Json, Operation, service_model

# Where the SDK's Model(entry_point=...) without a source_dir leaves the script.
_SUBMIT_DIRECTORY: Final = "SAGEMAKER_SUBMIT_DIRECTORY"
_NOT_HERE: Final = "is not supported by the local SageMaker. Leave it out, or use --on aws."


class Models:
    """Every model: an image and where its data is."""

    def __init__(self, machine: Machine) -> None:
        shape = service_model("sagemaker").operation_model("DescribeModel").output_shape
        self._machine = machine
        self.store = Store(shape, machine.layout.model_file)

    def load(self) -> None:
        """Finds the models of earlier services on disk."""
        self.store.load("ModelName", self._machine.layout.model_file("*").parent.glob("*.json"))

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by SageMaker's names."""
        return {
            "CreateModel": self.create,
            "DescribeModel": self.describe,
            "ListModels": self.list_page,
            "DeleteModel": self.delete,
        }

    def create(self, request: Json) -> Json:
        name = request["ModelName"]
        if self.store.get(name):
            raise invalid(f'Cannot create already existing model "{arn("model", name)}".')
        request = placed(request, self._machine.settings.on)
        container = container_of(request)
        check_container(container, self._machine.s3)
        runner_of(self._machine, request).check_container(container)
        at = now()
        description = {key: value for key, value in request.items() if key != "Tags"}
        description |= {"ModelArn": arn("model", name), "CreationTime": at}
        description.setdefault("EnableNetworkIsolation", False)
        if not self.store.add(name, Record(request, description, tuple(request.get("Tags", [])))):
            raise invalid(f'Cannot create already existing model "{arn("model", name)}".')
        return {"ModelArn": arn("model", name)}

    def describe(self, request: Json) -> Json:
        return self.find(request["ModelName"])

    def list_page(self, request: Json) -> Json:
        members = ("ModelName", "ModelArn", "CreationTime")
        descriptions = [record.description for record in self.store.all()]
        return list_page(request, descriptions, key="Models", prefix="Model", members=members)

    def delete(self, request: Json) -> Json:
        self.find(request["ModelName"])
        self.store.remove(request["ModelName"])
        return {}

    def find(self, name: str) -> Json:
        """The description of a model. Raises ApiError if there is none."""
        return self._record(name).description

    def request_of(self, name: str) -> Json:
        """The request that created a model, which also says where it runs. Raises ApiError if there is none."""
        return self._record(name).request

    def _record(self, name: str) -> Record:
        record = self.store.get(name)
        if record is None:
            raise invalid(f'Could not find model "{arn("model", name)}".')
        return record


class EndpointConfigs:
    """Every endpoint configuration: which model an endpoint serves."""

    def __init__(self, machine: Machine, models: Models) -> None:
        shape = service_model("sagemaker").operation_model("DescribeEndpointConfig").output_shape
        self._machine = machine
        self._models = models
        self.store = Store(shape, machine.layout.endpoint_config_file)

    def load(self) -> None:
        """Finds the endpoint configurations of earlier services on disk."""
        self.store.load("EndpointConfigName", self._machine.layout.endpoint_config_file("*").parent.glob("*.json"))

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by SageMaker's names."""
        return {
            "CreateEndpointConfig": self.create,
            "DescribeEndpointConfig": self.describe,
            "ListEndpointConfigs": self.list_page,
            "DeleteEndpointConfig": self.delete,
        }

    def create(self, request: Json) -> Json:
        name = request["EndpointConfigName"]
        exists = invalid(f'Cannot create already existing endpoint configuration "{arn("endpoint-config", name)}".')
        if self.store.get(name):
            raise exists
        self._check_variants(request)
        description = {key: value for key, value in request.items() if key != "Tags"}
        description |= {"EndpointConfigArn": arn("endpoint-config", name), "CreationTime": now()}
        if not self.store.add(name, Record(request, description, tuple(request.get("Tags", [])))):
            raise exists
        return {"EndpointConfigArn": arn("endpoint-config", name)}

    def describe(self, request: Json) -> Json:
        return self.find(request["EndpointConfigName"])

    def list_page(self, request: Json) -> Json:
        members = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        descriptions = [record.description for record in self.store.all()]
        return list_page(request, descriptions, key="EndpointConfigs", prefix="EndpointConfig", members=members)

    def delete(self, request: Json) -> Json:
        self.find(request["EndpointConfigName"])
        self.store.remove(request["EndpointConfigName"])
        return {}

    def find(self, name: str) -> Json:
        """The description of an endpoint configuration. Raises ApiError if there is none."""
        record = self.store.get(name)
        if record is None:
            raise invalid(f'Could not find endpoint configuration "{arn("endpoint-config", name)}".')
        return record.description

    def _check_variants(self, request: Json) -> None:
        variants = request["ProductionVariants"]
        if len(variants) > 1:
            raise invalid(f"{len(variants)} ProductionVariants are more than one machine serves. Use one.")
        for member in ("AsyncInferenceConfig", "ExplainerConfig", "ShadowProductionVariants", "DataCaptureConfig"):
            if request.get(member) and request[member] != {"EnableCapture": False}:
                raise invalid(f"{member} {_NOT_HERE}")
        variant = variants[0]
        if "ModelName" not in variant:
            raise invalid("ModelName must be given for each production variant.")
        self._models.find(variant["ModelName"])
        check_variants(request)


def container_of(model: Json) -> Json:
    """The one container of a model. Raises ApiError for none or a pipeline of several."""
    containers = [*([model["PrimaryContainer"]] if "PrimaryContainer" in model else []), *model.get("Containers", [])]
    if len(containers) != 1:
        raise invalid(f"A model of {len(containers)} containers cannot be served here. Give it one PrimaryContainer.")
    return dict(containers[0])


def check_container(container: Json, s3: LocalS3) -> None:
    """Raises ApiError for a container that cannot be served here, or whose model data is not there."""
    if "Image" not in container:
        raise invalid(f"A model needs an Image; a ModelPackageName {_NOT_HERE}")
    for member in ("MultiModelConfig", "AdditionalModelDataSources"):
        if container.get(member):
            raise invalid(f"{member} {_NOT_HERE}")
    if container.get("Mode", "SingleModel") != "SingleModel":
        raise invalid(f"Mode '{container['Mode']}' {_NOT_HERE}")
    uri = model_uri(container)
    if uri is not None and not _is_there(uri, s3, as_folder=is_folder(container)):
        raise invalid(f"Could not find model data at {uri}.")
    source = str(container.get("Environment", {}).get(_SUBMIT_DIRECTORY, ""))
    if source.startswith("s3://") and not _is_there(source, s3, as_folder=False):
        raise invalid(
            f"Could not find the inference script's archive at {source} ({_SUBMIT_DIRECTORY}). Upload it again."
        )


def _is_there(uri: str, s3: LocalS3, *, as_folder: bool) -> bool:
    try:
        address = read_address(uri)
    except ContractError as error:
        raise invalid(str(error)) from error
    if isinstance(address, Path):
        return address.exists()
    return bool(s3.keys(address)) if as_folder else s3.has_object(address)


def is_folder(container: Json) -> bool:
    """Whether a container's model data is an unpacked folder, and not one tar.gz."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    is_prefix = source.get("S3DataType") == "S3Prefix" and source.get("CompressionType") != "Gzip"
    return bool(is_prefix or (model_uri(container) or "").endswith("/"))


def model_uri(container: Json) -> str | None:
    """Where a container's model data is, if it has any."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    uri = container.get("ModelDataUrl") or source.get("S3Uri")
    return None if uri is None else str(uri)
