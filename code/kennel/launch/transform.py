"""A batch transform from one description, of a folder here or a prefix in S3, made with the SDK's own session.

    plan = plan_transform("first", Folder(Path("photos")), Folder(Path("answers")))
    with transform_job(plan, open_place("local")):
        ...

Exercise it: pytest tests/unit/launch/test_transform.py tests/aws/test_transform_on_aws.py
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from kennel.aws.instances import BATCH_AMI, has_gpu, has_own_disk
from kennel.aws.words import CredentialsError, in_words
from kennel.errors import DataError, KennelError, UserError
from kennel.launch.creation import created_once
from kennel.launch.jobs import check_name, new_name, refusals_in_words
from kennel.launch.places import Place
from kennel.launch.resources import Resources
from kennel.launch.transform_files import Files, Folder
from kennel.launch.transform_format import read_format
from kennel.launch.watching.attend import unbroken
from kennel.launch.watching.kinds import TRANSFORM

_MAX_PAYLOAD_MB: Final = 100
# How many names are looked at for a job's content type: S3 lists so many at once.
_LOOKED_AT: Final = 1000


@dataclass(frozen=True)
class Transform:
    """What to transform; nothing in it says where.

    files: how many there are; None for more than were looked at. max_concurrent: None for as many as the place likes.
    """

    training_job: str
    name: str
    source: Files
    target: Files
    files: int | None
    content_type: str
    accept: str
    split_type: str
    max_concurrent: int | None
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


def plan_transform(
    training_job: str,
    source: Files,
    target: Files,
    choices: Choices = Choices(),  # noqa: B008
    *,
    is_dry: bool = False,
) -> Transform:
    """A transform of the files in `source`, checked as far as it can be without starting anything.

    is_dry: also without looking at them, where nobody is signed in. Raises UserError or DataError for folders or files
    that cannot be used.
    """
    _check_numbers(choices)
    _check_apart(source, target)
    try:
        names = list(islice(source.names(), _LOOKED_AT + 1))
        _check_unused(target)
    except CredentialsError as error:
        if not is_dry or choices.content_type is None:
            raise type(error)(f"{error} To see the requests without: --dry-run --content-type TYPE.") from error
        names = ["unseen"]
    if not names:
        raise DataError(f"{source} has no files. --input names a folder of pictures, or of files of JSON lines.")
    content_type, split_type = (
        (choices.content_type, "None") if choices.content_type else read_format(names, str(source))
    )
    return Transform(
        training_job=training_job,
        name=check_name(choices.name, "Transform job") if choices.name else new_name(f"{training_job}-batch"),
        source=source,
        target=target,
        files=sum(1 for _ in source.names()) if isinstance(source, Folder) else _count(names),
        content_type=content_type,
        accept=choices.accept or ("text/csv" if content_type == "text/csv" else "application/jsonlines"),
        split_type=choices.split_type or split_type,
        max_concurrent=choices.max_concurrent,
        # A request of Kennel's own server is one JSON document, whatever it holds.
        strategy=choices.strategy or ("SingleRecord" if (choices.split_type or split_type) == "Line" else None),
        max_payload_mb=choices.max_payload_mb,
        is_joined=choices.is_joined,
    )


@contextmanager
def transform_job(
    plan: Transform, place: Place, resources: Resources, *, artifacts: str, is_dry: bool = False
) -> Iterator[None]:
    """Creates a model of the training's archive and the job; the model is deleted afterwards.

    On AWS the model stays as long as a job needs it that nobody watches any more, which is said. artifacts: the
    archive's address. is_dry: nobody has to be signed in. Raises UserError with the API's own words for a refusal.
    """
    _make_model(plan, place, artifacts)
    try:
        with (
            unbroken(TRANSFORM, plan.name, place),
            refusals_in_words(),
            in_words(),
            created_once(place, "CreateTransformJob", plan.name),
        ):
            # Not transformer.transform(), which takes s3:// inputs only, and no AMI: its session does take them.
            place.session.transform(**_arguments(plan, place, resources))
        yield
    finally:
        if place.is_aws and not is_dry:
            _delete_model_on_aws(plan, place)
        else:
            place.session.delete_model(plan.name)


def concurrent(plan: Transform, place: Place, resources: Resources) -> int:
    """Requests under way at once: as many as a machine has cores, as far as the API allows it with this payload.

    AWS counts a payload of 6 MB where none is named.
    """
    cores = _cores(resources.instance_type) if place.is_aws else os.cpu_count() or 1
    payload_mb = plan.max_payload_mb or (6 if place.is_aws else 1)
    return plan.max_concurrent or max(1, min(cores, _MAX_PAYLOAD_MB // payload_mb))


def describe_transform_job(name: str, place: Place) -> dict[str, Any]:
    """DescribeTransformJob's answer."""
    return dict(place.sagemaker.describe_transform_job(TransformJobName=name))


def _make_model(plan: Transform, place: Place, artifacts: str) -> None:
    from sagemaker.session import container_def

    profile = place.profile
    network = {"Subnets": list(profile.subnets), "SecurityGroupIds": list(profile.security_groups)}
    with refusals_in_words(), in_words():
        place.session.create_model(
            plan.name,
            place.role,
            container_def(place.serve_image, artifacts),
            vpc_config=network if profile.subnets else None,
            tags=place.tags_for(plan.name),
        )


def _delete_model_on_aws(plan: Transform, place: Place) -> None:
    """Unless its job still runs, or may: then the command that deletes it is printed."""
    command = f"aws sagemaker delete-model --model-name {plan.name} --region {place.region}"
    try:
        with in_words():
            description = TRANSFORM.find(plan.name, place)
            if description is None or TRANSFORM.has_ended(description):
                place.sagemaker.delete_model(ModelName=plan.name)
                return
    except KennelError as error:
        reason = "nobody is signed in any more" if isinstance(error, CredentialsError) else str(error)
        print(f"the model {plan.name} could not be deleted ({reason}); later: {command}", file=sys.stderr)
        return
    print(f"the model {plan.name} stays until its job has ended; it costs nothing. Then: {command}", file=sys.stderr)


def _arguments(plan: Transform, place: Place, resources: Resources) -> dict[str, Any]:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": plan.source.uri}}
    output = {"S3OutputPath": plan.target.uri.rstrip("/"), "Accept": plan.accept, "AssembleWith": plan.split_type}
    key = place.profile.kms_key
    return {
        "job_name": plan.name,
        "model_name": plan.name,
        "strategy": plan.strategy,
        "max_concurrent_transforms": concurrent(plan, place, resources),
        "max_payload": plan.max_payload_mb,
        "input_config": {"DataSource": source, "ContentType": plan.content_type, "SplitType": plan.split_type},
        "output_config": {**output, **({"KmsKeyId": key} if key else {})},
        "resource_config": _machines(place, resources),
        "experiment_config": None,
        "tags": place.tags_for(plan.name),
        "data_processing": {"JoinSource": "Input"} if plan.is_joined else None,
    }


def _machines(place: Place, resources: Resources) -> dict[str, Any]:
    if not place.is_aws:
        return {"InstanceType": place.instance_type, "InstanceCount": 1}
    machines = {"InstanceType": resources.instance_type, "InstanceCount": resources.instance_count}
    if place.profile.kms_key and not has_own_disk(resources.instance_type):
        machines["VolumeKmsKeyId"] = place.profile.kms_key
    if has_gpu(resources.instance_type):
        machines["TransformAmiVersion"] = BATCH_AMI
    return machines


def _cores(instance_type: str) -> int:
    """By the size in a type's name, as AWS's CPU families and g4dn to g6 have them: large 2, xlarge 4, 2xlarge 8."""
    size = instance_type.rpartition(".")[2]
    number = size.removesuffix("xlarge")
    return 2 if size == "large" else 4 * int(number or 1) if number != size and (number or "1").isdigit() else 1


def _count(names: Sequence[str]) -> int | None:
    return len(names) if len(names) <= _LOOKED_AT else None


def _check_numbers(choices: Choices) -> None:
    if choices.max_concurrent is not None and choices.max_concurrent < 1:
        raise UserError(f"--max-concurrent {choices.max_concurrent}: at least 1 request must be under way.")
    if choices.max_payload_mb is not None and not 0 <= choices.max_payload_mb <= _MAX_PAYLOAD_MB:
        raise UserError(
            f"--max-payload {choices.max_payload_mb}: expected 1 to {_MAX_PAYLOAD_MB} MB, or 0 for no limit."
        )


def _check_apart(source: Files, target: Files) -> None:
    if f"{target.uri.rstrip('/')}/".startswith(f"{source.uri.rstrip('/')}/"):
        raise UserError(f"--output {target} is inside --input {source}: the next transform would read its outputs.")


def _check_unused(target: Files) -> None:
    if isinstance(target, Folder):
        if target.path.exists() and not target.path.is_dir():
            raise UserError(f"--output {target} is a file. Name a folder.")
        is_used = target.path.exists() and any(target.path.iterdir())
    else:
        is_used = next(target.names(), None) is not None
    if is_used:
        raise UserError(f"--output {target} is there already and not empty. Name another folder, or delete it first.")
