"""Built images into a registry, under a tag that can never mean another image: the commit they were built from.

    kennel push --registry 127.0.0.1:5000 --dry-run

Everything is checked before the first byte goes out, and what the registry then holds is checked again: Docker's own
view of an image says nothing about the manifest that SageMaker will read.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import docker
from docker.errors import DockerException, ImageNotFound

from kennel.delivery.ecr import Ecr, own_registry
from kennel.delivery.registry import (
    Credentials,
    Manifest,
    Reference,
    Registry,
    RegistryError,
    accepted_by_sagemaker,
    docker_credentials,
)
from kennel.errors import KennelError, UserError

KINDS: Final = ("train", "serve")
REVISION: Final = "org.opencontainers.image.revision"
DIRTY: Final = "dev.kennel.dirty"
PLATFORM: Final = "linux/amd64"
RUN_SETTINGS: Final = (
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")

Progress = Callable[[int, int], None]  # bytes sent, bytes in all, uncompressed


@dataclass(frozen=True)
class BuiltImage:
    """An image of this machine that may be pushed.

    name: kennel-train, kennel-serve or kennel-serve-cpu. repository: the last part of where it goes. image_id: the
    digest of its configuration (or of its manifest, in an engine with containerd's image store). tag: what it is
    pushed under. layers: their uncompressed digests; settings: how it is run (environment, command, labels ...).
    """

    name: str
    source: str
    repository: str
    image_id: str
    tag: str
    layers: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Destination:
    """A registry, with a path before the repositories or without, and how to enter it."""

    address: str  # 123456789012.dkr.ecr.eu-west-1.amazonaws.com, or registry.example/team
    credentials: Credentials | None = None
    ecr: Ecr | None = None

    @property
    def host(self) -> str:
        return self.reference("any", "any").registry

    def reference(self, repository: str, tag: str) -> Reference:
        return Reference.parse(f"{self.address}/{repository}:{tag}")

    def registry(self) -> Registry:
        return Registry(self.host, credentials=self.credentials)

    def delete(self, image: Reference, digest: str) -> None:
        if self.ecr and self.ecr.is_amazons:
            self.ecr.delete(image.repository, digest)
        else:
            self.registry().delete(image, digest)


@dataclass(frozen=True)
class Plan:
    """One image on its way. stored: what the registry has under that tag already, which can only be the same image."""

    image: BuiltImage
    reference: Reference
    stored: Manifest | None


@dataclass(frozen=True)
class Pushed:
    """One image in the registry. by_digest: what a job should name. Bytes are compressed layers."""

    image: BuiltImage
    reference: Reference
    by_digest: str
    sent_bytes: int
    there_bytes: int
    seconds: float


def destination(address: str | None, environment: Mapping[str, str] = os.environ) -> Destination:
    """Where to push: `address`, else KENNEL_REGISTRY, else ECR_REGISTRY, else ECR of this AWS account and region.

    ECR is entered with a token of AWS; so is whatever ECR_REGISTRY names. Any other registry with `docker login`'s.
    """
    chosen = address or environment.get("KENNEL_REGISTRY") or environment.get("ECR_REGISTRY") or own_registry()
    place = Destination(chosen.removesuffix("/"))
    ecr = Ecr(place.host)
    if ecr.is_amazons or place.host == environment.get("ECR_REGISTRY", "").partition("/")[0]:
        return Destination(place.address, ecr.credentials(), ecr)
    return Destination(place.address, docker_credentials(place.host))


@contextmanager
def open_engine() -> Iterator[docker.DockerClient]:
    """The Docker that DOCKER_HOST names, or this machine's. Raises KennelError when none answers."""
    try:
        client = docker.from_env(timeout=3600)  # a layer of gigabytes may be silent for long
    except DockerException as error:
        raise KennelError(f"No Docker Engine answers ({error}). Start it, or set DOCKER_HOST") from error
    with closing(client):
        yield client


def built_image(
    engine: docker.DockerClient, kind: str, *, tag: str, cpu: bool = False, allow_dirty: bool = False
) -> BuiltImage:
    """The image that scripts/build.sh left, if it may be pushed; UserError with the reason if not.

    It must be linux/amd64 and know the commit it was built from. One that was built from a changed tree is no image of
    that commit: `allow_dirty` lets it pass under a tag that says so.
    """
    repository = f"kennel-{kind}"
    variant = "-cpu" if cpu else ""
    source = f"{repository}:{tag}{variant}"
    try:
        found = engine.images.get(source).attrs
    except ImageNotFound as error:
        command = f"scripts/build.sh {kind}{' --cpu' if cpu else ''} --tag {tag}"
        raise UserError(f"{source} is not on this machine. Build it: {command}") from error
    platform = f"{found['Os']}/{found['Architecture']}"
    if platform != PLATFORM:
        raise UserError(f"{source} is for {platform}; SageMaker runs {PLATFORM}. Build with --platform {PLATFORM}")
    return BuiltImage(
        repository + variant,
        source,
        repository,
        found["Id"],
        _tag(source, found["Id"], found["Config"].get("Labels") or {}, variant, allow_dirty=allow_dirty),
        tuple(found["RootFS"].get("Layers") or ()),
        _settings(found["Config"]),
    )


def _tag(source: str, image_id: str, labels: dict[str, str], variant: str, *, allow_dirty: bool) -> str:
    commit = labels.get(REVISION, "")
    if not _COMMIT.fullmatch(commit):
        raise UserError(
            f"{source} does not say which commit it was built from: label {REVISION} is '{commit}'. "
            "Build it with scripts/build.sh in a git checkout"
        )
    if labels.get(DIRTY, "").lower() != "true":
        return commit + variant
    if not allow_dirty:
        raise UserError(
            f"{source} was built from changed files on top of commit {commit[:12]}, and nobody could build it again. "
            "Commit and build anew, or push it with --allow-dirty under a tag ending in -dirty"
        )
    return f"{commit}{variant}-{image_id.removeprefix('sha256:')[:12]}-dirty"


def plan(images: Sequence[BuiltImage], place: Destination) -> list[Plan]:
    """What each push will be, checked against the registry; nothing is written.

    Raises UserError for a repository that ECR does not have, and for a tag that names another image already.
    """
    registry = place.registry()
    return [_plan(image, place, registry) for image in images]


def _plan(image: BuiltImage, place: Destination, registry: Registry) -> Plan:
    reference = place.reference(image.repository, image.tag)
    if place.ecr and not place.ecr.has_repository(reference.repository):
        command = place.ecr.create_command(reference.repository)
        raise UserError(f"ECR at {place.host} has no repository '{reference.repository}'. Make it: {command}")
    stored = registry.manifest(reference)
    if stored and not _is_same(stored, image):
        raise UserError(
            f"{reference} is there already and is another image ({stored.digest}); a commit's tag never moves. "
            f"Push another commit, or take that one away first: kennel push --delete {reference.at(stored.digest)}"
        )
    return Plan(image, reference, stored)


def push(step: Plan, place: Destination, engine: docker.DockerClient, *, progress: Progress | None = None) -> Pushed:
    """The image in the registry, under its tag, as a manifest that SageMaker takes.

    Nothing is sent when it is there. What SageMaker would refuse is deleted again and ends in KennelError.
    """
    started = time.monotonic()
    states: dict[str, str] = {}
    if step.stored is None:
        states = _send(step, place, engine, progress)
    stored = step.stored or place.registry().manifest(step.reference)
    if stored is None:
        raise RegistryError(f"{step.reference} was pushed, and the registry does not have it")
    _refuse_unfit(step, stored, place)
    sent = sum(size for layer, size in stored.layer_sizes.items() if states.get(_short(layer)) == "Pushed")
    there = sum(stored.layer_sizes.values()) - sent
    seconds = time.monotonic() - started
    return Pushed(step.image, step.reference, step.reference.at(stored.digest), sent, there, seconds)


def move_tag(pushed: Pushed, place: Destination, tag: str) -> Reference:
    """A second, movable name of a pushed image: where the next build finds its cache. Sends no layer."""
    suffix = pushed.image.name.removeprefix(pushed.image.repository)
    moved = place.reference(pushed.image.repository, tag + suffix)
    registry, source = place.registry(), Reference.parse(pushed.by_digest)
    now = registry.manifest(moved)
    if now is None or now.digest != source.digest:
        registry.put_tag(source, str(moved.tag))
    return moved


def delete(text: str, place: Destination) -> str:
    """Takes an image (with all its tags) out of the registry; returns what was deleted, by digest."""
    reference = Reference.parse(text)
    stored = place.registry().manifest(reference)
    if stored is None:
        raise UserError(f"{reference} is not in the registry; nothing was deleted")
    place.delete(reference, stored.digest)
    return reference.at(stored.digest)


def write_digests(pushed: Sequence[Pushed], path: Path) -> None:
    """{image: reference by digest} as JSON; images of an earlier push in the same file stay."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known |= {one.image.name: one.by_digest for one in pushed}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def _is_same(stored: Manifest, image: BuiltImage) -> bool:
    """Whether both are one image: the same configuration or manifest, or the same layers run in the same way.

    Docker's image id is the digest of the configuration, or, with containerd's store, of the manifest. A second build
    of a commit from a registry's cache gets another id for the same content: the cache's own notes are in there.
    """
    if image.image_id in (stored.content.get("config", {}).get("digest"), stored.digest):
        return True
    platform = f"{stored.config.get('os')}/{stored.config.get('architecture')}"
    layers = tuple(stored.config.get("rootfs", {}).get("diff_ids", ()))
    return (
        platform == PLATFORM
        and bool(layers)
        and layers == image.layers
        and _settings(stored.config.get("config", {})) == image.settings
    )


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how an image runs; Docker writes what is not set in more than one way, so that is left out."""
    return {key: config[key] for key in RUN_SETTINGS if config.get(key)}


def _send(step: Plan, place: Destination, engine: docker.DockerClient, progress: Progress | None) -> dict[str, str]:
    """Has Docker push the image; the last state of each layer, by the first 12 digits of its diff id."""
    name = f"{step.reference.registry}/{step.reference.repository}"
    login = place.credentials and {"username": place.credentials.username, "password": place.credentials.password}
    try:
        engine.api.tag(step.image.image_id, name, step.image.tag)
        try:
            lines = engine.api.push(name, tag=step.image.tag, auth_config=login or None, stream=True, decode=True)
            return _follow(lines, str(step.reference), progress)
        finally:
            engine.images.remove(f"{name}:{step.image.tag}", noprune=True)  # takes away the name only
    except DockerException as error:
        raise KennelError(f"Docker could not push {step.reference}: {error}") from error


def _follow(lines: Any, reference: str, progress: Progress | None) -> dict[str, str]:  # noqa: ANN401  docker-py's
    """The layers' last states out of Docker's push messages; RegistryError with Docker's words for a failure."""
    states: dict[str, str] = {}
    bytes_of: dict[str, tuple[int, int]] = {}
    for line in lines:
        if "error" in line:
            raise RegistryError(f"{reference} was not pushed: {line['error']}")
        layer, status = line.get("id"), line.get("status", "")
        if not layer:
            continue
        states[layer] = status
        detail = line.get("progressDetail") or {}
        if progress and detail.get("total"):
            bytes_of[layer] = (min(detail.get("current", 0), detail["total"]), detail["total"])
            progress(sum(done for done, _ in bytes_of.values()), sum(total for _, total in bytes_of.values()))
    return states


def _refuse_unfit(step: Plan, stored: Manifest, place: Destination) -> None:
    """Deletes what SageMaker would refuse, and says why it had to go."""
    reason = accepted_by_sagemaker(stored)
    if reason is None and not _is_same(stored, step.image):
        raise RegistryError(f"{step.reference} holds {stored.digest}, which is not {step.image.source}: pushed over")
    if reason is None:
        return
    place.delete(step.reference, stored.digest)
    raise KennelError(f"{step.reference} was deleted again, because SageMaker would refuse it. It is {reason}")


def _short(diff_id: str) -> str:
    """How Docker's push names a layer."""
    return diff_id.removeprefix("sha256:")[:12]
