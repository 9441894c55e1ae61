"""Trainings that start without importing anything: forked from a process that has imported all they need.

    python -P -m kennel.training.nursery FOLDER      # listens on FOLDER/nursery.sock, until SIGTERM

torch and torchvision take 3 to 5 s of CPU to import, and SageMaker's toolkit 0.3 s: more than training a head on shared
features does. So the local SageMaker starts one such process for a tuning job. The toolkit, and then train.py, ask at
KENNEL_SHARED_DIR/nursery.sock whether there is one (kennel.training.elsewhere). If not, or if this process started with
other settings of threads or memory, they import for themselves.

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
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from kennel.orphans import die_with_parent
from kennel.training.elsewhere import REFUSED, SOCKET, TOOLKIT, short_name
from kennel.training.library_settings import LIBRARY_SETTINGS

# What is imported before anything is forked. The toolkit itself reads the environment as it is imported: only what it
# is slow because of.
_MODULES: Final = ("kennel.training.job", "train", "boto3", "paramiko")
# What libraries read once, as they are loaded: a training that was told otherwise has to load them itself.
_READ_AT_IMPORT: Final = (
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_"),
    *("TORCH_", "PYTORCH_", "ATEN_", "DNNL_", "ONEDNN_", "LD_"),
)
_ORDER_LIMIT_S: Final = 5.0


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
        with short_name(folder) as short:
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
            _end(connection, REFUSED)
        elif (pid := os.fork()) == 0:
            self._become(connection, order, descriptors)
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

    def _become(self, connection: socket.socket, order: Mapping[str, Any], descriptors: Sequence[int]) -> NoReturn:
        """In the forked process: what the stand-in would have done, to its exit status."""
        status = 1
        try:
            die_with_parent()
            self._let_go()
            _take_the_place(order, descriptors)
            threading.Thread(target=_heed, args=(connection,), daemon=True).start()
            status = _run_toolkit() if order["program"] == TOOLKIT else _train(order["argv"])
            sys.stdout.flush()
        except BaseException:  # a fault of ours: nobody else would say it
            traceback.print_exc()
        finally:
            os._exit(status)

    def _let_go(self) -> None:
        """Closes, in a forked process, what is the nursery's own."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _not_yet)
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
    asked, ours = {**LIBRARY_SETTINGS, **environ}, os.environ  # the toolkit makes those settings the training's
    settings = ({key: each[key] for key in each if key.startswith(_READ_AT_IMPORT)} for each in (asked, ours))
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


def _train(argv: Sequence[str]) -> int:
    train = importlib.import_module("train")
    status: int = train.main(argv, is_forked=True)
    return status


def _run_toolkit() -> int:
    from sagemaker_training.cli import train  # reads SAGEMAKER_BASE_DIR

    try:
        train.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def _not_yet(signum: int, _frame: FrameType | None) -> None:
    """The handler of a forked process that has not begun."""


def _heed(connection: socket.socket) -> None:
    """Passes on the stand-in's signals, once the program listens; ends this process with it."""
    with connection.makefile("rb") as lines:
        for line in lines:
            while signal.getsignal(int(line)) is _not_yet:
                time.sleep(0.01)
            os.kill(os.getpid(), int(line))
    os._exit(128 + signal.SIGKILL)


def main(folder: Path) -> NoReturn:
    """Imports, then serves. Nothing is computed here: a library's threads do not survive a fork."""
    nursery = Nursery(folder)
    for module in _MODULES:
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
