"""The Docker Engine of this machine: whether it has an image, and what of ours is on it.

Every container and network is labelled kennel.owner=<runs folder>:<owner>, as processes are by their environment
(kennel.local.remains): whoever survives a sudden death finds by it what has to be removed.
Imported only where Docker is used: docker-py takes half a second.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import Mount
from requests.exceptions import RequestException, Timeout

from kennel.local.faults import ApiError, invalid
from kennel.local.images import OUR_IMAGES, TRAIN_IMAGE, repository

LABEL: Final = "kennel.owner"
# Besides docker-py's own errors, those of the connection under it come through.
ENGINE_ERRORS: Final = (DockerException, RequestException, OSError)
_SOCKET: Final = "unix:///var/run/docker.sock"
_TIMEOUT_S: Final = 60
# boto3 waits a minute for the answer to a request whose image is looked for.
_CHECK_S: Final = 20
_IN_CONTAINER: Final = "/kennel"


@contextmanager
def connect(*, timeout_s: float = _TIMEOUT_S) -> Iterator[Any]:
    """A client of the Docker that DOCKER_HOST names, or of this machine's. Raises one of ENGINE_ERRORS without one."""
    _knock(os.environ.get("DOCKER_HOST") or _SOCKET)
    with closing(docker.from_env(timeout=timeout_s)) as client:
        yield client


def _knock(host: str) -> None:
    """Raises OSError where nobody listens: docker-py's client would do it late, and leave its socket open."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(host.removeprefix("unix://"))


def remove_owned(
    is_ours: Callable[[str], bool], *, deadline_s: float = 20.0, look_again_after_s: float = 0.0
) -> list[str]:
    """Kills and removes the containers, with their volumes, and the networks whose owner satisfies `is_ours`.

    Returns what was still there after `deadline_s`. look_again_after_s: the engine may still be making a container
    that a program asked for in the moment it was killed. Raises one of ENGINE_ERRORS when Docker does not answer.
    """
    end, quiet_looks = time.monotonic() + deadline_s, 1 if look_again_after_s else 0
    with connect() as client:
        while True:
            left = [*_owned(client.containers.list(all=True, sparse=True, filters={"label": LABEL}), is_ours)]
            left += _owned(client.networks.list(filters={"label": LABEL}), is_ours)
            if not left and quiet_looks == 0:
                return []
            if not left:
                quiet_looks -= 1
                time.sleep(look_again_after_s)
                continue
            if time.monotonic() > end:
                return [each.short_id for each in left]
            for each in left:
                _remove(each)


def _owned(found: Sequence[Any], is_ours: Callable[[str], bool]) -> list[Any]:
    return [each for each in found if is_ours((each.attrs.get("Labels") or {}).get(LABEL, ""))]


def _remove(resource: Any) -> None:  # noqa: ANN401  a container or a network of docker-py
    """Removes it if the engine lets it go now: one being removed, or a network in use, is looked at again."""
    is_container = hasattr(resource, "kill")
    try:
        if is_container:
            resource.remove(force=True, v=True)
        else:
            resource.remove()
    except NotFound:
        return
    except (APIError, Timeout):
        time.sleep(0.1)


def check_image(image: str) -> None:
    """Raises ApiError unless Docker has the image for this machine's architecture, or its registry does."""
    try:
        with connect(timeout_s=_CHECK_S) as client:
            machine = client.version()["Arch"]
            found = _architectures(client, image)
    except ENGINE_ERRORS as error:
        raise invalid(
            f"Image '{image}' cannot be run: no Docker Engine answers ({error}). Start Docker, or set DOCKER_HOST; "
            "Kennel's own images (scripts/build.sh) also run without it, as processes: --on local."
        ) from error
    if found and machine not in found:
        raise invalid(
            f"Image '{image}' is built for {', '.join(sorted(found))}, and this machine is {machine}. "
            f"Build it for this machine: Kennel's with scripts/build.sh, another with: "
            f"docker build --platform linux/{machine}"
        )


def _architectures(client: Any, image: str) -> set[str]:  # noqa: ANN401  a DockerClient
    """What an image is built for; empty where its registry does not say. Raises ApiError if there is no such image."""
    try:
        return {client.images.get(image).attrs["Architecture"]}
    except (ImageNotFound, NotFound):
        pass
    except APIError as error:
        raise invalid(
            f"'{image}' is no name of an image: {error.explanation}. Kennel's (scripts/build.sh) is {TRAIN_IMAGE}:TAG."
        ) from error
    # Never asked of Docker Hub: images there that carry our names are somebody else's.
    if "/" not in image and repository(image) in OUR_IMAGES:
        raise _no_image(image, "")
    try:
        data = client.images.get_registry_data(image)
    except APIError as error:
        raise _no_image(image, f", and its registry does not give it ({error.explanation or error})") from error
    return {str(each["architecture"]) for each in data.attrs.get("Platforms") or () if each.get("architecture")}


def _no_image(image: str, why: str) -> ApiError:
    name = repository(image)
    if name not in OUR_IMAGES:
        remedy = f"Get it with: docker pull {image} (Kennel's own images are built by scripts/build.sh)"
    elif "/" in image:
        remedy = f"Build it with scripts/build.sh, and give it this name too: docker tag {name}:TAG {image}"
    else:
        remedy = "Build it with scripts/build.sh; docker images shows what tags there are."
    return invalid(f"There is no image '{image}' in the local Docker{why}. {remedy}")


def user_settings(info: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a container's files the caller's: its user and group, as this Docker maps them.

    info: what `docker info` says.
    """
    security = " ".join(info.get("SecurityOptions") or ())
    if "name=rootless" in security:  # a container's root is the caller
        return {"user": "0:0"}
    user = {"user": f"{os.getuid()}:{os.getgid()}"}
    return {**user, "userns_mode": "host"} if "name=userns" in security else user


def give_back(image: str, paths: Sequence[Path], owner: str) -> None:
    """Makes the caller the owner of everything under `paths`, by `chown` in a container of the image that made it.

    Raises one of ENGINE_ERRORS if the image has no chown, it fails, or Docker does not answer.
    """
    places = [f"{_IN_CONTAINER}/{number}" for number in range(len(paths))]
    with connect() as client:
        settings = user_settings(client.info())
        container = client.containers.create(
            image,
            entrypoint=["chown"],
            command=["-Rh", settings["user"], *places],
            **{**settings, "user": "0:0"},
            network_mode="none",
            mounts=[Mount(place, str(path.resolve()), type="bind") for place, path in zip(places, paths, strict=True)],
            labels={LABEL: owner},
        )
        try:
            container.start()
            if container.wait()["StatusCode"] != 0:
                raise OSError(f"chown: {container.logs().decode(errors='replace').strip()}")
        finally:
            container.remove(force=True, v=True)  # docker-py's run(remove=True) would leave the image's volumes behind
