"""Programs that another process forks for us, so that they need not import: the asking side of kennel.training.nursery.

    status = run_elsewhere(TRAIN, argv, stop)                # in train.py, before it imports torch
    python -P -m kennel.training.elsewhere train             # SageMaker's toolkit: forked, or else this command is run

Where a nursery listens in KENNEL_SHARED_DIR, this process stays behind as a stand-in of the forked one: it passes
signals on and ends as that ends. The forked one has its arguments, environment, folder and output, and dies with it.
Exercise it: pytest tests/contract/test_training_nursery.py
"""

import array
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from kennel.training.stopping import StopRequest

# What a nursery forks.
TRAIN: Final = "train.py"
TOOLKIT: Final = "toolkit"
SOCKET: Final = "nursery.sock"
REFUSED: Final = 1000  # no exit status
# kennel.local.machine sets it; the same name there.
_SHARED_DIR: Final = "KENNEL_SHARED_DIR"


def run_elsewhere(
    program: str, argv: Sequence[str], stop: StopRequest, environ: Mapping[str, str] = os.environ
) -> int | None:
    """The exit status of the program with these arguments, forked from a nursery; None where there is none.

    stop: its signals are passed on. A program that was killed by a signal ends this process by the same one.
    """
    with _connected(environ) as connection:
        if connection is None or not _ask(connection, program, argv, environ):
            return None
        stop.install(lambda signum: _tell(connection, signum))
        if stop.signum is not None:  # it came before that
            _tell(connection, stop.signum)
        status = _status(connection)
        stop.install()
    if status is None or status < 0:
        _die(signal.SIGKILL if status is None else -status)
    return None if status == REFUSED else status


@contextlib.contextmanager
def _connected(environ: Mapping[str, str]) -> Iterator[socket.socket | None]:
    folder = environ.get(_SHARED_DIR)
    if not folder or "TORCHELASTIC_RUN_ID" in environ:
        yield None
        return
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with short_name(Path(folder)) as short:
                connection.connect(f"{short}/{SOCKET}")
        except OSError:  # nobody is there
            yield None
        else:
            yield connection


def _ask(connection: socket.socket, program: str, argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether the nursery heard what is to be run."""
    order = {"program": program, "argv": list(argv), "environ": dict(environ), "cwd": os.getcwd()}
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
    """What the nursery says of the program's end; None if it ended itself."""
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


@contextlib.contextmanager
def short_name(folder: Path) -> Iterator[str]:
    """A name for a folder that leaves room in a socket's address, which has 107 characters."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def main(command: Sequence[str]) -> NoReturn:
    """Ends as the toolkit ends that a nursery forks; without one, becomes `command`."""
    stop = StopRequest()
    stop.install()
    status = run_elsewhere(TOOLKIT, (), stop)
    if status is None and stop.signum is None:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_DFL)
        os.execv(command[0], list(command))  # noqa: S606  what the service was set to run
    sys.exit(128 + stop.signum if status is None and stop.signum is not None else status)


if __name__ == "__main__":
    main(sys.argv[1:])
