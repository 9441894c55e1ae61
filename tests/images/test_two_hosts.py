"""The training image on two hosts: containers algo-1 and algo-2 on a network of their own, as any user.

Each has its own input, model, output and checkpoints mounted one by one, as SageMaker mounts them.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from docker.models.networks import Network

from built_images import BuiltImages
from kennel.metrics import read_metrics

SETTINGS = {"weights": "none", "image-size": "32", "batch-size": "7", "patience": "0", "epochs": "2"}
USER = 10001
PEER_TIMEOUT_S = 60


@dataclass(frozen=True)
class Host:
    folder: Path
    container: Container

    def end(self) -> tuple[int, str]:
        """Exit status and log."""
        status: int = self.container.wait(timeout=240)["StatusCode"]
        return status, self.container.logs().decode()

    def files(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.folder / folder).rglob("*") if path.is_file())


Starter = Callable[..., list[Host]]


@pytest.fixture
def network(docker_engine: docker.DockerClient) -> Iterator[Network]:
    """Without a way out: isolated jobs have only each other."""
    made = docker_engine.networks.create(
        f"kennel-test-{secrets.token_hex(4)}", internal=True, labels={"kennel": "test"}
    )
    yield made
    made.remove()


@pytest.fixture
def start(
    docker_engine: docker.DockerClient,
    built: BuiltImages,
    network: Network,
    tmp_path: Path,
    make_folder: Callable[..., Path],
) -> Iterator[Starter]:
    """Starts one container a host; all are removed in the end."""
    tmp_path.chmod(0o755)
    data = make_folder()
    containers: list[Container] = []

    def run(hosts: Sequence[str], hyperparameters: dict[str, str]) -> list[Host]:
        started = []
        for host in hosts:
            folder = _lay_out(tmp_path / f"{len(hosts)}-{host}", host, hosts, hyperparameters)
            mounts = {str(folder / name): {"bind": f"/opt/ml/{name}"} for name in ("model", "output", "checkpoints")}
            mounts[str(folder / "input")] = {"bind": "/opt/ml/input", "mode": "ro"}
            mounts[str(data)] = {"bind": "/opt/ml/input/data/train", "mode": "ro"}
            container = docker_engine.containers.create(
                built.train,
                "train",
                hostname=host,
                name=f"{network.name}-{len(hosts)}-{host}",
                user=str(USER),
                environment={"OMP_NUM_THREADS": "1", "KENNEL_PEER_TIMEOUT_S": str(PEER_TIMEOUT_S)},
                volumes=mounts,
                network=network.name,
                networking_config={network.name: docker_engine.api.create_endpoint_config(aliases=[host])},
                labels={"kennel": "test"},
            )
            containers.append(container)
            container.start()
            started.append(Host(folder, container))
        return started

    yield run
    for container in containers:
        container.remove(force=True, v=True)


def _lay_out(folder: Path, host: str, hosts: Sequence[str], hyperparameters: dict[str, str]) -> Path:
    for name in ("input/config", "input/data/train", "model", "output", "checkpoints"):
        (folder / name).mkdir(parents=True)
    for name in ("model", "output", "checkpoints"):
        os.chmod(folder / name, 0o777)  # noqa: S103  the container's user is nobody here
    config = folder / "input" / "config"
    (config / "hyperparameters.json").write_text(json.dumps({key: json.dumps(v) for key, v in hyperparameters.items()}))
    (config / "inputdataconfig.json").write_text(json.dumps({"train": {"S3DistributionType": "FullyReplicated"}}))
    resources = {"current_host": host, "hosts": list(hosts), "network_interface_name": "eth0"}
    (config / "resourceconfig.json").write_text(json.dumps(resources))
    return folder


def _metrics(log: str) -> list[dict[str, float]]:
    lines = [read_metrics(line) for line in log.splitlines() if line.startswith(("epoch=", "final "))]
    return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


def test_two_hosts_end_as_one(start: Starter) -> None:
    pair = start(["algo-1", "algo-2"], SETTINGS)
    (leader, first), (other, second) = (host.end() for host in pair)
    assert leader == other == 0, first + second
    (alone,) = start(["algo-1"], SETTINGS)
    status, log = alone.end()
    assert status == 0, log
    assert len(_metrics(first)) == 3 and _metrics(second) == []
    for ours, theirs in zip(_metrics(first), _metrics(log), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    assert pair[0].files("model") == alone.files("model")
    assert pair[1].files("model") == pair[1].files("checkpoints") == []


def test_host_that_is_killed_ends_the_other(start: Starter) -> None:
    pair = start(["algo-1", "algo-2"], {**SETTINGS, "trainable": "all", "epochs": "1000"})
    deadline = time.monotonic() + 240
    while b"\nepoch=1/" not in pair[0].container.logs():  # to follow it would leave docker-py's socket open
        assert time.monotonic() < deadline, "no epoch was trained"
        time.sleep(0.1)
    pair[1].container.kill()
    status, log = pair[0].end()
    assert status == 1, log
    assert (pair[0].folder / "output" / "failure").read_text().startswith("PeerError: Another process of this training")
