"""One check each, of what has to be there on AWS before a job or an endpoint: what was found, and what is wrong.

A question that may not be asked is no problem: a line says that its answer is not known. What boto3 raises else passes.
Exercise it: pytest tests/aws/test_preflight.py
"""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final, Generic, ParamSpec, TypeVar

from botocore.exceptions import ClientError

from kennel.aws import images, prices, quotas
from kennel.aws.buckets import check_bucket
from kennel.aws.images import CPU, Image
from kennel.aws.instances import TRAIN, has_gpu, is_driver_too_old
from kennel.aws.manifest import ManifestFile
from kennel.errors import ContractError, UserError
from kennel.launch.places import Place

_DENIED: Final = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403")
_ROLE: Final = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/(?:.*/)?(?P<name>[\w+=,.@-]+)")
_SERVICE: Final = "sagemaker.amazonaws.com"
_NEW_CUDA: Final = 13  # with which a driver of 580 or newer is wanted

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Found(Generic[T]):
    """value: what was looked for. problems: each with its remedy; nothing is made while there is one."""

    value: T | None = None
    problems: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def _or_not_known(what: str) -> Callable[[Callable[P, Found[T]]], Callable[P, Found[T]]]:
    """A check for which a refused question is a line, and an error for the user a problem."""

    def decorate(check: Callable[P, Found[T]]) -> Callable[P, Found[T]]:
        @wraps(check)
        def checked(*args: P.args, **kwargs: P.kwargs) -> Found[T]:
            try:
                return check(*args, **kwargs)
            except (UserError, ContractError) as error:
                return Found(problems=(str(error),))
            except ClientError as error:
                if error.response["Error"]["Code"] not in _DENIED:
                    raise
                return Found(lines=(f"{what}: not known ({error.operation_name} is not allowed)",))

        return checked

    return decorate


def settings(place: Place, *names: str) -> Found[None]:
    """What the profile must have."""
    try:
        place.need(*names)
    except UserError as error:
        return Found(problems=(str(error),))
    return Found()


@_or_not_known("role")
def role(iam: Any, arn: str) -> Found[None]:  # noqa: ANN401  boto3's
    """The execution role: there, and SageMaker may take it."""
    found = _ROLE.fullmatch(arn)
    if found is None:
        raise UserError(f"--role {arn} is no role's ARN. Expected such as arn:aws:iam::123456789012:role/kennel.")
    try:
        answer = iam.get_role(RoleName=found["name"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        raise UserError(f"There is no role {arn}. scripts/setup.sh shows the command that makes it.") from error
    if not _is_trusted(answer["Role"].get("AssumeRolePolicyDocument", {})):
        raise UserError(
            f"The role {arn} does not trust {_SERVICE}, so no job can take it. scripts/setup.sh shows the trust policy."
        )
    return Found()


def _is_trusted(document: Any) -> bool:  # noqa: ANN401  a policy as boto3 has decoded it
    statements = document.get("Statement", [])
    for each in [statements] if isinstance(statements, dict) else statements:
        services = each.get("Principal", {}).get("Service", []) if isinstance(each.get("Principal"), dict) else []
        if each.get("Effect") == "Allow" and _SERVICE in ([services] if isinstance(services, str) else services):
            return True
    return False


@_or_not_known("bucket")
def bucket(s3: Any, name: str, region: str) -> Found[None]:  # noqa: ANN401
    check_bucket(s3, name, region=region)
    return Found()


@_or_not_known("inputs")
def objects(s3: Any, meaning: str, uri: str) -> Found[None]:  # noqa: ANN401
    """An input: something is there, and an upload that made it has ended."""
    name, _, key = uri.removeprefix("s3://").partition("/")
    try:
        answer = s3.list_objects_v2(Bucket=name, Prefix=key, MaxKeys=1)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise
        raise UserError(f"{meaning}: there is no bucket '{name}' ({uri}).") from error
    if not answer.get("KeyCount"):
        remedy = "Upload it: scripts/upload.sh --data DIR" if key.endswith("/") else "Look at the address."
        raise UserError(f"{meaning}: nothing is at {uri}. {remedy}")
    if key.endswith("/"):
        _check_upload(s3, meaning, uri, name, key)
    return Found()


def _check_upload(s3: Any, meaning: str, uri: str, name: str, key: str) -> None:  # noqa: ANN401
    try:
        manifest = ManifestFile(s3, name, f"{key.rstrip('/')}.manifest.json").read()
    except ClientError as error:
        if error.response["Error"]["Code"] in _DENIED:
            return
        raise
    if manifest is not None and manifest.digest is None:
        raise UserError(
            f"{meaning}: the upload to {uri} was interrupted, and not all is there. Say scripts/upload.sh again: it "
            "goes on where it was."
        )


@_or_not_known("image")
def image(ecr: Any, place: Place, kind: str, *, is_cpu: bool) -> Found[Image]:  # noqa: ANN401
    """The image of a place, by digest. kind: train or serve. is_cpu: one without CUDA is preferred."""
    reference = place.train_image if kind == "train" else place.serve_image
    images.check_registry(reference, region=place.region)
    found = _own(ecr, reference, kind, is_cpu=is_cpu) if images.is_default(reference, kind) else None
    if found is None:
        found = images.find_image(reference, ecr)
    cuda = f"CUDA {found.cuda[0]}.{found.cuda[1]}" if found.cuda else "no CUDA"
    said = f"what is in it is not known: {found.unread}" if found.unread else cuda
    if found.manifest.content.get("config") is None:
        return Found(None, tuple(found.problems))
    tag = f"tag {found.tag}, " if found.tag else ""
    return Found(found, tuple(found.problems), (f"image: {found.by_digest} ({tag}{said}){_age(found, reference)}",))


def _own(ecr: Any, reference: str, kind: str, *, is_cpu: bool) -> Image:  # noqa: ANN401
    """For machines without GPU the image of a sixth of the size, where it was pushed."""
    variants = (CPU, "") if is_cpu else ("",)
    found = images.find_own_image(reference, ecr, commit=commit_here(), variants=variants)
    if found is not None:
        return found
    raise UserError(
        f"There is no image of Kennel's in ECR ({reference.rpartition(':')[0]}). Build and push it: "
        f"{images.push_commands(kind, CPU if is_cpu else '')}"
    )


def _age(found: Image, reference: str) -> str:
    """A note where the image is of another commit than the files here."""
    commit = commit_here()
    is_tag_of_commit = found.tag and re.match(r"[0-9a-f]{40}", found.tag)
    if not is_tag_of_commit or not commit or str(found.tag).startswith(commit):
        return ""
    return f"; the newest there is: this checkout is at {commit[:12]}, of which none was pushed"


def commit_here() -> str | None:
    """Of this checkout; None where it is none."""
    root = Path(__file__).resolve().parents[4]
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def driver(image: Image, instance_type: str, use: str) -> Found[None]:
    """Whether the machines of a job have a driver for the image's CUDA, as far as AWS says."""
    if not has_gpu(instance_type) or image.cuda is None:
        return Found()
    version = f"CUDA {image.cuda[0]}.{image.cuda[1]}"
    if use != TRAIN and is_driver_too_old(instance_type, cuda=image.cuda):
        return Found(
            problems=(
                f"Batch transform on {instance_type} has NVIDIA's driver 535 at best, too old for {version}. "
                "Use a machine without GPU, such as ml.c7i.xlarge.",
            )
        )
    if image.cuda[0] < _NEW_CUDA:
        return Found()
    return Found(
        lines=(
            f"driver: {version} wants 580 or newer; AWS does not say what its machines for jobs have (its own images "
            "for CUDA 13 train there). The job's log names the device it found.",
        )
    )


def quota(client: Any, instance_type: str, use: str, needed: int, is_problem: bool) -> Found[None]:  # noqa: ANN401
    """is_problem: whether nothing can be made with less."""
    found = quotas.find_quota(instance_type, use, client=client)
    if found is None:
        return Found(lines=(f"quota: '{instance_type} for {use}' is not known",))
    if found.value >= needed:
        return Found(lines=(f"quota: '{found.name}' is {found.value:g}, {needed} needed",))
    short = quotas.Shortage(found, needed, client.meta.region_name).sentence
    if is_problem:
        return Found(problems=(short,))
    return Found(lines=(f"warning: {short} Until then no machine is kept warm, and none is billed for that.",))


def price(
    instance_type: str | None, component: str, region: str, *, serverless_mb: int | None = None
) -> Found[prices.Price]:
    """Of an hour of the type; of a second, for a serverless endpoint."""
    listed = prices.PriceList()
    try:
        if instance_type is None:
            return Found(listed.serverless(serverless_mb, region=region) if serverless_mb else None)
        found = listed.hourly(instance_type, component, region=region)
    except prices.AmbiguousPriceError as error:
        return Found(lines=(f"warning: {error}. None of them is taken.",))
    if found is not None:
        return Found(found)
    return Found(
        lines=(
            f"warning: AWS's price list has no {instance_type} for {component} in {region}: it may not be there at "
            "all, or the list may not be asked (pricing:GetProducts).",
        )
    )
