"""`serve`: starts multi-model-server on a model, ends everything with it, and says why when it cannot.

    SAGEMAKER_BASE_DIR=/path/with/model KENNEL_LOOPBACK=1 SAGEMAKER_BIND_TO_PORT=8080 serve

    serve ─┬─ python worker parent: loads the model, replays its golden predictions
           │    ├── python worker: a fork of it
           │    └── ...
           └─ java: multi-model-server (HTTP, queue); talks to the workers over a socket
                └── python stand-in for the worker parent, which Java would have started (kennel.serving.standin)

**When /ping is healthy.** multi-model-server's own /ping is 200 in every state: while it loads, after a failed load,
with no model at all. So it is not started before the golden predictions were replayed by the process whose forks are
the workers. Until then a connection is refused, which SageMaker takes for "not yet", and a request costs nothing
more than it did. (A plugin in Java could mend /ping too, but would need a compiler at every change and a binary in
the repository. A proxy in front would cost every request a copy, and be one more thing to die.)

**When it ends.** On SIGTERM or SIGINT: java, then the workers; exit status 0. When the model cannot be served or any
of the three processes ends (multi-model-server would serve on without): everything is ended, the last line on stderr
is `ERROR ...` with the reason, and the exit status is not 0, so that the platform starts the container again. When
`serve` itself is killed with SIGKILL, the kernel kills its children, and theirs (kennel.orphans).
"""

import errno
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from kennel.errors import ContractError, KennelError, UserError
from kennel.orphans import adopt_orphans, die_with_parent
from kennel.serving.frontend import (
    STANDIN_LIFELINE,
    WORKER_LIFELINE,
    environment,
    java_command,
    private_folder,
    ready_workers,
    worker_command,
    write_files,
)
from kennel.serving.java import Java, find_java
from kennel.serving.lifeline import Ended, Failed, LifelineReader, Loaded
from kennel.serving.settings import ServerSettings, read_settings

# After as long multi-model-server gives up a model that it cannot get, and serves without: it must not come to that.
_JAVA_DEADLINE_S: Final = 55.0
# SageMaker kills 30 s after SIGTERM; java takes under a second.
_END_DEADLINE_S: Final = 10.0
_MEMORY: Final = "If memory ran out, use a larger instance, or set SAGEMAKER_MODEL_SERVER_WORKERS lower."


def main() -> None:
    """Serves until stopped, and exits with the status that says how it ended."""
    try:
        serve(read_settings())
    except _Stopped:
        sys.exit(0)
    except (KennelError, OSError) as error:  # OSError: a full disk, a missing permission
        reason = str(error) if isinstance(error, _ServingError) else f"{type(error).__name__}: {error}"
        print(f"ERROR {' '.join(reason.split())}", file=sys.stderr, flush=True)
        sys.exit(error.exit_status if isinstance(error, KennelError) else KennelError.exit_status)


def serve(settings: ServerSettings) -> None:
    """Serves until a signal says stop (_Stopped) or something is wrong (KennelError); leaves nothing running."""
    started = time.monotonic()
    with _Watch() as watch:
        java = find_java()
        _check_model_dir(settings.model_dir)
        _check_port(settings)
        adopt_orphans()
        with private_folder() as folder, _Family(folder) as family:
            write_files(folder, settings)
            watch.listen(folder / WORKER_LIFELINE)
            family.start("The worker", worker_command(folder))
            loaded = _until_loaded(family, watch, settings.startup_timeout_s)
            watch.listen(folder / STANDIN_LIFELINE)
            family.start("multi-model-server (java)", java_command(folder, settings, java))
            workers = _until_ready(family, watch, folder, wanted=settings.workers)
            print(_ready_line(settings, java, loaded, workers, time.monotonic() - started), flush=True)
            while True:
                family.check(watch.next(None))


class _Stopped(Exception):
    """SIGTERM or SIGINT came."""


class _ServingError(KennelError):
    """A reason that was told by another process, with the name of its type, and the exit status that goes with it."""

    def __init__(self, reason: str, exit_status: int = 1) -> None:
        super().__init__(reason)
        self.exit_status = exit_status


class _Watch:
    """What the supervisor waits for, in one place: signals (also that a child has ended) and the two lifelines."""

    def __init__(self) -> None:
        self._stop = False
        self._lifelines: dict[int, LifelineReader] = {}
        self._wakeup, self._signalled = socket.socketpair()
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        for end in (self._wakeup, self._signalled):
            end.setblocking(False)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # only to be woken up
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for end in (self._wakeup, self._signalled):
            end.close()
        for lifeline in self._lifelines.values():
            lifeline.close()

    def listen(self, lifeline: Path) -> None:
        """Makes a lifeline; from now on `next` gives what is told at its other end."""
        reader = LifelineReader(lifeline)
        self._lifelines[reader.fd] = reader
        self._selector.register(reader.fd, selectors.EVENT_READ)

    def next(self, timeout_s: float | None) -> Loaded | Failed | Ended | None:
        """The next message; None after `timeout_s` or any signal. Raises _Stopped."""
        ready = {key.fd for key, _ in self._selector.select(timeout_s)}
        if self._wakeup.fileno() in ready:
            self._wakeup.recv(4096)
        if self._stop:
            raise _Stopped
        messages = (reader.read() for fd, reader in self._lifelines.items() if fd in ready)
        return next((each for each in messages if each), None)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True


class _Family:
    """The processes that serve: none of them can do without the others, and none outlives the `with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes.values()):
            _end(process)
        _ignoring_absence(_wait_for_all)

    def start(self, name: str, command: Sequence[str]) -> None:
        """Starts a process in a group of its own. What it prints to stdout is kept for when it fails."""
        with open(self._folder / "stdout", "ab") as stdout:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment(self._folder),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                process_group=0,
                preexec_fn=die_with_parent,  # this process has no threads, which is what makes it safe
            )

    def check(self, message: Loaded | Failed | Ended | None) -> None:
        """Raises KennelError when the server cannot go on."""
        if isinstance(message, Failed):
            raise _ServingError(message.reason, message.exit_status)
        name, status = self._ended(1.0 if isinstance(message, Ended) else 0.0)
        if status is not None and status < 0:
            raise KennelError(f"{name} was killed by {signal.Signals(-status).name}. {_MEMORY}")
        if status is not None:
            sys.stderr.write((self._folder / "stdout").read_text(errors="replace"))
            raise KennelError(f"{name} ended by itself with status {status}. Its reason is above.")
        if isinstance(message, Ended):
            raise KennelError(f"A process that multi-model-server needs was killed. {_MEMORY}")

    def _ended(self, grace_s: float) -> tuple[str, int | None]:
        """A process that has ended, with its status. A process's lifeline ends a moment before it does itself."""
        deadline = time.monotonic() + grace_s
        while True:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    return name, process.returncode
            if time.monotonic() >= deadline:
                return "", None
            time.sleep(0.01)


def _check_model_dir(model_dir: Path) -> None:
    if not model_dir.is_dir():
        raise ContractError(
            f"There is no model: {model_dir} is not a folder. Expected an unpacked model.tar.gz there "
            "(SAGEMAKER_BASE_DIR moves /opt/ml)."
        )


def _check_port(settings: ServerSettings) -> None:
    """Raises UserError now rather than after the model was loaded."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.address, settings.port))
        except OSError as error:
            what = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
            raise UserError(
                f"Port {settings.port} on {settings.address} {what}. Stop what uses it, or set SAGEMAKER_BIND_TO_PORT."
            ) from error


def _until_loaded(family: _Family, watch: _Watch, timeout_s: float) -> Loaded:
    """What the worker says of the model it loaded."""
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        message = watch.next(left_s)
        if isinstance(message, Loaded):
            return message
        family.check(message)
    raise KennelError(
        f"The model was not loaded within {timeout_s:.0f} s. "
        "Set SAGEMAKER_STARTUP_TIMEOUT higher, or use a larger instance."
    )


def _until_ready(family: _Family, watch: _Watch, folder: Path, *, wanted: int) -> int:
    """How many workers multi-model-server has: `wanted`, or what it has after a time. Its port is open by then."""
    deadline = time.monotonic() + _JAVA_DEADLINE_S
    while (workers := ready_workers(folder)) < wanted and time.monotonic() < deadline:
        family.check(watch.next(0.05))
    if workers:
        return workers
    raise KennelError(f"multi-model-server (java) had no worker within {_JAVA_DEADLINE_S:.0f} s. Its log is above.")


def _ready_line(settings: ServerSettings, java: Java, loaded: Loaded, workers: int, start_s: float) -> str:
    return (
        f"ready: http://{settings.address}:{settings.port} engine={settings.engine} "
        f"backbone={loaded.model['backbone']} classes={loaded.model['classes']} golden={loaded.golden} "
        f"workers={workers}/{settings.workers} timeout_s={settings.timeout_s} java={java.version} "
        f"load_s={loaded.load_s} start_s={start_s:.2f}"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and its group: it may end in its own way, the rest is killed."""
    process.terminate()
    try:
        process.wait(_END_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _ignoring_absence(lambda: os.killpg(process.pid, signal.SIGKILL))


def _wait_for_all() -> None:
    """Returns when every orphan of theirs, now a child of this process, is gone."""
    while True:
        os.wait()


def _ignoring_absence(action: Callable[[], None]) -> None:
    try:
        action()
    except (ProcessLookupError, ChildProcessError):
        return
