"""Who answers for a runs folder: the state file of the service and the locks around it. Imports nothing heavy."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from kennel.errors import KennelError
from kennel.local.json_file import write_json
from kennel.local.settings import Layout

# Answers whoever asks whether the service lives; with the query STAY it also counts as work, against being idle.
ALIVE_PATH: Final = "/kennel"
STAY: Final = "stay"
_RETRY_S: Final = 0.05


@dataclass(frozen=True)
class ServiceState:
    """A running service. started_at: ISO 8601, UTC. on: where jobs and models run that do not say it."""

    pid: int
    port: int
    started_at: str
    url: str
    runs: str
    on: str = "local"


def write_state(state: ServiceState) -> None:
    """Tells everybody that the service answers."""
    write_json(Layout(Path(state.runs)).state_file, asdict(state))


def read_state(runs: Path) -> ServiceState | None:
    """What the state file says, whether or not its service still lives; None without a readable one."""
    try:
        content = json.loads(Layout(runs).state_file.read_text())
        return ServiceState(**content)
    except (OSError, ValueError, TypeError):
        return None


def write_choice(runs: Path, on: str) -> None:
    """Keeps the place of jobs and models that name none, for this service and those that follow it."""
    write_json(Layout(runs).choices_file, {"on": on})


def read_choice(runs: Path) -> str:
    """The place that was chosen last; `local` at first."""
    try:
        return str(json.loads(Layout(runs).choices_file.read_text())["on"])
    except (OSError, ValueError, TypeError, KeyError):
        return "local"


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock. A service does from its first to its last moment, however it ends."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def locked(path: Path, *, wait_s: float) -> Iterator[None]:
    """Holds the lock, which the kernel frees if this process dies. Raises TimeoutError after `wait_s`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + wait_s
        while not _try_lock(descriptor):
            if time.monotonic() > end:
                raise TimeoutError(f"{path} is locked")
            time.sleep(_RETRY_S)
        yield
    finally:
        os.close(descriptor)


def absolute_runs(runs: Path) -> Path:
    """The runs folder's one name, under which its processes are known; it is made. Raises KennelError if it cannot."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        Layout(runs).local_dir.mkdir(exist_ok=True)
    except OSError as error:
        raise KennelError(f"The runs folder {runs} cannot be used: {error}. Choose another with --runs.") from error
    return runs.resolve()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
