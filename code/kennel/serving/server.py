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

An archive may bring a script of its own (kennel.serving.script): then importing it and its model_fn take the place of
the golden predictions, here and below.

**When it ends.** On SIGTERM or SIGINT: when no worker has been at a request for a moment, 24 s later at most
(SageMaker kills after 30 s); then java and the workers; exit status 0. A second signal does not wait.
Nobody but Java can close Java's port, so a request that comes meanwhile is answered, too. When the model cannot be
served, any of the three processes ends (multi-model-server would serve on without), or all workers hang
(kennel.serving.vitals): everything is ended, the last line on stderr is `ERROR ...` with the reason, and the exit
status is not 0, so that the platform starts the container again. When `serve` itself is killed with SIGKILL, the kernel
kills its children, and theirs (kennel.orphans). As a container's first process it reaps every orphan.

**Many models.** With SAGEMAKER_MULTI_MODEL=true there is neither java nor a model at the start:

    serve ─┬─ python nursery: has imported all that a model needs (kennel.serving.nursery)
           │    └── python keeper: a fork of it for each model that is loaded, and under it the model's workers
           └─ python gateway: HTTP, and the models' workers behind it (kennel.serving.gateway)

The port opens when the nursery is ready; on SIGTERM it closes, and what is under way is answered. A model that is lost
costs that model; the end of the nursery or the gateway ends the container as above.

**What stays multi-model-server's own.** A body over the limit gets its bare 413, because only code in Java could answer
before the body was read. GET /invocations is 400 (no picture), not 405: workers are not told the method.
"""

import errno
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self, TypeVar

from kennel.errors import ContractError, KennelError, UserError
from kennel.orphans import adopt_orphans, die_with_parent, reap_orphans
from kennel.serving.frontend import (
    GATEWAY_LIFELINE,
    NURSERY_LIFELINE,
    PULSE,
    STANDIN_LIFELINE,
    WORKER_LIFELINE,
    environment,
    gateway_command,
    java_command,
    nursery_command,
    private_folder,
    ready_workers,
    worker_command,
    write_files,
)
from kennel.serving.java import Java, find_java
from kennel.serving.lifeline import Ended, Failed, LifelineReader, Loaded, Message, Ready, summary
from kennel.serving.pulse import PulseReader
from kennel.serving.settings import ServerSettings, read_settings, unused_settings
from kennel.serving.vitals import LOOK_S, Vitals
from kennel.stand_in import STANDS_IN_FOR, stand_in_note

# After as long multi-model-server gives up a model that it cannot get, and serves without: it must not come to that.
_JAVA_DEADLINE_S: Final = 55.0
# SageMaker kills 30 s after SIGTERM; java takes under a second, and a gateway as long as its requests (24 s at most).
_END_DEADLINE_S: Final = 2.0
_GATEWAY_END_DEADLINE_S: Final = 26.0
_DRAIN_S: Final = 24.0
# Nobody at work for as long: the answers are out, and no further request was on its way through Java.
_QUIET_S: Final = 0.3
_MEMORY: Final = "If memory ran out, use a larger instance, or set SAGEMAKER_MODEL_SERVER_WORKERS lower."


def main() -> None:
    """Serves until stopped, and exits with the status that says how it ended."""
    if image := os.environ.get(STANDS_IN_FOR):
        print(stand_in_note(image), flush=True)
    if unused := unused_settings(os.environ):
        print(f"Not used by this server: {', '.join(unused)}. Its own are SAGEMAKER_MODEL_SERVER_*.", flush=True)
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
    with _Watch() as watch:
        if settings.is_multi_model:
            _check_port(settings)
        else:
            java = find_java()
            _check_model_dir(settings.model_dir)
            _check_port(settings)
        adopt_orphans()
        with private_folder(is_for_java=not settings.is_multi_model) as folder, _Family(folder) as family:
            if settings.is_multi_model:
                _serve_many(settings, watch, folder, family)
            else:
                _serve_one(settings, watch, folder, family, java)


def _serve_one(settings: ServerSettings, watch: "_Watch", folder: Path, family: "_Family", java: Java) -> None:
    started = time.monotonic()
    write_files(folder, settings)
    watch.listen(folder / WORKER_LIFELINE)
    family.start("The worker", worker_command(folder))
    loaded = _until_told(Loaded, family, watch, settings.startup_timeout_s)
    watch.listen(folder / STANDIN_LIFELINE)
    family.start("multi-model-server (java)", java_command(folder, settings, java))
    workers = _until_ready(family, watch, folder, wanted=settings.workers)
    print(_ready_line(settings, java, loaded, workers, time.monotonic() - started), flush=True)
    with closing(PulseReader(folder / PULSE)) as pulse:
        try:
            _stay(settings, family, watch, pulse)
        except _Stopped:
            _drain(family, watch, pulse)
            raise


def _serve_many(settings: ServerSettings, watch: "_Watch", folder: Path, family: "_Family") -> None:
    started = time.monotonic()
    watch.listen(folder / NURSERY_LIFELINE)
    family.start("The nursery", nursery_command(folder))
    _until_told(Ready, family, watch, settings.startup_timeout_s)
    watch.listen(folder / GATEWAY_LIFELINE)
    family.start("The gateway", gateway_command(folder), end_deadline_s=_GATEWAY_END_DEADLINE_S, prints=True)
    _until_told(Ready, family, watch, settings.startup_timeout_s)
    print(
        f"ready: http://{settings.address}:{settings.port} multi_model=true engine={settings.engine} "
        f"workers={settings.workers} timeout_s={settings.timeout_s} start_s={time.monotonic() - started:.2f}",
        flush=True,
    )
    while True:
        family.check(watch.next(None))


def _stay(settings: ServerSettings, family: "_Family", watch: "_Watch", pulse: PulseReader) -> None:
    """Raises what ends the server."""
    with closing(Vitals(pulse, settings.port, timeout_s=settings.timeout_s)) as vitals:
        next_look = time.monotonic() + LOOK_S
        while True:
            family.check(watch.next(max(0.0, next_look - time.monotonic())))
            if time.monotonic() >= next_look:
                vitals.look()
                next_look = time.monotonic() + LOOK_S


def _drain(family: "_Family", watch: "_Watch", pulse: PulseReader) -> None:
    """Returns when no worker has been at work for a moment, or need not be waited for any longer."""
    last_busy = started = time.monotonic()
    signals = watch.stops
    while (now := time.monotonic()) < min(started + _DRAIN_S, last_busy + _QUIET_S):
        if watch.stops > signals or family.has_ended():
            return
        if pulse.is_busy():
            last_busy = now
        time.sleep(0.01)


class _Stopped(Exception):
    """SIGTERM or SIGINT came."""


class _ServingError(KennelError):
    """A reason that was told by another process, with the name of its type, and the exit status that goes with it."""

    def __init__(self, reason: str, exit_status: int = 1) -> None:
        super().__init__(reason)
        self.exit_status = exit_status


class _Watch:
    """What the supervisor waits for, in one place: signals (also that a child has ended) and the two lifelines.

    stops: how many signals have asked to stop.
    """

    def __init__(self) -> None:
        self.stops = 0
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

    def next(self, timeout_s: float | None) -> Message | None:
        """The next message; None after `timeout_s` or any signal. Raises _Stopped."""
        ready = {key.fd for key, _ in self._selector.select(timeout_s)}
        if self._wakeup.fileno() in ready:
            self._wakeup.recv(4096)
        if self.stops:
            raise _Stopped
        messages = (reader.read() for fd, reader in self._lifelines.items() if fd in ready)
        return next((each for each in messages if each), None)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self.stops += 1


class _Family:
    """The processes that serve: none of them can do without the others, and none outlives the `with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._end_deadlines_s: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, process in reversed(self._processes.items()):
            _end(process, self._end_deadlines_s[name])
        _wait_for_all()

    def start(
        self, name: str, command: Sequence[str], *, end_deadline_s: float = _END_DEADLINE_S, prints: bool = False
    ) -> None:
        """Starts a process in a group of its own.

        prints: to our stdout; else what it prints is kept for when it fails.
        """
        self._end_deadlines_s[name] = end_deadline_s
        with open(self._folder / "stdout", "ab") as kept:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment(self._folder),
                stdin=subprocess.DEVNULL,
                stdout=None if prints else kept,
                process_group=0,
                preexec_fn=die_with_parent,  # this process has no threads, which is what makes it safe
            )

    def check(self, message: Message | None) -> None:
        """Raises KennelError when the server cannot go on."""
        reap_orphans(except_for=[process.pid for process in self._processes.values()])
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

    def has_ended(self) -> bool:
        """Whether any of them has."""
        return self._ended(0.0)[1] is not None

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


_Told = TypeVar("_Told", Loaded, Ready)


def _until_told(kind: type[_Told], family: _Family, watch: _Watch, timeout_s: float) -> _Told:
    """What a process says once it can do its work."""
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        message = watch.next(left_s)
        if isinstance(message, kind):
            return message
        family.check(message)
    raise KennelError(
        f"What serves was not loaded within {timeout_s:.0f} s. "
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
    engine = "" if "script" in loaded.model else f"engine={settings.engine} "
    return (
        f"ready: http://{settings.address}:{settings.port} {engine}{summary(loaded.model, loaded.golden)} "
        f"workers={workers}/{settings.workers} timeout_s={settings.timeout_s} java={java.version} "
        f"load_s={loaded.load_s} start_s={start_s:.2f}"
    )


def _end(process: subprocess.Popen[bytes], deadline_s: float) -> None:
    """Ends a process and its group: it may end in its own way, the rest is killed."""
    process.terminate()
    try:
        process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _wait_for_all() -> None:
    """Returns when every orphan of theirs, now a child of this process, is gone.

    In a container also others' orphans come here, which nobody ends: they are not waited for long.
    """
    deadline = time.monotonic() + _END_DEADLINE_S
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.005)
