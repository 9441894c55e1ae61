"""`kennel layers` on images that Docker has built: two that share all but a file."""

import io
import tarfile
from collections.abc import Iterator

import docker
import pytest

from kennel.delivery.layers import check_limit, read_layers, sharing
from kennel.errors import KennelError

NAMES = ("kennel-test-layers:one", "kennel-test-layers:two")
DOCKERFILE = """
FROM {base}
RUN head -c 3000000 /dev/zero > /shared
ENV WHO=nobody
WORKDIR /opt/new/folder
RUN head -c {size} /dev/zero > /own
CMD ["true"]
"""


def context(dockerfile: str) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        archive.addfile(entry, io.BytesIO(dockerfile.encode()))
    stream.seek(0)
    return stream


@pytest.fixture(scope="module")
def images(docker_engine: docker.DockerClient, base_image: str) -> Iterator[docker.DockerClient]:
    for name, size in zip(NAMES, (1_000_000, 2_000_000), strict=True):
        dockerfile = DOCKERFILE.format(base=base_image, size=size)
        docker_engine.images.build(fileobj=context(dockerfile), custom_context=True, tag=name, rm=True, forcerm=True)
    yield docker_engine
    for name in NAMES:
        docker_engine.images.remove(name)


def test_layers_have_their_sizes_and_origins_and_are_shared_by_digest(
    images: docker.DockerClient, base_image: str
) -> None:
    one, two = (read_layers(images, name) for name in NAMES)
    base = read_layers(images, base_image)
    assert one.size_bytes == images.images.get(NAMES[0]).attrs["Size"]
    assert one.layers[: len(base.layers)] == base.layers
    added = [(each.size_bytes, each.made_by) for each in one.layers[len(base.layers) :]]
    assert added == [
        (3_000_000, "head -c 3000000 /dev/zero > /shared"),
        (0, "WORKDIR /opt/new/folder"),
        (1_000_000, "head -c 1000000 /dev/zero > /own"),
    ]
    found = sharing([one, two])
    assert found.shared_bytes == base.size_bytes + 3_000_000
    assert found.union_bytes == base.size_bytes + 6_000_000


def test_the_size_gate_names_the_layer_that_is_too_large(images: docker.DockerClient) -> None:
    two = read_layers(images, NAMES[1])
    check_limit([two], two.size_bytes / 1e9)
    with pytest.raises(KennelError, match=rf"{NAMES[1]} has .* GB(.|\n)*3\.0 MB  head -c 3000000"):
        check_limit([two], (two.size_bytes - 1) / 1e9)
