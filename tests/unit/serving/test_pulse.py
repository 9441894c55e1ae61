import os
import signal
import time
from pathlib import Path

import pytest

from kennel.serving.pulse import Pulse, PulseReader


def test_a_beat_is_seen_while_it_lasts_and_afterwards(tmp_path: Path) -> None:
    pulse, reader = Pulse(tmp_path / "pulse"), PulseReader(tmp_path / "pulse")
    before = reader.last_beat
    time.sleep(0.02)  # the clock of files ticks every 4 ms
    with pulse.beat():
        assert reader.is_busy()
        assert reader.last_beat == before
    assert not reader.is_busy()
    assert reader.last_beat > before
    reader.close()


def test_a_request_that_fails_is_over_too_but_was_not_answered(tmp_path: Path) -> None:
    pulse, reader = Pulse(tmp_path / "pulse"), PulseReader(tmp_path / "pulse")
    before = reader.last_beat
    try:
        with pulse.beat():
            raise RuntimeError
    except RuntimeError:
        pass
    assert (reader.is_busy(), reader.last_beat) == (False, before)
    reader.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # of Python 3.12, where torch has threads
def test_forks_lock_for_themselves_and_a_killed_one_is_not_busy(tmp_path: Path) -> None:
    pulse, reader = Pulse(tmp_path / "pulse"), PulseReader(tmp_path / "pulse")
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with pulse.beat():
            os.write(tell, b".")
            signal.pause()
    os.read(told, 1)
    with pulse.beat():
        pass
    assert reader.is_busy()  # the end of our beat is not the end of the child's
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not reader.is_busy()
    for end in (told, tell):
        os.close(end)
    reader.close()
