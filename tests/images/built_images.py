"""Kennel's images as the fixture `built` made them, and programs run in them."""

from dataclasses import dataclass

import docker


@dataclass(frozen=True)
class BuiltImages:
    """Names of the images. seconds: what each build took, with the layers that were there already."""

    train: str
    serve: str
    serve_cpu: str
    seconds: dict[str, float]

    @property
    def names(self) -> dict[str, str]:
        """By variant."""
        return {"train": self.train, "serve": self.serve, "serve-cpu": self.serve_cpu}


def run_in(engine: docker.DockerClient, image: str, script: str, *, user: str = "0") -> str:
    """What a shell script prints inside the image, without a network; the container is gone afterwards."""
    output = engine.containers.run(
        image, ["sh", "-c", script], network_mode="none", user=user, remove=True, stderr=True
    )
    return output.decode()
