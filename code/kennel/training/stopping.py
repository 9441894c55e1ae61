"""SIGTERM and SIGINT as a request that the training looks at between two steps.

SageMaker sends SIGTERM when a job is stopped, runs over its time, or loses its spot machine, and waits 120 s before it
kills. `train.py` installs the request before it imports torch:

    stop = StopRequest()
    stop.install()
    ...
    stop.check()  # raises Stopped once a signal came
"""

import signal
from collections.abc import Callable
from types import FrameType


class Stopped(Exception):  # noqa: N818  nothing went wrong
    """The training was told to stop and has stopped; what it can go on from is saved."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_status = 128 + signum


class StopRequest:
    """Whether a signal came; the first one counts."""

    def __init__(self) -> None:
        self.signum: int | None = None

    @property
    def is_made(self) -> bool:
        return self.signum is not None

    def install(self, tell: Callable[[int], None] | None = None) -> None:
        """From now on SIGTERM and SIGINT only make the request, and are told to `tell`, if it is given."""

        def handle(signum: int, _frame: FrameType | None) -> None:
            self.make(signum)
            if tell:
                tell(signum)

        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, handle)

    def make(self, signum: int, _frame: FrameType | None = None) -> None:
        """A signal handler; tests call it."""
        self.signum = self.signum or signum

    def check(self) -> None:
        """Raises Stopped if the request was made."""
        if self.signum is not None:
            raise Stopped(self.signum)
