"""Kennel's images as the fixture `built` made them, and programs run in them."""

from dataclasses import dataclass

import docker

from kennel.delivery.build import Source


@dataclass(frozen=True)
class BuiltImages:
    """Names of the images, and what they were built from."""

    train: str
    serve: str
    serve_cpu: str
    source: Source

    @property
    def names(self) -> dict[str, str]:
        """By variant."""
        return {"train": self.train, "serve": self.serve, "serve-cpu": self.serve_cpu}


def run_in(engine: docker.DockerClient, image: str, script: str) -> str:
    """What a shell script prints inside the image as root, without a network; the container is gone afterwards.

    Started and then read, because Docker 20.10 may lose what a quick container prints to one who follows it.
    """
    container = engine.containers.create(image, ["sh", "-c", script], network_mode="none", user="0")
    try:
        container.start()
        container.wait(timeout=300)
        return container.logs().decode()
    finally:
        container.remove(force=True)
