"""No process outlives the one that started it, not even when that one is killed with SIGKILL.

Two promises of the Linux kernel (prctl(2)), which nothing in the standard library speaks of. Without them a killed
toolkit leaves its script behind, a killed server its java, and a killed java its workers (all measured).
"""

import ctypes
import os
import signal
from collections.abc import Container
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
# Looked up at import: between fork and exec, where die_with_parent also runs, nothing should have to be loaded.
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def die_with_parent(parent: int | None = None) -> None:
    """From now on this process is killed when the thread that started it ends.

    SIGKILL, because the workers of multi-model-server catch SIGTERM and go on.
    parent: its process id, where it is known: a parent that ended before the kernel was asked is then noticed too.
    """
    _call(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """From now on a descendant whose parent has ended becomes this process's child, which can wait for it."""
    _call(_PR_SET_CHILD_SUBREAPER, 1)


def reap_orphans(*, except_for: Container[int]) -> None:
    """Waits for the children that have ended, which have no place to be zombies in.

    except_for: process ids that somebody else here waits for; one of them that has ended may stand before the others.
    """
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in except_for:
            return
        os.waitpid(ended.si_pid, 0)


def _call(option: int, value: int) -> None:
    if _prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}, {value}): {os.strerror(error)}")
