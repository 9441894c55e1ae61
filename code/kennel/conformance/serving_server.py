"""A server in a container: started as SageMaker starts it, waited for, asked once, brought back when it died.

    server = Server(subject, Setup())
    launch = server.launch(sample)          # launch.healthy_after_s, launch.first: the answer right after that

On Linux the container is in a network without a way out and is asked at its own address there, so that a server that
needs the network, AWS credentials or the metadata service shows. Elsewhere (Docker in a virtual machine) that address
cannot be reached: then a port is published, and the container has the network.
"""

import re
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from docker.errors import APIError

from kennel.conformance.checks import Subject
from kennel.conformance.containers import ContainerError, Containers, Exit, Mount, RunningContainer
from kennel.conformance.serving_probe import Answer, Endpoint, Sample

PORT: Final = 8080
_POLL_S: Final = 0.05
# A server that listens on loopback alone is given up after this time: it might still open another address.
_LOOPBACK_GRACE_S: Final = 3.0
# After a request that may have killed it: how long a server may take to answer /ping again.
_RECOVERY_S: Final = 5.0
_LISTENING: Final = "0A"  # in /proc/net/tcp
_LOOPBACK: Final = re.compile(r"0100007F|0{24}01000000|0{16}FFFF00000100007F")


@dataclass(frozen=True)
class Patience:
    """How long SageMaker waits, in seconds. An exercise's timeout_s and --stop-grace make it shorter, never longer."""

    start_s: float = 240.0
    invocation_s: float = 60.0
    stop_s: float = 30.0

    @classmethod
    def of(cls, subject: Subject) -> "Patience":
        most = subject.exercise.timeout_s
        grace = cls.stop_s if subject.stop_grace_s is None else subject.stop_grace_s
        return cls(min(cls.start_s, most), min(cls.invocation_s, most), min(cls.stop_s, grace))


@dataclass(frozen=True)
class Setup:
    """How a server's container is made. model: what it sees as /opt/ml/model; None: nothing is mounted there."""

    model: Path | None
    is_model_read_only: bool = True
    has_network: bool = False
    is_root_read_only: bool = False
    user: str | None = None
    port: int = PORT
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()

    def all_mounts(self) -> tuple[Mount, ...]:
        if self.model is None:
            return self.mounts
        return (Mount(self.model, "/opt/ml/model", is_read_only=self.is_model_read_only), *self.mounts)


@dataclass(frozen=True)
class Launch:
    """How a start went.

    healthy_after_s: until /ping was 200 the first time; None if that never came, and then `why` says what was seen.
    first: the answer to a request sent right then. last: to the same request repeated until it was answered or
    refused, or the time for an invocation was over; last_after_s: when that came, counted from the first ping.
    """

    healthy_after_s: float | None
    why: str = ""
    is_loopback_only: bool = False
    first: Answer | None = None
    last: Answer | None = None
    last_after_s: float = 0.0

    @property
    def is_good(self) -> bool:
        """It is healthy, and a request is answered, or refused with a reason."""
        return self.last is not None and (self.last.is_success or self.last.is_refusal)


@dataclass(frozen=True)
class Process:
    """A process of a container, by the container's own numbers. started: clock ticks since the machine's start."""

    pid: int
    parent: int
    started: int
    name: str


class Server:
    """One server; `revive` gives it a new container with the same setup."""

    def __init__(self, subject: Subject, setup: Setup, *, name: str) -> None:
        self.subject = subject
        self._name = name
        self.setup = setup
        self.patience = Patience.of(subject)
        self._address = ("127.0.0.1", 0)  # until it has one: nothing listens there
        self.container = self._start()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens; the last place known of one that has ended."""
        with suppress(ContainerError):
            self._address = self.container.address(self.setup.port)
        return Endpoint(*self._address, self.patience.invocation_s)

    def launch(self, sample: Sample | None, *, limit_s: float | None = None, settle_s: float | None = None) -> Launch:
        """Waits for the first healthy ping, sends the sample at once, and again until it is answered.

        limit_s: for the ping, from the container's start; settle_s: for the answer. SageMaker's are the default.
        """
        settle_s = self.patience.invocation_s if settle_s is None else settle_s
        launch = self._wait_until_healthy(limit_s or self.patience.start_s)
        if launch.healthy_after_s is None or sample is None:
            return launch
        begun = time.monotonic()
        answer = first = self.endpoint.invoke(sample)
        while not answer.is_success and not answer.is_refusal and self.container.is_running():
            if time.monotonic() - begun >= settle_s:
                break
            time.sleep(0.1)
            answer = self.endpoint.invoke(sample)
        why = "" if self.container.is_running() else self._ending()
        return Launch(launch.healthy_after_s, why, first=first, last=answer, last_after_s=time.monotonic() - begun)

    def death(self) -> str:
        """How it ended, or that it is not healthy any more; "" if it is."""
        deadline = time.monotonic() + _RECOVERY_S
        while True:
            if not self.container.is_running():
                return self._ending()
            answer = self.endpoint.ping()
            if answer.is_success:
                return ""
            if time.monotonic() >= deadline:
                return f"was not healthy any more (/ping: {answer})"
            time.sleep(_POLL_S)

    def revive(self) -> bool:
        """A new container of the same setup; whether it is healthy."""
        self.discard("died")
        self.container = self._start()
        return self._wait_until_healthy(self.patience.start_s).healthy_after_s is not None

    def stop(self) -> Exit:
        """What SageMaker does to end it."""
        return self.container.stop(grace_s=self.patience.stop_s)

    def discard(self, note: str = "") -> None:
        """Removes the container, and keeps its log."""
        self.subject.keep_log("-".join(filter(None, ("serve", self._name, note))), self.log())
        self.subject.containers.remove(self.container)

    def log(self) -> str:
        return self.container.log()

    def reason_in_log(self) -> str:
        """The line of the log that says best why it failed; "" if none says anything of the kind."""
        return reason_in(self.log())

    def processes(self) -> list[Process]:
        """The container's own processes, its first one first; empty if there is no shell in it to list them."""
        return family(parse_processes(self._run("sh", "-c", "cat /proc/[0-9]*/stat")))

    def kill(self, process: Process) -> None:
        """kill -9, from outside."""
        self._run("sh", "-c", f"kill -9 {process.pid}")

    def listening(self) -> list[str]:
        """Addresses on which it listens at its port, as the kernel writes them; empty if unknown or none."""
        return parse_listening(self._run("cat", "/proc/net/tcp", "/proc/net/tcp6"), self.setup.port)

    def _run(self, *command: str) -> str:
        """What a command inside prints, also if it fails; "" if the container has ended or has no such command."""
        try:
            return self.container.run(command, user="0")[1]
        except APIError:
            return ""

    def docker_container(self) -> Any:  # noqa: ANN401  docker-py has no types
        """Docker's own view of the container, fresh."""
        return self.subject.containers.client.containers.get(self.container.id)

    def _start(self) -> RunningContainer:
        setup, containers = self.setup, self.subject.containers
        network = private_network(self.subject)
        is_published = network is None
        return containers.start(
            self.subject.image,
            ["serve"],
            mounts=setup.all_mounts(),
            environment=dict(self.subject.exercise.environment) | dict(setup.environment),
            network="bridge" if setup.has_network or network is None else network,
            publish=[setup.port] if is_published else [],
            user=setup.user,
            memory_mb=self.subject.memory_mb,
            is_read_only=setup.is_root_read_only,
        )

    def _wait_until_healthy(self, limit_s: float) -> Launch:
        loopback_since = None
        next_look_s = 1.0
        while True:
            age_s = self.container.age_s()
            if not self.container.is_running():
                return Launch(None, f"{self._ending()} {age_s:.1f} s after its start")
            answer = self.endpoint.ping()
            if answer.is_success:
                return Launch(self.container.age_s())
            if age_s >= limit_s:
                return Launch(None, f"was not healthy within {limit_s:g} s (last /ping: {answer})")
            if answer.fault and age_s >= next_look_s:
                next_look_s = age_s + 1.0
                is_hidden = _is_loopback_only(self.listening())
                loopback_since = (loopback_since or age_s) if is_hidden else None
                if loopback_since is not None and age_s - loopback_since >= _LOOPBACK_GRACE_S:
                    return Launch(None, f"it listens on 127.0.0.1:{self.setup.port} alone", is_loopback_only=True)
            time.sleep(_POLL_S)

    def _ending(self) -> str:
        status = self.container.exit_status()
        reason = self.reason_in_log() or next(reversed(_lines(self.log())), "nothing in its log")
        return f"ended with status {status} ({reason})"


_REASON: Final = re.compile(
    r"\b(error|exception|fail(ed|ure|s)?|cannot|can't|could not|unable|not found|no such|denied|invalid|missing|"
    r"corrupt(ed)?|broken|refus(ed|es)|not a|no model|read-only)\b|\w(Error|Exception)\b",
    re.IGNORECASE,
)


def reason_in(log: str) -> str:
    """The last line with ERROR, or else the last one that speaks of a failure; cut to 300 characters."""
    lines = [line for line in _lines(log) if _REASON.search(line)]
    severe = [line for line in lines if "ERROR" in line or "Error:" in line]
    return (severe or lines or [""])[-1][:300]


def parse_processes(text: str) -> list[Process]:
    """The processes in lines of /proc/<pid>/stat; the name stands in brackets and may hold anything."""
    processes = []
    for line in text.splitlines():
        match = re.match(r"(\d+) \((.*)\) [^Z] (\d+) (.*)$", line)  # Z: it has ended
        if match:
            rest = match[4].split()
            processes.append(Process(int(match[1]), int(match[3]), int(rest[17]), match[2]))
    return processes


def family(processes: Iterable[Process]) -> list[Process]:
    """The container's first process and its descendants: what `docker exec` started is none of them."""
    by_parent: dict[int, list[Process]] = {}
    for each in processes:
        by_parent.setdefault(each.parent, []).append(each)
    found = [each for each in by_parent.get(0, []) if each.pid == 1]
    for each in found:  # grows while it is walked
        found += by_parent.get(each.pid, [])
    return found


def parse_listening(text: str, port: int) -> list[str]:
    """Local addresses, in the kernel's hexadecimal, that listen on `port` according to /proc/net/tcp and tcp6."""
    found = []
    for line in text.splitlines():
        columns = line.split()
        if len(columns) > 3 and columns[3] == _LISTENING and columns[1].upper().endswith(f":{port:04X}"):
            found.append(columns[1].partition(":")[0].upper())
    return found


def _is_loopback_only(addresses: list[str]) -> bool:
    return bool(addresses) and all(_LOOPBACK.fullmatch(each) for each in addresses)


def private_network(subject: Subject) -> str | None:
    """A network without a way out whose containers this machine can reach; None where it cannot (Docker is elsewhere).

    It is made once for an image.
    """
    key = "serve.network"
    if key not in subject.shared:
        name = subject.containers.network(is_internal=True)
        subject.shared[key] = name if _is_ours(subject.containers, name) else None
    network: str | None = subject.shared[key]
    return network


def _is_ours(containers: Containers, network: str) -> bool:
    """Whether the network's bridge is on this machine: only then its address can be bound here."""
    attributes: dict[str, Any] = containers.client.networks.get(network).attrs
    gateways = [each["Gateway"] for each in attributes["IPAM"]["Config"] or [] if each.get("Gateway")]
    for gateway in gateways:
        with suppress(OSError), socket.socket() as probe:
            probe.bind((gateway, 0))
            return True
    return False


def _lines(log: str) -> list[str]:
    return [line.strip() for line in log.splitlines() if line.strip()]
