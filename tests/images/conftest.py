"""Docker for the tests that need it: the engine, and a base image to build on.

A test that asks for `docker_engine` is skipped where no Docker answers, or fails where KENNEL_REQUIRE names `docker`
(.ci/run, which installs Docker Engine).
"""

import os
from collections.abc import Iterator
from contextlib import closing

import docker
import pytest
from docker.errors import DockerException

from needs import absent


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerClient]:
    """A client of the Docker that DOCKER_HOST names, or of this machine's."""
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        absent("docker", f"no Docker Engine answers ({error})")
    with closing(client):
        yield client


@pytest.fixture(scope="session")
def base_image(docker_engine: docker.DockerClient) -> str:
    """A Debian or Ubuntu with Python 3 that trusts what this machine trusts: KENNEL_BASE_IMAGE."""
    name = os.environ.get("KENNEL_BASE_IMAGE")
    if not name:
        absent("docker", "KENNEL_BASE_IMAGE does not name the image to build on, such as debian:bookworm")
    docker_engine.images.get(name)  # a wrong name is an error, not a reason to skip
    return name
