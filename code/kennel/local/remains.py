"""Finds and ends every process of a job, also those that left its process group and its parents.

Each program is started with KENNEL_PROCESS_OF=<runs folder>:<owner> in its environment, and what it starts inherits
that. A process that cleared its environment is still found as a descendant of its guard, or as an orphan the service
adopted. Linux only.
"""

import os
import time
from collections.abc import Callable, Iterable
from typing import Final

import psutil

MARKER: Final = "KENNEL_PROCESS_OF"


def holders(is_ours: Callable[[str], bool]) -> list[psutil.Process]:
    """The living processes, but for this one, whose marker satisfies `is_ours`."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            marker = process.environ().get(MARKER)
        except (psutil.Error, OSError):  # gone, a zombie, or somebody else's
            continue
        if marker is not None and is_ours(marker):
            found.append(process)
    return found


def descendants() -> list[psutil.Process]:
    """The living descendants of this process; zombies are left out."""
    return [child for child in psutil.Process().children(recursive=True) if is_alive(child)]


def is_alive(process: psutil.Process) -> bool:
    """Whether the process still runs; a zombie does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill_all(
    find: Callable[[], Iterable[psutil.Process]], *, deadline_s: float = 10.0, reap: Callable[[], None] = lambda: None
) -> list[psutil.Process]:
    """Kills what `find` finds until it finds nothing; returns what was still there after `deadline_s`.

    `find` is asked again after every round, so that a process started meanwhile is found too.
    """
    end = time.monotonic() + deadline_s
    while alive := [process for process in find() if is_alive(process)]:
        if time.monotonic() > end:
            return alive
        for process in alive:
            try:
                process.kill()
            except psutil.Error:  # gone, or somebody else's: the next round tells
                continue
        psutil.wait_procs(alive, timeout=0.05)
        reap()
    reap()
    return []
