"""Trainings that start without importing anything: forked from a process that has imported all they need.

    python -P -m kennel.training.nursery FOLDER      # listens on FOLDER/nursery.sock, until SIGTERM

torch and torchvision take 3 to 5 s of CPU to import: more than training a head on shared features does. So the local
SageMaker starts one such process for a tuning job, and `train.py` asks at KENNEL_SHARED_DIR/nursery.sock whether there
is one. If so it stays behind as its stand-in: passes signals on, and ends as the forked training ends. If not, or if
this process started with other settings of threads or memory, it imports and trains by itself.

The training has the stand-in's arguments, environment, folder and output, and dies with it.
Exercise it: pytest tests/contract/test_training_nursery.py
"""

import array
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from kennel.orphans import die_with_parent
from kennel.training.library_settings import LIBRARY_SETTINGS
from kennel.training.stopping import StopRequest

SOCKET: Final = "nursery.sock"
# kennel.local.machine sets it; the same name there.
_SHARED_DIR: Final = "KENNEL_SHARED_DIR"
# What libraries read once, as they are loaded: a training that was told otherwise has to load them itself.
_READ_AT_IMPORT: Final = (
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_"),
    *("TORCH_", "PYTORCH_", "ATEN_", "DNNL_", "ONEDNN_", "LD_"),
)
_REFUSED: Final = 1000  # no exit status
_ORDER_LIMIT_S: Final = 5.0


# --- The stand-in -------------------------------------------------------------------------------------------------


def train_elsewhere(argv: Sequence[str], stop: StopRequest, environ: Mapping[str, str] = os.environ) -> int | None:
    """The exit status of the training with these arguments, forked from a nursery; None where there is none.

    stop: its signals are passed on. A training that was killed by a signal ends this process by the same one.
    """
    with _connected(environ) as connection:
        if connection is None or not _ask(connection, argv, environ):
            return None
        stop.install(lambda signum: _tell(connection, signum))
        if stop.signum is not None:  # it came before that
            _tell(connection, stop.signum)
        status = _status(connection)
        stop.install()
    if status is None or status < 0:
        _die(signal.SIGKILL if status is None else -status)
    return None if status == _REFUSED else status


@contextlib.contextmanager
def _connected(environ: Mapping[str, str]) -> Iterator[socket.socket | None]:
    folder = environ.get(_SHARED_DIR)
    if not folder or "TORCHELASTIC_RUN_ID" in environ:
        yield None
        return
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with _short(Path(folder)) as short:
                connection.connect(f"{short}/{SOCKET}")
        except OSError:  # nobody is there
            yield None
        else:
            yield connection


def _ask(connection: socket.socket, argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether the nursery heard what is to be trained."""
    order = {"argv": list(argv), "environ": dict(environ), "cwd": os.getcwd()}
    descriptors = array.array("i", [1, 2])
    content = json.dumps(order).encode() + b"\n"
    try:
        sent = connection.sendmsg([content], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        connection.sendall(content[sent:])
    except OSError:
        return False
    return True


def _tell(connection: socket.socket, signum: int) -> None:
    with contextlib.suppress(OSError):  # it has just ended
        connection.sendall(f"{signum}\n".encode())


def _status(connection: socket.socket) -> int | None:
    """What the nursery says of the training's end; None if it ended itself."""
    received = b""
    while not received.endswith(b"\n"):
        try:
            chunk = connection.recv(64)
        except OSError:
            chunk = b""
        if not chunk:
            return None
        received += chunk
    return int(received)


def _die(signum: int) -> NoReturn:
    if signum != signal.SIGKILL:
        signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
    os._exit(128 + signum)  # of a signal that ends nobody


# --- The nursery ---------------------------------------------------------------------------------------------


class Nursery:
    """Forks a training for everybody who asks, until SIGTERM comes and the last of them has ended. One thread."""

    def __init__(self, folder: Path) -> None:
        self.listener: socket.socket | None = socket.socket(socket.AF_UNIX)
        self.folder = folder
        self.trainings: dict[int, socket.socket] = {}
        self.selector = selectors.DefaultSelector()
        self.wakeup, self.wakeup_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self.wakeup_write)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # only to wake the loop
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self.close())
        self.selector.register(self.wakeup, selectors.EVENT_READ)
        with _short(folder) as short:
            self.listener.bind(f"{short}/{SOCKET}")
        self.listener.listen()  # who comes while this process still imports waits for no longer than an own import

    def run(self) -> None:
        """Serves until closed and idle."""
        if self.listener is not None:
            self.selector.register(self.listener, selectors.EVENT_READ)
        while self.listener is not None or self.trainings:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener and self.listener is not None:
                    connection, _ = self.listener.accept()
                    self._serve(connection)
                elif key.fd == self.wakeup:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wakeup, 512)
            self._reap()

    def close(self) -> None:
        """Takes no more orders; who waits for an answer imports by itself."""
        if self.listener is None:
            return
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(self.listener)
        self.listener.close()
        self.listener = None
        (self.folder / SOCKET).unlink(missing_ok=True)

    def _serve(self, connection: socket.socket) -> None:
        order, descriptors = _read_order(connection)
        if order is None or not _is_alike(order["environ"]):
            _end(connection, _REFUSED)
        elif (pid := os.fork()) == 0:
            self._become_training(connection, order, descriptors)
        else:
            self.trainings[pid] = connection
        for descriptor in descriptors:
            os.close(descriptor)

    def _reap(self) -> None:
        for pid, connection in list(self.trainings.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.trainings[pid]
                _end(connection, os.waitstatus_to_exitcode(status))

    def _become_training(
        self, connection: socket.socket, order: Mapping[str, Any], descriptors: Sequence[int]
    ) -> NoReturn:
        """In the forked process: what the stand-in would have done, to its exit status."""
        status = 1
        try:
            die_with_parent()
            self._let_go()
            _take_the_place(order, descriptors)
            threading.Thread(target=_heed, args=(connection,), daemon=True).start()
            train = importlib.import_module("train")
            status = train.main(order["argv"], is_forked=True)
            sys.stdout.flush()
        except BaseException:  # a fault of ours: nobody else would say it
            traceback.print_exc()
        finally:
            os._exit(status)

    def _let_go(self) -> None:
        """Closes, in a forked process, what is the nursery's own."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        os.close(self.wakeup)
        os.close(self.wakeup_write)
        if self.listener is not None:
            self.listener.close()
        for other in self.trainings.values():
            other.close()


def _read_order(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The order and the stand-in's output; None from somebody who left."""
    received, descriptors = b"", array.array("i")
    connection.settimeout(_ORDER_LIMIT_S)
    with contextlib.suppress(OSError):
        while not received.endswith(b"\n"):
            chunk, ancillary, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(2 * descriptors.itemsize))
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
            if not chunk:
                break
            received += chunk
    connection.settimeout(None)
    return (json.loads(received) if received.endswith(b"\n") else None), list(descriptors)


def _is_alike(environ: Mapping[str, str]) -> bool:
    """Whether libraries would be loaded with the settings that they were loaded with here."""
    settings = ({key: each[key] for key in each if key.startswith(_READ_AT_IMPORT)} for each in (environ, os.environ))
    return next(settings) == next(settings)


def _end(connection: socket.socket, status: int) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(f"{status}\n".encode())
    connection.close()


def _take_the_place(order: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    for target, descriptor in zip((1, 2), descriptors, strict=True):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(order["environ"])
    os.chdir(order["cwd"])
    sys.argv = ["train.py", *order["argv"]]


def _heed(connection: socket.socket) -> None:
    """Passes on the stand-in's signals; ends this process with it."""
    with connection.makefile("rb") as lines:
        for line in lines:
            os.kill(os.getpid(), int(line))
    os._exit(128 + signal.SIGKILL)


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A name for a folder that leaves room in a socket's address, which has 107 characters."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def main(folder: Path) -> NoReturn:
    """Imports, then serves. Nothing is computed here: a library's threads do not survive a fork."""
    nursery = Nursery(folder)
    for module in ("kennel.training.job", "train"):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # what was imported stays shared: no collection will touch it
    nursery.run()
    os._exit(0)  # libraries that are taken down complain of what gc.freeze kept


if __name__ == "__main__":
    if not LIBRARY_SETTINGS.keys() <= os.environ.keys():  # as the toolkit does it; they are read at a program's start
        os.environ.update({**LIBRARY_SETTINGS, **os.environ})
        os.execv(sys.executable, [sys.executable, "-P", "-m", "kennel.training.nursery", *sys.argv[1:]])  # noqa: S606  itself
    main(Path(sys.argv[1]))
