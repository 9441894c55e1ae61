"""Ctrl-C while something on AWS is watched, as a person has it: at a terminal, and in a pipe."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import watching
from account import Account, open_account

from conftest import impatient
from local_service import wait_until

COMMAND = (sys.executable, "-m", "kennel.cli", "attach")
CTRL_C = b"\x03"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with impatient(), open_account(tmp_path_factory.mktemp("terminal") / "runs") as opened:
        opened.others["pricing"] = watching.prices()
        yield opened


class Terminal:
    """A program at a pseudo-terminal of its own: what it shows, and keys for it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.seen = ""

    def wait_for(self, pattern: str, *, deadline_s: float = 60) -> None:
        """Reads on until the text behind what was waited for before has it."""
        end = time.monotonic() + deadline_s
        while not (found := re.search(pattern, self.seen, re.DOTALL)):
            assert time.monotonic() < end, f"{pattern} did not come: {self.seen[-2000:]}"
            if select.select([self._number], [], [], 0.2)[0]:
                self.seen += self._read()
        self.seen = self.seen[found.end() :]

    def press(self, keys: bytes) -> None:
        os.write(self._number, keys)

    def _read(self) -> str:
        try:
            return os.read(self._number, 65536).decode(errors="replace")
        except OSError:  # the program has ended
            return ""


@contextmanager
def terminal(account: Account, tmp_path: Path, *arguments: str) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    ours, theirs = pty.openpty()
    environ = {**os.environ, **account.environ, "XDG_CACHE_HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "150"}

    def own_terminal() -> None:
        """Its keys become signals, whatever started the tests."""
        os.setsid()
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    program = subprocess.Popen(
        [*COMMAND, *arguments, "--on", "aws"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
        preexec_fn=own_terminal,
    )
    os.close(theirs)
    try:
        yield Terminal(ours), program
    finally:
        program.kill()
        program.wait()
        os.close(ours)


def test_at_a_terminal_ctrl_c_asks_and_each_answer_does_what_it_says(account: Account, tmp_path: Path) -> None:
    watching.train(account, "seen", steps=500, step_s="0.2")
    with terminal(account, tmp_path, "seen") as (shown, program):
        shown.wait_for(r"step=\d+ loss=")
        shown.wait_for(r"training job seen.*Training.*\$\d+.*so far  Ctrl-C: detach or stop")
        shown.press(CTRL_C)
        shown.wait_for(r"training job seen runs on AWS\. \[d\]etach, \[s\]top it, \[c\]ontinue watching\? ")
        shown.press(b"what?\n")
        shown.wait_for(r"\[c\]ontinue watching\? ")
        shown.press(b"c\n")
        shown.wait_for(r"step=\d+ loss=")
        shown.press(CTRL_C)
        shown.wait_for(r"\[c\]ontinue watching\? ")
        shown.press(CTRL_C)  # in a hurry
        shown.wait_for(r"training job seen goes on\..*kennel attach seen --on aws --region us-east-1 --stop")
        assert program.wait(timeout=60) == 130
    with terminal(account, tmp_path, "seen") as (shown, program):
        shown.wait_for(r"step=\d+ loss=")
        shown.press(CTRL_C)
        shown.wait_for(r"\[c\]ontinue watching\? ")
        shown.press(b"s\n")
        shown.wait_for(r"stopping seen.*training job seen: Stopped after")
        assert program.wait(timeout=60) == 1


def test_without_a_terminal_ctrl_c_detaches_and_says_how_to_go_on(account: Account, tmp_path: Path) -> None:
    watching.train(account, "piped", steps=500, step_s="0.2")
    log = tmp_path / "said.txt"
    with log.open("wb") as stream:
        program = subprocess.Popen(
            [*COMMAND, "piped", "--on", "aws"],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **account.environ, "XDG_CACHE_HOME": str(tmp_path)},
            # A shell's background jobs ignore Ctrl-C, and so would this one if the tests are such a job.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            wait_until(lambda: "step=1 " in log.read_text(), what="the log")
            program.send_signal(signal.SIGINT)
            assert program.wait(timeout=60) == 130
        finally:
            program.kill()
            program.wait()
    said = log.read_text()
    assert "training job piped goes on.\n  follow it: kennel attach piped --on aws --region us-east-1\n" in said
    client = account.admin("sagemaker")
    assert client.describe_training_job(TrainingJobName="piped")["TrainingJobStatus"] == "InProgress"
    client.stop_training_job(TrainingJobName="piped")
