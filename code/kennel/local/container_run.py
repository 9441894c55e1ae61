"""Runs one order's containers: what `train` and `serve` are for the place `docker`, seen from their guard.

    KENNEL_PROCESS_OF=RUNS:OWNER python -P -m kennel.local.container_run ORDER.json

Prints what the containers print, passes SIGTERM on, ends with their exit status and removes what it made. It stands
under kennel.local.guard as every program does; when it is killed, the guard, or the service, or the next service
removes the containers by their label (kennel.local.engine).

    one host        its output and its exit status are the program's
    several         a network of their own, where their names resolve; the lines of all but the first begin with the
                    host's name. The first failure ends the others, and its exit status counts.
Exit statuses of its own, as docker run has them: 125 Docker's fault, 126 cannot be executed, 127 not found.
"""

import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from docker.errors import APIError, DockerException, NotFound
from docker.types import LogConfig
from docker.types import Mount as DockerMount

from kennel.local.container_order import BRIDGE, ISOLATED, NONE, PEERS, ContainerOrder, Host, read_order
from kennel.local.engine import ENGINE_ERRORS, LABEL, connect, user_settings
from kennel.local.gpus import device_requests, machine_has_gpu
from kennel.local.json_file import write_json
from kennel.local.remains import MARKER
from kennel.local.settings import HOST

_PORT: Final = "8080/tcp"
# How long Docker may take to make or start a container on a machine that is busy with others.
_START_S: Final = 300.0
# How long hosts get to end once another one has failed, and output to arrive once its container has ended.
_PEER_GRACE_S: Final = 10.0
_OUTPUT_S: Final = 5.0
# What docker run answers when it cannot start a program, by what Docker says of it.
_START_STATUS: Final = (("executable file not found", 127), ("no such file", 127), ("permission denied", 126))


class Stopped(Exception):
    """Asked to end before there was anything to end."""


class ContainerRun:
    """One order's containers, from their making to their removal. Signals and ends of containers come as events."""

    def __init__(self, order: ContainerOrder, owner: str) -> None:
        self._order = order
        self._labels = {LABEL: owner}
        self._name = f"kennel-{order.name[:40]}-{secrets.token_hex(3)}"
        # Its put() may be called in a signal handler.
        self._events: SimpleQueue[int | tuple[str, int]] = SimpleQueue()
        self._containers: dict[str, Any] = {}
        self._followers: list[threading.Thread] = []
        self._network: Any = None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self._events.put(number))

    def run(self) -> int:
        """Runs the containers to their end and returns the exit status."""
        try:
            with connect(timeout_s=_START_S) as self._client:
                try:
                    return self._run()
                finally:
                    self._remove()
        except Stopped:
            return 128 + signal.SIGTERM
        except APIError as error:
            say(f"cannot run '{self._order.image}': {error.explanation or error}")
            text = str(error.explanation or error).lower()
            return next((status for words, status in _START_STATUS if words in text), 125)
        except ENGINE_ERRORS as error:
            say(f"Docker does not answer: {error}")
            return 125

    def _run(self) -> int:
        self._bring_image()
        info = self._client.info()
        self._network = self._make_network()
        for host in self._order.hosts:
            self._stop_if_asked()
            self._containers[host.name] = self._client.containers.create(**self._settings(host, info))
        for index, host in enumerate(self._order.hosts):
            self._start(host, prefix=f"{host.name} | ".encode() if index else b"")
        if self._order.address_file:
            self._write_address(Path(self._order.address_file))
        return self._wait()

    def _bring_image(self) -> None:
        """Pulls an image that is not here; the registry was asked for it when the job was created."""
        try:
            self._client.images.get(self._order.image)
        except NotFound:
            say(f"pulling '{self._order.image}'", level="INFO")
            for progress in self._client.api.pull(self._order.image, stream=True, decode=True):
                self._stop_if_asked()
                if "error" in progress:
                    raise DockerException(progress["error"]) from None

    def _make_network(self) -> Any:  # noqa: ANN401  docker-py's Network
        if self._order.network not in (PEERS, ISOLATED):
            return None
        is_internal = self._order.network == ISOLATED
        return self._client.networks.create(self._name, driver="bridge", internal=is_internal, labels=self._labels)

    def _settings(self, host: Host, info: dict[str, Any]) -> dict[str, Any]:
        order = self._order
        requests = self._device_requests(info)
        return {
            "image": order.image,
            "command": list(order.command),
            "name": f"{self._name}-{host.name}",
            "hostname": host.name,
            "environment": order.environment,
            "labels": self._labels,
            "mounts": [
                DockerMount(each.target, each.source, type="bind", read_only=each.read_only) for each in host.mounts
            ],
            "log_config": LogConfig(type="none"),  # the log is the guard's to write; once is enough
            **self._network_settings(host),
            **({"entrypoint": list(order.entrypoint)} if order.entrypoint is not None else {}),
            **({"shm_size": order.shm_bytes} if order.shm_bytes else {}),
            **(user_settings(info) if order.as_caller else {}),
            **({"device_requests": requests} if requests else {}),
        }

    def _network_settings(self, host: Host) -> dict[str, Any]:
        # sagemaker-training waits without end for a host name that does not resolve, as it would not without a network.
        if self._order.network == NONE:
            return {"network_mode": "none", "extra_hosts": {host.name: HOST}}
        published = {_PORT: (HOST,)} if self._order.address_file and self._order.network == BRIDGE else {}
        if self._network is None:
            return {"ports": published}
        aliases = self._client.api.create_endpoint_config(aliases=[host.name])
        return {"network": self._network.name, "networking_config": {self._network.name: aliases}}

    def _device_requests(self, info: dict[str, Any]) -> list[Any]:
        kind = self._order.instance_type
        return device_requests(info, kind, machine_has_gpu=machine_has_gpu())

    def _start(self, host: Host, *, prefix: bytes) -> None:
        self._stop_if_asked()
        container = self._containers[host.name]
        output = container.attach(stream=True)  # before the start, so that no line is missed
        container.start()
        follower = threading.Thread(target=self._follow, args=(host.name, container, output, prefix), daemon=True)
        self._followers.append(follower)
        follower.start()

    def _follow(self, name: str, container: Any, output: Iterator[bytes], prefix: bytes) -> None:  # noqa: ANN401
        """Passes a container's output on, and tells when it has ended."""
        try:
            printing = threading.Thread(target=pass_on, args=(output, prefix), daemon=True)
            printing.start()
            code = int(container.wait()["StatusCode"])
            printing.join(_OUTPUT_S)
        except ENGINE_ERRORS as error:
            say(f"Docker went away: {error}")
            code = 125
        self._events.put((name, code))

    def _wait(self) -> int:
        """The exit status of the first host that fails, 0 if none does."""
        codes: dict[str, int] = {}
        kill_at = float("inf")
        while len(codes) < len(self._containers):
            try:
                event = self._events.get(timeout=min(max(0.01, kill_at - time.monotonic()), 3600.0))
            except Empty:
                event = 0
            if isinstance(event, tuple):
                codes[event[0]] = event[1]
                if event[1] != 0 and kill_at == float("inf"):
                    kill_at = time.monotonic() + _PEER_GRACE_S
                    self._signal("SIGTERM", unless_in=codes)
            elif event:
                self._signal("SIGTERM", unless_in=codes)
            if time.monotonic() > kill_at:
                self._signal("SIGKILL", unless_in=codes)
                kill_at += 1.0
        self._tell_of_memory(codes)
        return next((code for code in codes.values() if code != 0), 0)

    def _signal(self, name: str, *, unless_in: dict[str, int]) -> None:
        for host, container in self._containers.items():
            if host not in unless_in:
                try:
                    container.kill(name)
                except APIError:  # it has just ended
                    continue

    def _tell_of_memory(self, codes: dict[str, int]) -> None:
        for host, container in self._containers.items():
            if codes[host] == 128 + signal.SIGKILL:
                container.reload()
                if container.attrs["State"].get("OOMKilled"):
                    say(f"{host} was killed because the machine, or Docker, has no more memory for it")

    def _write_address(self, path: Path) -> None:
        [container] = self._containers.values()
        container.reload()
        network = container.attrs["NetworkSettings"]
        if self._network is not None:
            write_json(path, {"host": network["Networks"][self._network.name]["IPAddress"], "port": 8080})
        elif bindings := network["Ports"].get(_PORT):
            write_json(path, {"host": HOST, "port": int(bindings[0]["HostPort"])})

    def _stop_if_asked(self) -> None:
        if not self._events.empty():
            raise Stopped

    def _remove(self) -> None:
        for resource in [*self._containers.values(), *([self._network] if self._network is not None else [])]:
            try:
                resource.remove(**({} if resource is self._network else {"force": True, "v": True}))
            except ENGINE_ERRORS:  # the guard tries again
                continue


def pass_on(output: Iterator[bytes], prefix: bytes) -> None:
    """Prints a container's output as it comes; with a prefix, by whole lines."""
    partial = b""
    for data in output:
        if not prefix:
            _write(data)
            continue
        *lines, partial = (partial + data).split(b"\n")
        _write(b"".join(prefix + line + b"\n" for line in lines))
    if partial:
        _write(prefix + partial + b"\n")


def say(text: str, *, level: str = "ERROR") -> None:
    """A line of our own in the program's log."""
    _write(f"kennel: {level} {' '.join(text.split())}\n".encode())


_stdout_lock = threading.Lock()


def _write(data: bytes) -> None:
    with _stdout_lock:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the order in the file given as the one argument."""
    [file] = sys.argv[1:] if argv is None else argv
    return ContainerRun(read_order(Path(file)), os.environ[MARKER]).run()


if __name__ == "__main__":
    sys.exit(main())
