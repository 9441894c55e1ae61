"""One running `serve` program: its folder, its port, its health, its end."""

import errno
import hashlib
import http.client
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.local.archives import unpack
from kennel.local.log_file import read_events, times_file
from kennel.local.machine import Machine, serving_environ
from kennel.local.models import is_folder, model_uri
from kennel.local.processes import Program, RunningProgram
from kennel.local.settings import HOST
from kennel.local.storage import read_address
from kennel.local.validation import Json
from kennel.paths import MlPaths

# SageMaker waits two seconds for an answer to /ping.
_PING_S: Final = 2.0
_REASON: Final = 1024
_ERROR_LINE: Final = re.compile(r"\b(ERROR|CRITICAL|FATAL|[A-Za-z]*Error:)")


class ServerFailure(Exception):
    """A server cannot serve; the message is the endpoint's FailureReason."""


@dataclass(frozen=True)
class Place:
    """Where a server's files are: one server of an endpoint after another has another number."""

    folder: Path
    number: int

    @property
    def ml(self) -> MlPaths:
        return MlPaths(self.folder / f"ml{self.suffix}")

    @property
    def log(self) -> Path:
        return self.folder / f"log{self.suffix}.txt"

    def clear(self) -> None:
        """Removes what an endpoint of the same name left, when its deletion was cut short."""
        shutil.rmtree(self.ml.base, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        times_file(self.log).unlink(missing_ok=True)

    @property
    def suffix(self) -> str:
        return f"-{self.number}" if self.number > 1 else ""


class Server:
    """A `serve` program for one model."""

    def __init__(self, endpoint: str, container: Json, place: Place, machine: Machine) -> None:
        self.endpoint = endpoint
        self.place = place
        self.port = 0
        self._container = container
        self._machine = machine
        self._running: RunningProgram | None = None
        self._scratch: Path | None = None

    def bring_model(self) -> None:
        """Puts the model into ml/model. Raises ContractError, or what the local S3 raises."""
        model_dir = self.place.ml.model_dir
        self.place.clear()
        model_dir.parent.mkdir(parents=True, exist_ok=True)
        uri = model_uri(self._container)
        if uri is None:
            model_dir.mkdir()
            return
        address = read_address(uri)
        if isinstance(address, Path):
            if address.is_dir():
                model_dir.symlink_to(address, target_is_directory=True)
            else:
                unpack(address, model_dir)
        elif is_folder(self._container):
            self._machine.s3.download_folder(address, model_dir)
        else:
            archive = self.place.folder / f"model{self.place.suffix}.tar.gz"
            self._machine.s3.download(address, archive)
            unpack(archive, model_dir)
            archive.unlink()

    def start(self) -> None:
        """Starts the program on a free port."""
        self.port = free_port()
        self._scratch = make_scratch(self._machine.layout.runs)
        environ = serving_environ(
            self._machine, self._container, base=self.place.ml.base, port=self.port, scratch=self._scratch
        )
        self._running = self._machine.processes.start(
            Program(
                owner=f"endpoints/{self.endpoint}/{self.place.number}",
                command=self._machine.settings.serve_command,
                environ=environ,
                cwd=self._scratch,
                log=self.place.log,
                grace_s=self._machine.settings.serve_grace_s,
                scratch=self._scratch,
            )
        )

    def wait_until_healthy(self, limit_s: float, is_wanted: Callable[[], bool]) -> None:
        """Returns when /ping answers 200, or when the server is no longer wanted. Raises ServerFailure otherwise."""
        end = time.monotonic() + limit_s
        while is_wanted():
            if (code := self.exit_status(self._machine.settings.ping_every_s)) is not None:
                raise ServerFailure(self._reason(f"its server ended with exit status {code}"))
            if self._answers_ping():
                return
            if time.monotonic() > end:
                raise ServerFailure(
                    self._reason(f"it did not pass the ping health check on port {self.port} within {limit_s:g} s")
                )

    def exit_status(self, timeout_s: float) -> int | None:
        """The program's exit status, or None if it still runs after `timeout_s`."""
        return self._running.wait(timeout_s) if self._running else 0

    def died(self, code: int) -> ServerFailure:
        """What to say of a server that ended by itself while in service."""
        return ServerFailure(self._reason(f"its server ended with exit status {code} while in service"))

    def stop(self) -> None:
        """Stops the program (SIGTERM, 30 s, SIGKILL) and everything it started; frees the port and the scratch."""
        if self._running:
            self._machine.processes.end(self._running)
            self._running = None
        if self._scratch:  # the guard removes it, unless it was killed
            shutil.rmtree(self._scratch, ignore_errors=True)

    def kill(self) -> None:
        """Ends the program without its grace time; for a stop that is under way."""
        if running := self._running:
            running.kill()

    def _answers_ping(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_PING_S)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):  # not listening yet, or too slow
            return False
        finally:
            connection.close()

    def _reason(self, what: str) -> str:
        return f"The primary container could not serve: {what}. {_last_words(self.place.log)}"[:_REASON]


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now.

    Below 32,767, because multi-model-server 1.1.11 calls any other invalid; so it cannot be left to the kernel.
    Raises OSError when a thousand tries find none.
    """
    for _ in range(1000):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise OSError(errno.EADDRINUSE, "No port from 20000 to 31999 is free")


def make_scratch(runs: Path) -> Path:
    """A new folder for temporary files; short, since unix sockets in it may have names of 107 characters at most."""
    return Path(tempfile.mkdtemp(prefix=_scratch_prefix(runs)))


def remove_old_scratch(runs: Path) -> None:
    """Removes temporary folders that a killed service and its killed guards left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_scratch_prefix(runs)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _scratch_prefix(runs: Path) -> str:
    digest = hashlib.sha256(str(runs).encode()).hexdigest()[:8]
    return f"kennel-{os.getuid()}-{digest}-"


def _last_words(log: Path) -> str:
    """The last line of a log that tells of an error, else its last lines."""
    lines = [event.message.strip() for event in read_events(log) if event.message.strip()]
    errors = [line for line in lines if _ERROR_LINE.search(line)]
    if errors:
        return f"Its log says: {errors[-1]}"
    return f"Its log ends with: {' | '.join(lines[-5:])}" if lines else "Its log is empty."
