"""Docker for the tests that need it: the engine, and a base image to build on.

A test that asks for `docker_engine` is skipped where no Docker answers, or fails where KENNEL_REQUIRE names `docker`
(.ci/run, which installs Docker Engine).
"""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

from built_images import BuiltImages
from kennel.delivery.build import read_source
from needs import absent

REPOSITORY = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Builds download gigabytes: what waits for one may take longer than other tests."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerClient]:
    """A client of the Docker that DOCKER_HOST names, or of this machine's."""
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        absent("docker", f"no Docker Engine answers ({error})")
    with contextlib.closing(client):
        yield client


@pytest.fixture(scope="session")
def base_image(docker_engine: docker.DockerClient) -> str:
    """A Debian or Ubuntu with Python 3 that trusts what this machine trusts: KENNEL_BASE_IMAGE."""
    name = os.environ.get("KENNEL_BASE_IMAGE")
    if not name:
        absent("docker", "KENNEL_BASE_IMAGE does not name the image to build on, such as debian:bookworm")
    docker_engine.images.get(name)  # a wrong name is an error, not a reason to skip
    return name


@pytest.fixture(scope="session")
def built(docker_engine: docker.DockerClient, base_image: str, shared: Path) -> Iterator[BuiltImages]:
    """The images, built for real by scripts/build.sh; the training image with the real ResNet-18 in it."""
    tag = f"test-{secrets.token_hex(4)}"
    source = read_source(REPOSITORY)
    images = BuiltImages(f"kennel-train:{tag}", f"kennel-serve:{tag}", f"kennel-serve:{tag}-cpu", source)
    weights = ("--weights", str(shared / "weights" / "resnet18-half.pth"))
    try:
        for words in (("train", *weights), ("serve",), ("serve", "--cpu")):
            command = [REPOSITORY / "scripts" / "build.sh", *words, "--tag", tag, "--base-image", base_image]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        yield images
    finally:
        for name in images.names.values():
            with contextlib.suppress(docker.errors.ImageNotFound):
                docker_engine.images.remove(name, force=True)
