"""The hosts that train together, as SageMaker's resourceconfig.json names them, and how torchrun is started on each.

    cluster = Cluster(hosts=("algo-1", "algo-2"), current="algo-1", processes=1, interface="eth0")
    wait_for_hosts(cluster.hosts, limit_s=600, is_over=lambda: False)
    cluster.command("train.py", ["--epochs", "3"])     # python -m kennel.training.torchrun --nnodes 2 --node-rank 0 ...

One process a GPU, or one a host without GPUs. Without torch: the toolkit's process does not load it.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.errors import PeerError

# Until the other hosts can be found by name, and until they have come. SageMaker starts them within a minute or two of
# each other; its toolkit would wait 15 minutes for each name.
HOSTS_TIMEOUT_S: Final = 600
# How long ranks may take to write their checkpoint once one of a host has ended; SageMaker kills after 120 s.
_SHUTDOWN_S: Final = 110
MASTER_PORT: Final = 7777
_INTERFACES: Final = Path("/sys/class/net")
_RDMA_DEVICES: Final = Path("/sys/class/infiniband")


@dataclass(frozen=True)
class Cluster:
    """hosts: all of them, the first one leads. current: this one. processes: on this host. interface: between hosts.

    is_asked: the job asks for torchrun, also where there is one process.
    """

    hosts: tuple[str, ...]
    current: str
    processes: int
    interface: str
    is_asked: bool = False

    @property
    def is_alone(self) -> bool:
        """One host with one process: nobody to train together with, and no torchrun."""
        return len(self.hosts) == 1 and self.processes == 1 and not self.is_asked

    def command(self, program: str, arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> list[str]:
        """What is run on this host. MASTER_PORT names another port than 7777 on the first host."""
        options = ["--nproc-per-node", str(self.processes), "--shutdown-timeout", str(_SHUTDOWN_S)]
        if len(self.hosts) == 1:
            options += ["--standalone"]  # a free port: there may be other trainings on this machine
        else:
            options += ["--nnodes", str(len(self.hosts)), "--node-rank", str(self.hosts.index(self.current))]
            options += ["--master-addr", self.hosts[0], "--master-port", environ.get("MASTER_PORT") or str(MASTER_PORT)]
            options += ["--rdzv-conf", f"timeout={round(hosts_timeout_s(environ))}"]
        return [sys.executable, "-m", "kennel.training.torchrun", *options, program, *arguments]

    def environment(self) -> dict[str, str]:
        """Settings of gloo, NCCL and libfabric that this host needs, unless the job says otherwise."""
        settings: dict[str, str] = {}
        if (_INTERFACES / self.interface).exists():
            # Else both guess, and a container has interfaces that the other hosts cannot reach.
            settings |= {"GLOO_SOCKET_IFNAME": self.interface, "NCCL_SOCKET_IFNAME": f"={self.interface}"}
        if self.processes > 1:
            # What torchrun sets too, with a warning: what is computed is on the GPUs, and pictures have own threads.
            settings["OMP_NUM_THREADS"] = "1"
        # A warning of NCCL's is mostly the only word on why hosts do not find each other; it is silent by default.
        settings["NCCL_DEBUG"] = "WARN"
        # A rank whose peer is gone ends itself, and so the job, instead of waiting in a kernel for ever.
        settings["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "1"
        if any(_RDMA_DEVICES.glob("efa*")) or any(_RDMA_DEVICES.glob("rdmap*")):
            # Only where the adapter is: elsewhere libfabric would find no provider. The second: git is asked for the
            # commit by a child process, and memory that the adapter has pinned must survive that.
            settings |= {"FI_PROVIDER": "efa", "FI_EFA_FORK_SAFE": "1"}
        return settings


def process_count(gpus: int, environ: Mapping[str, str] = os.environ) -> int:
    """Processes on a host with `gpus` GPUs, of which CUDA_VISIBLE_DEVICES may hide some."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = min(gpus, len([name for name in visible.split(",") if name.strip() and name.strip() != "-1"]))
    return max(gpus, 1)


def hosts_timeout_s(environ: Mapping[str, str] = os.environ) -> float:
    """HOSTS_TIMEOUT_S, or what KENNEL_PEER_TIMEOUT_S says."""
    return float(environ.get("KENNEL_PEER_TIMEOUT_S") or HOSTS_TIMEOUT_S)


def wait_for_hosts(hosts: Sequence[str], *, limit_s: float, is_over: Callable[[], bool], pause_s: float = 1.0) -> None:
    """Returns when every name resolves, or `is_over` says so. Raises PeerError naming those that do not in time."""
    deadline = time.monotonic() + limit_s
    while missing := [host for host in hosts if not _resolves(host)]:
        if is_over():
            return
        if time.monotonic() >= deadline:
            raise PeerError(
                f"No address for {', '.join(missing)} within {limit_s:.0f} s. resourceconfig.json names the hosts of "
                f"this job as {', '.join(hosts)}; each must be found under its name (in Docker: --hostname and one "
                f"network)."
            )
        time.sleep(pause_s)


def free_port() -> int:
    """A port of this host that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
