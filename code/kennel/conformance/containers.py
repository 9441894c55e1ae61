"""Containers for checks: started as SageMaker starts them, watched, and removed whatever happens.

    with Containers(docker.from_env()) as containers:
        trainer = containers.start("image", ["train"], mounts=[Mount(folder, "/opt/ml/input", is_read_only=True)])
        trainer.wait_for("loss=", timeout_s=60)
        print(trainer.stop(grace_s=120).seconds, trainer.log())

Every container and network carries a label that names the process it belongs to. Leaving the `with` block removes them;
those of a process that was killed before it could are removed when the next one begins.
"""

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import docker
from docker.errors import APIError, DockerException, NotFound

from kennel.errors import KennelError

OWNER_LABEL: Final = "dev.kennel.conformance.owner"
_POLL_S: Final = 0.05
_MIB: Final = 2**20


class ContainerError(KennelError):
    """Docker could not make or start what a check needs; the message is Docker's own."""


@dataclass(frozen=True)
class Mount:
    """source: a folder or file of this machine; target: where the container sees it."""

    source: Path
    target: str
    is_read_only: bool = False


@dataclass(frozen=True)
class Exit:
    """How a container ended.

    status: as Docker gives it, 128 + n for signal n; None if it was still running when the time was up.
    seconds: since it was started, or told to stop. was_killed: it had to be (its grace was over, or the time was up).
    """

    status: int | None
    seconds: float
    is_out_of_memory: bool = False
    was_killed: bool = False


class RunningContainer:
    """One container; `log` and `exit_status` also answer after its end."""

    def __init__(self, container: Any, *, network: str | None) -> None:  # noqa: ANN401  docker-py has no types
        self._container = container
        self._network = network
        self.started_at = time.monotonic()
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._has_ended = False

    @property
    def id(self) -> str:
        return str(self._container.id)

    def start(self) -> None:
        """Raises ContainerError with Docker's reason, as for a command that is not found."""
        try:
            self._container.start()
        except APIError as error:
            raise ContainerError(_reason(error)) from error
        self.started_at = time.monotonic()
        threading.Thread(target=self._follow, daemon=True).start()

    def is_running(self) -> bool:
        return bool(self._state()["Running"])

    def exit_status(self) -> int | None:
        """None while it runs."""
        state = self._state()
        return None if state["Running"] else int(state["ExitCode"])

    def wait(self, *, timeout_s: float) -> Exit:
        """Its own end; a container that is not done in time is killed."""
        state = self._wait_for_end(timeout_s)
        if state is None:
            self._kill()
            return Exit(None, self.age_s(), was_killed=True)
        return Exit(int(state["ExitCode"]), self.age_s(), is_out_of_memory=bool(state["OOMKilled"]))

    def stop(self, *, grace_s: float, signal: str = "SIGTERM") -> Exit:
        """What `docker stop` does: the signal, the grace, SIGKILL. `seconds` counts from the signal."""
        told = time.monotonic()
        self.send(signal)
        state = self._wait_for_end(grace_s)
        if state is None:
            self._kill()
        after = self._state()
        return Exit(int(after["ExitCode"]), time.monotonic() - told, was_killed=state is None)

    def send(self, signal: str) -> None:
        """Sends a signal to the container's first process; nothing happens if that has ended."""
        with suppress(APIError):
            self._container.kill(signal=signal)

    def age_s(self) -> float:
        return time.monotonic() - self.started_at

    def log(self, *, stdout: bool = True, stderr: bool = True) -> str:
        """Everything it has written so far, undecodable bytes replaced."""
        raw: bytes = self._container.logs(stdout=stdout, stderr=stderr)
        return raw.decode(errors="replace")

    def wait_for(self, wanted: str | re.Pattern[str] | Callable[[str], bool], *, timeout_s: float) -> str | None:
        """The first line of the log that matches (a regex, or a test of the line); None at its end or at the time."""
        is_wanted = wanted if callable(wanted) else re.compile(wanted).search
        deadline = time.monotonic() + timeout_s
        seen = 0
        with self._changed:
            while True:
                for line in self._lines[seen:]:
                    if is_wanted(line):
                        return line
                seen = len(self._lines)
                left = deadline - time.monotonic()
                if self._has_ended or left <= 0:
                    return None
                self._changed.wait(left)

    def lines(self) -> list[str]:
        """The lines of the log so far, as they came."""
        with self._changed:
            return list(self._lines)

    def run(self, command: Sequence[str], *, user: str = "") -> tuple[int, str]:
        """Status and output of a command inside the running container."""
        answer = self._container.exec_run(list(command), user=user)
        return int(answer.exit_code), answer.output.decode(errors="replace")

    def changed_paths(self) -> list[str]:
        """Paths that were added or changed outside the mounts (`docker diff`, without deletions)."""
        return sorted(each["Path"] for each in self._container.diff() or [] if each["Kind"] in (0, 1))

    def network_bytes(self) -> int | None:
        """Bytes sent and received on its networks so far, loopback apart; None if it has ended or is out of sight.

        Read from the kernel: Docker's own statistics are up to a second old, and gone when a container ends.
        """
        process = Path(f"/proc/{self._state()['Pid']}")
        try:
            if self.id not in (process / "cgroup").read_text():
                return None  # a process of this machine that happens to have the number: Docker runs on another
            devices = [line.partition(":") for line in (process / "net" / "dev").read_text().splitlines()[2:]]
        except OSError:
            return None
        columns = [row.split() for name, _, row in devices if name.strip() != "lo"]
        return sum(int(row[0]) + int(row[8]) for row in columns)

    def address(self, port: int) -> tuple[str, int]:
        """Host and port under which this machine reaches a published port, or an unpublished one of a network."""
        self._container.reload()
        settings = self._container.attrs["NetworkSettings"]
        published = (settings["Ports"] or {}).get(f"{port}/tcp")
        if published:
            return "127.0.0.1", int(published[0]["HostPort"])
        addresses = [each["IPAddress"] for each in settings["Networks"].values() if each["IPAddress"]]
        if not addresses:
            raise ContainerError(f"Port {port} cannot be reached: the container has no network, or has ended.")
        return addresses[0], port

    def remove(self) -> None:
        with suppress(NotFound):
            self._container.remove(force=True, v=True)

    def _state(self) -> dict[str, Any]:
        self._container.reload()
        state: dict[str, Any] = self._container.attrs["State"]
        return state

    def _wait_for_end(self, timeout_s: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + timeout_s
        while True:
            state = self._state()
            if not state["Running"]:
                return state
            if time.monotonic() >= deadline:
                return None
            time.sleep(_POLL_S)

    def _kill(self) -> None:
        self.send("SIGKILL")
        self._wait_for_end(30)

    def _follow(self) -> None:
        """Gathers the log's lines as they come; Docker hands out pieces, not lines."""
        rest = b""
        with suppress(DockerException, OSError):  # the container may be removed under our hands: then this is the end
            for piece in self._container.logs(stream=True, follow=True):
                *lines, rest = (rest + piece).split(b"\n")
                self._add(lines)
        self._add([rest] if rest else [])
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def _add(self, lines: Sequence[bytes]) -> None:
        with self._changed:
            self._lines += [line.decode(errors="replace").rstrip("\r") for line in lines]
            self._changed.notify_all()


class Containers:
    """Starts containers and removes every one of them, with their networks, when the block is left."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401  docker-py has no types
        self.client = client
        self._owner = _owner(os.getpid())
        self._containers: list[RunningContainer] = []
        self._networks: list[Any] = []

    def __enter__(self) -> Self:
        remove_remains(self.client)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove_all()

    def start(self, image: str, command: Sequence[str] = (), **options: Any) -> RunningContainer:  # noqa: ANN401
        """A started container; the options are those of `create`."""
        container = self.create(image, command, **options)
        container.start()
        return container

    def create(
        self,
        image: str,
        command: Sequence[str] = (),
        *,
        mounts: Iterable[Mount] = (),
        environment: Mapping[str, str] | None = None,
        network: str = "none",
        hostname: str | None = None,
        publish: Sequence[int] = (),
        user: str | None = None,
        memory_mb: int | None = None,
        shared_memory_mb: int | None = None,
        is_read_only: bool = False,
        entrypoint: Sequence[str] | None = None,
    ) -> RunningContainer:
        """A container that waits to be started. Raises ContainerError with Docker's reason.

        network: "none", "bridge", or one made by `network`. publish: ports to reach on 127.0.0.1 (not with "none").
        memory_mb: no swap beyond it. is_read_only: the image's own files; /tmp stays writable.
        """
        volumes = [f"{each.source.resolve()}:{each.target}:{'ro' if each.is_read_only else 'rw'}" for each in mounts]
        more: dict[str, Any] = {}
        if memory_mb is not None:
            more |= {"mem_limit": memory_mb * _MIB, "memswap_limit": memory_mb * _MIB}
        if shared_memory_mb is not None:
            more |= {"shm_size": shared_memory_mb * _MIB}
        if is_read_only:
            more |= {"read_only": True, "tmpfs": {"/tmp": "exec,mode=1777"}}  # noqa: S108  the container's own
        if entrypoint is not None:
            more |= {"entrypoint": list(entrypoint)}
        if network not in ("none", "bridge"):
            more |= {"networking_config": self._alias(network, hostname)}
        try:
            made = self.client.containers.create(
                image,
                list(command),
                volumes=volumes,
                environment=dict(environment or {}),
                network=network,
                hostname=hostname,
                ports={f"{port}/tcp": ("127.0.0.1", None) for port in publish},
                user=user,
                labels={OWNER_LABEL: self._owner},
                **more,
            )
        except APIError as error:
            raise ContainerError(_reason(error)) from error
        container = RunningContainer(made, network=network)
        self._containers.append(container)
        return container

    def network(self, *, is_internal: bool = True) -> str:
        """The name of a new network on which containers find each other by host name; internal: and nothing else."""
        name = f"kennel-conformance-{os.getpid()}-{len(self._networks)}"
        try:
            made = self.client.networks.create(name, internal=is_internal, labels={OWNER_LABEL: self._owner})
        except APIError as error:
            raise ContainerError(_reason(error)) from error
        self._networks.append(made)
        return name

    def take_over(self, image: str, folders: Sequence[Path]) -> None:
        """Makes what containers wrote into these folders the caller's, who could not delete root's files otherwise.

        Done by the image itself, for any other may not be here; one without `chown` leaves the files as they are.
        """
        owner = f"{os.geteuid()}:{os.getegid()}"
        if os.geteuid() == 0 or not any(_has_foreign_files(folder) for folder in folders):
            return
        mounts = [Mount(folder, f"/kennel/{number}") for number, folder in enumerate(folders)]
        with suppress(ContainerError):
            cleaner = self.start(image, ["-R", owner, "/kennel"], entrypoint=["chown"], user="0", mounts=mounts)
            cleaner.wait(timeout_s=60)
            self.remove(cleaner)

    def remove(self, container: RunningContainer) -> None:
        container.remove()
        self._containers.remove(container)

    def remove_all(self) -> None:
        """Networks last: a network with a container in it cannot go."""
        while self._containers:
            self._containers.pop().remove()
        while self._networks:
            with suppress(NotFound):
                self._networks.pop().remove()

    def _alias(self, network: str, hostname: str | None) -> Any:  # noqa: ANN401
        """docker-py's way to give a container a name on a network."""
        endpoint = self.client.api.create_endpoint_config(aliases=[hostname] if hostname else [])
        return {network: endpoint}


def _has_foreign_files(folder: Path) -> bool:
    return any(path.lstat().st_uid != os.geteuid() for path in folder.rglob("*"))


def remove_remains(client: Any) -> None:  # noqa: ANN401
    """Removes what earlier processes of this machine left when they were killed."""
    filters = {"label": OWNER_LABEL}
    for container in client.containers.list(all=True, filters=filters, ignore_removed=True):
        if _is_abandoned(container.labels.get(OWNER_LABEL, "")):
            with suppress(NotFound, APIError):
                container.remove(force=True, v=True)
    for network in client.networks.list(filters=filters):
        if _is_abandoned((network.attrs.get("Labels") or {}).get(OWNER_LABEL, "")):
            with suppress(NotFound, APIError):
                network.remove()


def _owner(pid: int) -> str:
    """Names a process for good: machine, process namespace, number, and start, for numbers are used again."""
    return f"{socket.gethostname()}/{os.readlink('/proc/self/ns/pid')}/{pid}/{_start_of(pid)}"


def _is_abandoned(owner: str) -> bool:
    """Whether the process has ended; False for a process that cannot be seen from here."""
    place, _, process = owner.rpartition("/")[0].rpartition("/")
    if not process.isdigit() or place != _owner(os.getpid()).rsplit("/", 2)[0]:
        return False
    return owner != _owner(int(process))


def _start_of(pid: int) -> str:
    """The process's start in clock ticks since boot; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _reason(error: APIError) -> str:
    return str(error.explanation or error)


def connect() -> Any:  # noqa: ANN401  docker-py has no types
    """A client of the Docker Engine that DOCKER_HOST names, or of this machine's. Raises ContainerError."""
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        raise ContainerError(
            f"No Docker Engine answers ({error}). Start Docker, or name one by DOCKER_HOST; the check runs containers."
        ) from error
    return client
