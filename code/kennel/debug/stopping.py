"""SIGTERM to an evaluator: what is there is still looked at, but for a few seconds only.

stop = StopSignal(); stop.install(); while not stop.is_wanted: ...; stop.wait(1.0)
"""

import signal
import threading
from types import FrameType
from typing import Final

GRACE_S: Final = 5.0


class TimeIsUp(BaseException):
    """Raised wherever the main thread is, GRACE_S after SIGTERM. No Exception: a user's rule must not catch it."""


class StopSignal:
    """Whether SIGTERM has come."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._is_installed = False

    @property
    def is_wanted(self) -> bool:
        return self._wanted.is_set()

    def install(self) -> None:
        """From now on SIGTERM is heard, by the main thread."""
        self._is_installed = True
        signal.signal(signal.SIGTERM, self._hear)
        signal.signal(signal.SIGALRM, _raise)

    def wait(self, seconds: float) -> None:
        """Waits so long, or until SIGTERM comes."""
        self._wanted.wait(seconds)

    def forget(self) -> None:
        """What is left to do is short and must not be interrupted."""
        if self._is_installed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_IGN)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if not self._wanted.is_set():
            self._wanted.set()
            signal.setitimer(signal.ITIMER_REAL, GRACE_S)


def _raise(number: int, frame: FrameType | None) -> None:
    raise TimeIsUp
