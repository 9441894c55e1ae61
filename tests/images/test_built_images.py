"""The images as built: what is in them, what is not, and what they share."""

from typing import Any

import docker
import pytest

from built_images import BuiltImages, run_in
from kennel.delivery.build import LIMIT_GB
from kennel.delivery.layers import read_layers, sharing

AWS_GB = {"train": 18.0, "serve": 13.5}  # AWS's own images, uncompressed
VARIANTS = ("train", "serve", "serve-cpu")


@pytest.fixture
def details(docker_engine: docker.DockerClient, built: BuiltImages) -> dict[str, dict[str, Any]]:
    """`docker image inspect` of each image, by variant."""
    return {variant: docker_engine.images.get(name).attrs for variant, name in built.names.items()}


def test_an_image_has_less_than_half_of_the_bytes_of_awss(details: dict[str, dict[str, Any]]) -> None:
    for variant in VARIANTS:
        assert details[variant]["Size"] / 1e9 < min(LIMIT_GB[variant], AWS_GB.get(variant, 10.0) / 2)


def test_training_and_serving_share_nine_tenths_of_their_bytes(
    docker_engine: docker.DockerClient, built: BuiltImages
) -> None:
    found = sharing([read_layers(docker_engine, name) for name in (built.train, built.serve)])
    assert min(found.shares.values()) >= 0.9


def test_the_images_say_what_they_are(details: dict[str, dict[str, Any]], built: BuiltImages) -> None:
    source = built.source
    for variant, detail in details.items():
        labels = detail["Config"]["Labels"]
        assert labels["org.opencontainers.image.revision"] == source.commit
        assert labels["org.opencontainers.image.version"] == source.version
        assert f"KENNEL_GIT_COMMIT={source.commit}" in detail["Config"]["Env"]
        assert detail["Architecture"] == "amd64"
        if variant != "train":
            prefix = "com.amazonaws.sagemaker.capabilities"
            assert (labels[f"{prefix}.accept-bind-to-port"], labels[f"{prefix}.multi-models"]) == ("true", "true")


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_compiler_no_installer_and_no_cache_is_left(
    variant: str, docker_engine: docker.DockerClient, built: BuiltImages
) -> None:
    found = run_in(
        docker_engine,
        built.names[variant],
        # Folders may be left where something was mounted; nothing may be in them.
        "which gcc cc g++ uv;"
        "find /var/lib/apt/lists /opt/tools /root/.cache /wheels /selftest /opt/ml -type f 2>/dev/null;"
        "find / -xdev -name '*.whl' -not -path '/usr/share/python-wheels/*'",
    )
    assert found.split() == []


def test_the_cpu_image_has_no_torch(docker_engine: docker.DockerClient, built: BuiltImages) -> None:
    packages = run_in(docker_engine, built.serve_cpu, "ls /opt/kennel/venv/lib/python3*/site-packages").split()
    assert "onnxruntime" in packages
    assert not {"torch", "torchvision", "nvidia", "triton"} & set(packages)


def test_a_server_is_nobody_in_particular(details: dict[str, dict[str, Any]]) -> None:
    for variant in ("serve", "serve-cpu"):
        assert details[variant]["Config"]["User"] == "10001"


@pytest.mark.parametrize("variant", VARIANTS)
def test_kennel_is_compiled_already(variant: str, docker_engine: docker.DockerClient, built: BuiltImages) -> None:
    """Compiling torch costs 17 s of CPU, which PYTHONDONTWRITEBYTECODE would make every start pay."""
    script = (
        "cd /opt/kennel/venv/lib/python3*/site-packages &&"
        "find . -name '*.py' -not -path '*/__pycache__/*' | wc -l; find . -name '*.pyc' | wc -l"
    )
    sources, compiled = (int(line) for line in run_in(docker_engine, built.names[variant], script).split())
    assert compiled > 0.99 * sources > 1000


def test_bundled_weights_are_in_the_training_image_alone(
    docker_engine: docker.DockerClient, built: BuiltImages
) -> None:
    assert run_in(docker_engine, built.train, "ls /opt/kennel/weights").split() == ["resnet18-half.pth"]
    assert "resnet18" not in run_in(docker_engine, built.serve, "ls /opt/kennel")
