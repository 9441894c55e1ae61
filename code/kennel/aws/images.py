"""Images in ECR as SageMaker will find them: by digest, and whether its machines run them.

    image = find_image(reference, ecr)                          # any tag or digest; UserError where nothing is
    image = find_own_image(reference, ecr, commit=..., variants=("-cpu", ""))   # one that scripts/push.sh has pushed

Everything is asked of ECR's own API, in the way `docker pull` through ECR asks it: the manifest by BatchGetImage, the
configuration (platform, environment) by GetDownloadUrlForLayer. No token, and nothing that a person who may pull lacks.
Exercise it: pytest tests/aws/test_images_in_ecr.py
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import requests
from botocore.exceptions import ClientError

from kennel import __version__
from kennel.delivery.registry import ACCEPT, Manifest, Reference, accepted_by_sagemaker
from kennel.errors import KennelError, UserError

PLATFORM: Final = "linux/amd64"
CPU: Final = "-cpu"
_HOST: Final = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.(amazonaws\.com(\.cn)?|on\.aws)"
)
_GONE: Final = ("RepositoryNotFoundException", "ImageNotFoundException")
_TIMEOUT_S: Final = (10, 30)
_CUDA: Final = (re.compile(r"CUDA_VERSION=(\d+)\.(\d+)"), re.compile(r"NVIDIA_REQUIRE_CUDA=cuda>=(\d+)\.(\d+)"))


@dataclass(frozen=True)
class Image:
    """What ECR has. by_digest: for a request. tag: it was found under; None by digest.

    platform: such as linux/amd64; cuda: what its environment says, None for an image without CUDA. Both are None too
    where its configuration could not be read: then `unread` says why.
    """

    by_digest: str
    tag: str | None
    manifest: Manifest
    platform: str | None = None
    cuda: tuple[int, int] | None = None
    unread: str | None = None

    @property
    def problems(self) -> list[str]:
        """Why SageMaker would not run it, each with its remedy."""
        found = accepted_by_sagemaker(self.manifest)
        problems = [f"SageMaker does not pull {self.by_digest}. It is {found}."] if found else []
        if self.platform not in (None, PLATFORM):
            problems.append(
                f"{self.by_digest} is for {self.platform}; SageMaker's machines are {PLATFORM}. "
                f"Build it with --platform {PLATFORM}, or by scripts/build.sh."
            )
        return problems


def find_image(reference: str, client: Any) -> Image:  # noqa: ANN401  boto3's `ecr`, in the registry's region
    """The image of a tag or a digest. Raises UserError where nothing is, or it is not ECR's; what boto3 raises else."""
    image = Reference.parse(reference)
    asked = {"imageDigest": image.digest} if image.digest else {"imageTag": image.tag}
    try:
        answer = client.batch_get_image(**_repository(image), imageIds=[asked], acceptedMediaTypes=ACCEPT.split(", "))
    except ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise
        answer = {"images": []}
    if not answer["images"]:
        raise UserError(_missing(image))
    return _read(image, answer["images"][0], client)


def find_own_image(
    reference: str,
    client: Any,  # noqa: ANN401
    *,
    commit: str | None,
    variants: Sequence[str] = ("",),
) -> Image | None:
    """Of a repository of ours, the image of the tag, else of `commit`, else the newest; None where there is none.

    variants: "-cpu", or "" for the one with CUDA, the preferred one first. What scripts/push.sh pushes has its commit
    as its tag.
    """
    image = Reference.parse(reference)
    tags = _tags(image, client)
    wanted = [f"{name}{variant}" for name in (image.tag, commit) if name for variant in variants]
    newest = [tag for variant in variants for tag in tags if _is_of(tag, variant)]
    for tag in (*(each for each in wanted if each in tags), *newest):
        return find_image(f"{image.registry}/{image.repository}:{tag}", client)
    return None


def is_default(reference: str, kind: str) -> bool:
    """Whether nobody asked for another image than Kennel's own of this version. kind: train or serve."""
    found = Reference.parse(reference)
    return (found.repository, found.tag, found.digest) == (f"kennel-{kind}", __version__, None)


def region_of(reference: str) -> str | None:
    """Of the ECR registry that an image is in; None for another registry."""
    found = _HOST.fullmatch(Reference.parse(reference).registry)
    return found["region"] if found else None


def check_registry(reference: str, *, region: str) -> None:
    """Raises UserError for an image that SageMaker's jobs of that region do not pull."""
    there = region_of(reference)
    if there is None:
        raise UserError(
            f"{reference} is not in ECR, and SageMaker pulls from nowhere else (a private registry can be reached "
            "inside a VPC only, with settings that Kennel does not make). Push it: scripts/push.sh"
        )
    if there != region:
        raise UserError(
            f"{reference} is in ECR of {there}, and the job would run in {region}, which pulls from its own region "
            f"only. Push it there: AWS_REGION={region} scripts/push.sh"
        )


def push_commands(kind: str, variant: str = "") -> str:
    """What builds and pushes an image of ours. kind: train or serve."""
    cpu = " --cpu" if variant == CPU else ""
    return f"scripts/build.sh {kind}{cpu} && scripts/push.sh {kind}{cpu}"


def _missing(image: Reference) -> str:
    kind = image.repository.rpartition("-")[2]
    is_ours = image.repository.rpartition("/")[2] in ("kennel-train", "kennel-serve")
    remedy = push_commands(kind) if is_ours else "docker push puts it there"
    return f"{image} is not in ECR. {remedy}"


def _tags(image: Reference, client: Any) -> list[str]:  # noqa: ANN401
    """All of a repository, those of the newest image first; none where there is no such repository."""
    details: list[Mapping[str, Any]] = []
    try:
        for page in client.get_paginator("describe_images").paginate(**_repository(image)):
            details += page["imageDetails"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise
    newest = sorted(details, key=lambda each: each["imagePushedAt"], reverse=True)
    return [tag for each in newest for tag in each.get("imageTags", ())]


def _is_of(tag: str, variant: str) -> bool:
    """Whether it is an image's own tag, and of that variant: `-cpu` may be followed by more (...-dirty)."""
    return not tag.startswith("cache") and ((CPU in tag) == bool(variant))


def _repository(image: Reference) -> dict[str, str]:
    found = _HOST.fullmatch(image.registry)
    account = {"registryId": found["account"]} if found else {}
    return {"repositoryName": image.repository, **account}


def _read(image: Reference, found: Mapping[str, Any], client: Any) -> Image:  # noqa: ANN401
    content = json.loads(found["imageManifest"])
    kind = found.get("imageManifestMediaType") or content.get("mediaType", "")
    digest = found["imageId"]["imageDigest"]
    manifest = Manifest(str(image), kind, digest, content)
    by_digest = image.at(digest)
    config_digest = content.get("config", {}).get("digest")
    if config_digest is None:  # a list, which the manifest's kind already says
        return Image(by_digest, image.tag, manifest)
    try:
        config = _config(image, config_digest, client)
    except (ClientError, requests.RequestException, KennelError) as error:
        return Image(by_digest, image.tag, manifest, unread=f"{type(error).__name__}: {error}")
    environment = config.get("config", {}).get("Env") or []
    platform = f"{config.get('os')}/{config.get('architecture')}"
    return Image(by_digest, image.tag, manifest, platform, _cuda(environment))


def _config(image: Reference, digest: str, client: Any) -> dict[str, Any]:  # noqa: ANN401
    """The image's configuration: a blob like a layer, behind an address that is good for an hour."""
    url = client.get_download_url_for_layer(**_repository(image), layerDigest=digest)["downloadUrl"]
    with requests.get(url, timeout=_TIMEOUT_S) as answer:
        answer.raise_for_status()
        content = answer.content
    if "sha256:" + hashlib.sha256(content).hexdigest() != digest:
        raise KennelError(f"what ECR sent is not {digest}")
    return dict(json.loads(content))


def _cuda(environment: Sequence[str]) -> tuple[int, int] | None:
    """As NVIDIA's base images say it in their environment."""
    for pattern in _CUDA:
        for each in environment:
            if found := pattern.match(each):
                return int(found[1]), int(found[2])
    return None
