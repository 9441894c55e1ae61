"""For tests of the local SageMaker: waiting with a deadline, and finding what was left running."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil

from kennel.local.remains import holders


def wait_until(condition: Callable[[], object], *, deadline_s: float = 20.0, what: str = "the condition") -> None:
    """Polls; fails the test naming `what` when the deadline passes."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {deadline_s} s"
        time.sleep(0.05)


def left_of(runs: Path) -> list[psutil.Process]:
    """The living processes that a service on `runs` started."""
    return holders(lambda marker: marker.startswith(f"{runs}:"))
