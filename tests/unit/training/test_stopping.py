"""kennel.training.stopping: a signal is a request."""

import os
import signal
from collections.abc import Iterator

import pytest

from kennel.training.stopping import Stopped, StopRequest


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Puts the test's own handlers back."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_nothing_stops_without_a_signal() -> None:
    stop = StopRequest()
    stop.check()
    assert not stop.is_made


def test_signal_is_noticed_at_the_next_check_and_the_first_one_counts() -> None:
    stop = StopRequest()
    stop.install()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.is_made
    with pytest.raises(Stopped, match="stopped by SIGTERM") as stopped:
        stop.check()
    assert stopped.value.exit_status == 143
