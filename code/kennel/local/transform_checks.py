"""What a CreateTransformJob request must satisfy beyond each member's own limits, before anything is started.

AWS's rules between members, as its documentation has them; then what this machine cannot do.
"""

from pathlib import Path

from kennel.errors import ContractError
from kennel.local.faults import invalid
from kennel.local.storage import LocalS3, read_address
from kennel.local.transform_inputs import check_input
from kennel.local.transform_join import CSV, FORMATS, Processing, media_type, read_processing
from kennel.local.transform_paths import JsonPath, PathError
from kennel.local.transform_plan import MAX_PAYLOAD_MB
from kennel.local.validation import Json

_FORMATS = ", ".join(FORMATS)


def check_transform_job(request: Json, s3: LocalS3) -> None:
    """Raises ApiError for a request that AWS would refuse, or that cannot be done here."""
    if "DataCaptureConfig" in request:
        raise invalid("DataCaptureConfig is not supported by the local SageMaker. Leave it out, or use --on aws.")
    check_transform_members(request)
    _check_output(request["TransformOutput"]["S3OutputPath"], s3)
    check_input(request, s3)


def check_transform_members(request: Json) -> None:
    """Raises ApiError for a request that AWS would refuse, whatever is on this machine."""
    _check_payload(request)
    _check_resources(request["TransformResources"])
    _check_processing(request)


def _check_payload(request: Json) -> None:
    payload_mb, concurrent = request.get("MaxPayloadInMB"), request.get("MaxConcurrentTransforms", 0)
    if payload_mb is not None and payload_mb > MAX_PAYLOAD_MB:
        raise invalid(f"MaxPayloadInMB {payload_mb} cannot be greater than {MAX_PAYLOAD_MB} MB. Split the input.")
    if payload_mb and concurrent * payload_mb > MAX_PAYLOAD_MB:
        raise invalid(
            f"MaxConcurrentTransforms * MaxPayloadInMB = {concurrent} * {payload_mb} MB cannot exceed {MAX_PAYLOAD_MB} "
            f"MB. Use at most {MAX_PAYLOAD_MB // payload_mb} concurrent transforms, or smaller payloads."
        )


def _check_resources(resources: Json) -> None:
    if resources["InstanceCount"] < 1:
        raise invalid(f"InstanceCount {resources['InstanceCount']} must be at least 1.")


def _check_processing(request: Json) -> None:
    asked = request.get("DataProcessing", {})
    for member in ("InputFilter", "OutputFilter"):
        if asked.get(member) == "":
            raise invalid(f"{member} is empty. Leave it out, or give a JSONPath such as $ or $.features.")
    try:
        processing = read_processing(request)
    except PathError as error:
        raise invalid(
            f"Invalid JSONPath in DataProcessing: {error}. Expected $ followed by .name, ['name','other'], [0], [1,3], "
            "[1:4] or *, such as $.features or $[1:]."
        ) from error
    split = request["TransformInput"].get("SplitType", "None")
    assembly = request["TransformOutput"].get("AssembleWith", "None")
    if processing.input_filter or processing.is_joined:
        _check_format("TransformInput.ContentType", request["TransformInput"].get("ContentType"))
        _check_split(split, processing.content_type)
    if processing.changes_output:
        _check_format("TransformOutput.Accept", request["TransformOutput"].get("Accept"))
        if processing.accept == CSV and assembly != "Line":
            raise invalid(f"AssembleWith '{assembly}' cannot be used with text/csv in DataProcessing. Use 'Line'.")
    if processing.is_joined:
        _check_join(processing, split, assembly)
    _check_columns("InputFilter", processing.input_filter, processing.content_type)
    _check_columns("OutputFilter", processing.output_filter, processing.accept)


def _check_format(member: str, value: str | None) -> None:
    if media_type(value) not in FORMATS:
        raise invalid(f"{member} '{value or ''}' cannot be used with DataProcessing. Use one of {_FORMATS}.")


def _check_split(split: str, content_type: str) -> None:
    if split not in ("None", "Line"):
        raise invalid(f"SplitType '{split}' cannot be used with DataProcessing (JSON and CSV only). Use 'Line'.")
    if content_type == CSV and split != "Line":
        raise invalid(f"SplitType '{split}' cannot be used with text/csv in DataProcessing. Use 'Line'.")


def _check_join(processing: Processing, split: str, assembly: str) -> None:
    if (processing.content_type == CSV) != (processing.accept == CSV):
        raise invalid(
            f"JoinSource 'Input' cannot join {processing.content_type} (TransformInput.ContentType) with "
            f"{processing.accept} (TransformOutput.Accept). Use CSV for both, or JSON for both."
        )
    if split != assembly:
        raise invalid(
            f"JoinSource 'Input' needs the same delimiter on both sides: SplitType is '{split}' and AssembleWith is "
            f"'{assembly}'. Use 'Line' for both, or 'None' for both."
        )


def _check_columns(member: str, path: JsonPath | None, kind: str) -> None:
    if path is not None and kind == CSV and not path.is_by_index:
        raise invalid(
            f"{member} '{path.text}' cannot be used with text/csv: a row is taken as a JSON array, so only index based "
            "JSONPaths can be applied, such as $[0] or $[1:]."
        )


def _check_output(uri: str, s3: LocalS3) -> None:
    try:
        address = read_address(uri)
    except ContractError as error:
        raise invalid(str(error)) from error
    if isinstance(address, Path):
        if address.exists() and not address.is_dir():
            raise invalid(f"S3OutputPath '{uri}' is a file. Name a folder.")
    elif not s3.has_bucket(address.bucket):
        raise invalid(
            f"The bucket of '{uri}' is not in the local S3. Create it (s3.create_bucket(Bucket='{address.bucket}')) "
            "or use a file:// address. The local S3 forgets its buckets when the service stops."
        )
