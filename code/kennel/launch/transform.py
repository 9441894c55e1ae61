"""A batch transform of a local folder from one description, made with the SDK's own objects.

plan = plan_transform("first", Path("photos"), Path("answers"))
with transform_job(plan, open_place("local")):
    ...
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kennel.errors import DataError, UserError
from kennel.launch.jobs import check_name, describe_training_job, new_name, refusals_in_words
from kennel.launch.places import Place

_PICTURES: Final = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
# What SageMaker's own image classification calls a picture of any kind; a job has one content type for all its files.
_ANY_PICTURE: Final = "application/x-image"
# The content type of a file, and how it is split.
_RECORDS: Final = {
    ".json": ("application/json", "None"),
    ".jsonl": ("application/json", "Line"),
    ".ndjson": ("application/json", "Line"),
    ".csv": ("text/csv", "Line"),
}
_MAX_PAYLOAD_MB: Final = 100


@dataclass(frozen=True)
class Transform:
    """What to transform; nothing in it says where. files: how many there are."""

    training_job: str
    name: str
    source: Path
    target: Path
    files: int
    content_type: str
    accept: str
    split_type: str
    max_concurrent: int
    strategy: str | None = None
    max_payload_mb: int | None = None
    is_joined: bool = False


@dataclass(frozen=True)
class Choices:
    """What was asked for beyond folders; None is for what can be found out."""

    name: str | None = None
    content_type: str | None = None
    accept: str | None = None
    split_type: str | None = None
    strategy: str | None = None
    max_payload_mb: int | None = None
    max_concurrent: int | None = None
    is_joined: bool = False


def plan_transform(training_job: str, source: Path, target: Path, choices: Choices = Choices()) -> Transform:  # noqa: B008
    """A transform of the files in `source`, checked as far as it can be without starting anything.

    Raises UserError or DataError for folders or files that cannot be used.
    """
    _check_numbers(choices)
    source, target = source.resolve(), target.resolve()
    files = _files(source)
    _check_target(source, target)
    content_type, split_type = _format(files, choices)
    return Transform(
        training_job=training_job,
        name=check_name(choices.name, "Transform job") if choices.name else new_name(f"{training_job}-batch"),
        source=source,
        target=target,
        files=len(files),
        content_type=content_type,
        accept=choices.accept or ("text/csv" if content_type == "text/csv" else "application/jsonlines"),
        split_type=split_type,
        max_concurrent=choices.max_concurrent or _concurrent(choices.max_payload_mb),
        # A request of Kennel's own server is one JSON document, whatever it holds.
        strategy=choices.strategy or ("SingleRecord" if split_type == "Line" else None),
        max_payload_mb=choices.max_payload_mb,
        is_joined=choices.is_joined,
    )


@contextmanager
def transform_job(plan: Transform, place: Place) -> Iterator[None]:
    """Creates a model of the training's archive and the job; the model is deleted afterwards.

    Raises UserError with the API's own words when one is refused.
    """
    artifacts = _artifacts(plan.training_job, place)
    from sagemaker.model import Model

    model = Model(
        image_uri=place.serve_image,
        model_data=artifacts,
        role=place.role,
        name=plan.name,
        sagemaker_session=place.session,
    )
    with refusals_in_words():
        transformer = model.transformer(
            instance_count=1,
            instance_type=place.instance_type,
            tags=place.tags_for(plan.name),
            output_path=plan.target.as_uri(),
        )
    try:
        with refusals_in_words():
            # Not transformer.transform(), which takes s3:// inputs only: files of this machine need no copy.
            place.session.transform(**_arguments(plan, transformer))
        yield
    finally:
        model.delete_model()


def describe_transform_job(name: str, place: Place) -> dict[str, Any]:
    """DescribeTransformJob's answer."""
    return dict(place.sagemaker.describe_transform_job(TransformJobName=name))


def _arguments(plan: Transform, transformer: Any) -> dict[str, Any]:  # noqa: ANN401  sagemaker.transformer.Transformer
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": plan.source.as_uri()}}
    return {
        "job_name": plan.name,
        "model_name": transformer.model_name,
        "strategy": plan.strategy,
        "max_concurrent_transforms": plan.max_concurrent,
        "max_payload": plan.max_payload_mb,
        "input_config": {"DataSource": source, "ContentType": plan.content_type, "SplitType": plan.split_type},
        "output_config": {
            "S3OutputPath": transformer.output_path,
            "Accept": plan.accept,
            "AssembleWith": plan.split_type,
        },
        "resource_config": {"InstanceType": transformer.instance_type, "InstanceCount": transformer.instance_count},
        "experiment_config": None,
        "tags": transformer.tags,
        "data_processing": {"JoinSource": "Input"} if plan.is_joined else None,
    }


def _artifacts(training_job: str, place: Place) -> str:
    description: Mapping[str, Any] = describe_training_job(training_job, place)
    artifacts = description.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    if not artifacts:
        raise UserError(
            f"Training job '{training_job}' is {description['TrainingJobStatus']} and has left no model. "
            "Wait until it is Completed, or train again."
        )
    return str(artifacts)


def _files(source: Path) -> list[Path]:
    """The files of a folder that are transformed: all but hidden ones."""
    if not source.is_dir():
        raise DataError(f"There is no folder {source}. --input names a folder of pictures, or of files of JSON lines.")
    files = []
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        files += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
    if not files:
        raise DataError(f"{source} has no files. --input names a folder of pictures, or of files of JSON lines.")
    return files


def _check_numbers(choices: Choices) -> None:
    if choices.max_concurrent is not None and choices.max_concurrent < 1:
        raise UserError(f"--max-concurrent {choices.max_concurrent}: at least 1 request must be under way.")
    if choices.max_payload_mb is not None and not 0 <= choices.max_payload_mb <= _MAX_PAYLOAD_MB:
        raise UserError(
            f"--max-payload {choices.max_payload_mb}: expected 1 to {_MAX_PAYLOAD_MB} MB, or 0 for no limit."
        )


def _check_target(source: Path, target: Path) -> None:
    if target.is_relative_to(source):
        raise UserError(f"--output {target} is inside --input {source}: the next transform would read its outputs.")
    if target.exists() and not target.is_dir():
        raise UserError(f"--output {target} is a file. Name a folder.")
    if target.exists() and any(target.iterdir()):
        raise UserError(f"--output {target} is there already and not empty. Name another folder, or delete it first.")


def _format(files: list[Path], choices: Choices) -> tuple[str, str]:
    """The content type and the split type of all files."""
    if choices.content_type:
        return choices.content_type, choices.split_type or "None"
    kinds = {_kind(file): file for file in reversed(files)}
    if len(kinds) > 1:
        if all(kind.startswith("image/") for kind, _ in kinds):
            return _ANY_PICTURE, choices.split_type or "None"
        (one, first), (other, second), *_ = sorted(kinds.items())
        raise DataError(
            f"{first} is {one[0]} and {second} is {other[0]}: a transform job has one content type for all its files. "
            "Put them into folders of their own, or name the type with --content-type."
        )
    [(content_type, split_type)] = kinds
    return content_type, choices.split_type or split_type


def _kind(file: Path) -> tuple[str, str]:
    suffix = file.suffix.lower()
    if suffix in _PICTURES:
        return _PICTURES[suffix], "None"
    if suffix not in _RECORDS:
        known = " ".join([*_PICTURES, *_RECORDS])
        raise DataError(
            f"{file} is of no kind that is known by its name ({known}). Take it out of the folder, or name the type of "
            "all files with --content-type."
        )
    return _RECORDS[suffix]


def _concurrent(max_payload_mb: int | None) -> int:
    """As many requests at once as there are cores, as far as the API allows it with this payload."""
    return max(1, min(os.cpu_count() or 1, _MAX_PAYLOAD_MB // (max_payload_mb or 1)))
