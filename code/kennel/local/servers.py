"""One running `serve` program: its folder, its address, its health, its end."""

import http.client
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kennel.local.archives import unpack
from kennel.local.log_file import read_events
from kennel.local.machine import Machine
from kennel.local.models import is_folder, model_uri
from kennel.local.processes import RunningProgram
from kennel.local.runners import Address, Hosted, Place, Serving, runner_of
from kennel.local.storage import read_address

# SageMaker waits two seconds for an answer to /ping.
_PING_S: Final = 2.0
_REASON: Final = 1024
_ERROR_LINE: Final = re.compile(r"\b(ERROR|CRITICAL|FATAL|[A-Za-z]*Error:)")


class ServerFailure(Exception):
    """A server cannot serve; the message is the endpoint's FailureReason."""


class Server:
    """A `serve` program for one model."""

    def __init__(self, hosted: Hosted, place: Place, machine: Machine) -> None:
        self.place = place
        self._hosted = hosted
        self._container = hosted.container
        self._machine = machine
        self._runner = runner_of(machine, hosted.model)
        self._serving: Serving | None = None
        self._running: RunningProgram | None = None

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
        """Starts the program."""
        self._serving = self._runner.serving(self._hosted, self.place)
        self._running = self._machine.processes.start(self._serving.program)

    @property
    def address(self) -> Address | None:
        """Where it is reached, once that is known."""
        return self._serving.address() if self._serving else None

    def wait_until_healthy(self, limit_s: float, is_wanted: Callable[[], bool]) -> None:
        """Returns when /ping answers 200, or when the server is no longer wanted. Raises ServerFailure otherwise.

        limit_s: counted from when it has an address, since an image may have to be fetched before.
        """
        end = float("inf")
        while is_wanted():
            if (code := self.exit_status(self._machine.settings.ping_every_s)) is not None:
                raise ServerFailure(self._reason(f"its server ended with exit status {code}"))
            address = self.address
            if address is None:
                continue
            end = min(end, time.monotonic() + limit_s)
            if _answers_ping(address):
                return
            if time.monotonic() > end:
                raise ServerFailure(
                    self._reason(f"it did not pass the ping health check on port {address.port} within {limit_s:g} s")
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
        if self._serving and self._serving.program.scratch:  # the guard removes it, unless it was killed
            shutil.rmtree(self._serving.program.scratch, ignore_errors=True)

    def kill(self) -> None:
        """Ends the program without its grace time; for a stop that is under way."""
        if running := self._running:
            running.kill()

    def _reason(self, what: str) -> str:
        return f"The primary container could not serve: {what}. {_last_words(self.place.log)}"[:_REASON]


def _answers_ping(address: Address) -> bool:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_PING_S)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):  # not listening yet, or too slow
        return False
    finally:
        connection.close()


def _last_words(log: Path) -> str:
    """The last line of a log that tells of an error, else its last lines."""
    lines = [event.message.strip() for event in read_events(log) if event.message.strip()]
    errors = [line for line in lines if _ERROR_LINE.search(line)]
    if errors:
        return f"Its log says: {errors[-1]}"
    return f"Its log ends with: {' | '.join(lines[-5:])}" if lines else "Its log is empty."
