"""What `kennel.training.toolkit` says of a script's end; its processes are in tests/contract."""

import signal
import subprocess
import sys

import pytest

from kennel.training.toolkit import Script, describe_failure, exit_status


@pytest.mark.parametrize(("returncode", "status"), [(0, 0), (3, 3), (255, 255), (256, 1), (-9, 137), (-15, 143)])
def test_exit_status_is_what_a_shell_would_say(returncode: int, status: int) -> None:
    assert exit_status(returncode) == status


def test_failure_of_a_killed_script_names_the_signal_and_the_likely_reason() -> None:
    message = describe_failure("train.py", 137)
    assert message.startswith("train.py was killed by signal 9 (SIGKILL): most often the machine ran out of memory.")
    assert "batch-size" in message


def test_failure_of_a_script_without_a_word_names_its_status() -> None:
    assert describe_failure("train.py", 3).startswith("train.py ended with status 3 and gave no reason.")


def test_failure_by_another_signal_names_it() -> None:
    assert "signal 11 (SIGSEGV)" in describe_failure("train.py", 139)


def test_failure_by_a_signal_without_a_name_says_its_number() -> None:
    assert "signal 99 (unknown)" in describe_failure("train.py", 227)


def test_script_is_told_of_a_signal_that_came_before_it_started() -> None:
    script = Script()
    script.forward(signal.SIGTERM)
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    assert script.wait(sleeper) == 143
    assert script.was_told_to_stop
