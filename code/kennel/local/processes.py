"""Starts programs under guards, and sees to it that none of them, nor anything they start, is left behind.

The service starts no other processes, so whatever else becomes its child is an orphan whose guard was killed.
"""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from kennel.local.remains import MARKER, descendants, holders, kill_all
from kennel.local.settings import Layout
from kennel.orphans import adopt_orphans

# How long past a program's own grace time its guard may take to end the rest and itself.
_GUARD_EXTRA_S: Final = 15.0


@dataclass(frozen=True)
class Program:
    """What to run: `owner` names it among the programs of one runs folder, as in "training-jobs/my-job".

    grace_s: between SIGTERM and SIGKILL. scratch: removed when the program has ended.
    has_containers: it is kennel.local.container_run, so that something may be left in Docker.
    """

    owner: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: Path
    log: Path
    grace_s: float
    scratch: Path | None = None
    has_containers: bool = False


class RunningProgram:
    """A started program, seen through its guard."""

    def __init__(self, guard: "subprocess.Popen[bytes]", lifeline: int, program: Program) -> None:
        self._guard = guard
        self._lifeline = lifeline
        self._end = os.pidfd_open(guard.pid)  # readable when the guard has ended
        self.program = program

    def wait(self, timeout_s: float) -> int | None:
        """The exit status (128 + number for a signal), or None when it still runs after `timeout_s`."""
        code = self._guard.poll()
        if code is None and timeout_s > 0 and self._end >= 0:
            poll = select.poll()
            poll.register(self._end, select.POLLIN)
            poll.poll(timeout_s * 1000)
            code = self._guard.poll()
        return None if code is None else code if code >= 0 else 128 - code

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    @property
    def guard_was_killed(self) -> bool:
        """Whether a signal ended the guard, so that its exit status says nothing of the program."""
        return (self._guard.returncode or 0) < 0

    def terminate(self) -> None:
        """SIGTERM to the program, SIGKILL after its grace time."""
        if self._guard.poll() is None:
            self._guard.terminate()

    def kill(self) -> None:
        """SIGTERM and SIGKILL to the program."""
        if self._guard.poll() is None:
            self._guard.send_signal(signal.SIGQUIT)

    def release(self) -> None:
        """Closes the lifeline, which ends the program if it still runs."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._end >= 0 and self._guard.poll() is not None:
            os.close(self._end)
            self._end = -1


class Processes:
    """The programs of one runs folder."""

    def __init__(self, runs: Path, *, orphan_grace_s: float) -> None:
        self._runs = runs
        self._orphan_grace_s = orphan_grace_s
        self._lock = threading.Lock()
        self._guards: set[int] = set()
        self._adopts = False

    def adopt(self) -> None:
        """Takes in the orphans of killed guards. Only for a process that has no other children of its own."""
        adopt_orphans()
        self._adopts = True

    def start(self, program: Program) -> RunningProgram:
        """Starts a program under a guard of its own."""
        if program.has_containers:
            self._docker_mark.parent.mkdir(parents=True, exist_ok=True)
            self._docker_mark.touch()
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            with self._lock:  # or a sweep could take the new guard for an orphan
                guard = subprocess.Popen(
                    self._guard_command(program, read_end),
                    env={**program.environ, MARKER: f"{self._runs}:{program.owner}"},
                    stdin=subprocess.DEVNULL,
                    pass_fds=(read_end,),
                    start_new_session=True,
                )
                self._guards.add(guard.pid)
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        return RunningProgram(guard, write_end, program)

    def finish(self, running: RunningProgram) -> None:
        """Ends what a program left behind, and gives its guard's place free. Call it once the program has ended."""
        owner = f"{self._runs}:{running.program.owner}"
        self._kill(lambda marker: marker == owner, running.program.owner)
        if running.program.has_containers:
            was_killed = running.guard_was_killed  # and its program with it, perhaps as it asked for a container
            self._remove_containers(lambda label: label == owner, running.program.owner, was_killed=was_killed)
        with self._lock:
            self._guards.discard(running.guard_pid)
        running.release()

    def end(self, running: RunningProgram) -> int:
        """Stops a program within its grace time, ends the rest, and returns its exit status."""
        running.terminate()
        code = running.wait(running.program.grace_s + _GUARD_EXTRA_S)
        if code is None:  # the guard itself hangs
            psutil.Process(running.guard_pid).kill()
            code = running.wait(_GUARD_EXTRA_S)
        self.finish(running)
        return 137 if code is None else code

    def end_remains_of_predecessor(self) -> int:
        """Ends the programs and containers of a service that was killed, and returns how many processes that were.

        Their guards are ending them already; they get the time they have for it.
        """
        prefix = f"{self._runs}:"
        found = holders(lambda marker: marker.startswith(prefix))
        end = time.monotonic() + self._orphan_grace_s
        while time.monotonic() < end and holders(lambda marker: marker.startswith(prefix)):
            time.sleep(0.1)
        self._kill(lambda marker: marker.startswith(prefix), "a service that ended before")
        if self._docker_mark.exists():
            self._remove_containers(lambda label: label.startswith(prefix), "a service that ended before")
        return len(found)

    def _guard_command(self, program: Program, lifeline: int) -> list[str]:
        options = {
            "--lifeline": lifeline,
            "--log": program.log,
            "--cwd": program.cwd,
            "--grace-s": program.grace_s,
            "--orphan-grace-s": self._orphan_grace_s,
            **({"--scratch": program.scratch} if program.scratch else {}),
        }
        words = [str(word) for option in options.items() for word in option]
        words += ["--containers"] if program.has_containers else []
        # -P: a folder named `kennel` where the service was started must not shadow this package.
        return [sys.executable, "-P", "-m", "kennel.local.guard", *words, "--", *program.command]

    def _kill(self, is_ours: Callable[[str], bool], owner: str) -> None:
        stubborn = kill_all(lambda: [*holders(is_ours), *self._orphans()], reap=self._reap)
        for process in stubborn:
            print(f"process {process.pid} of {owner} could not be ended", file=sys.stderr, flush=True)

    @property
    def _docker_mark(self) -> Path:
        """There once a program of this runs folder had containers: services that have none never ask Docker."""
        return Layout(self._runs).docker_mark

    def _remove_containers(self, is_ours: Callable[[str], bool], owner: str, *, was_killed: bool = False) -> None:
        from kennel.local.engine import ENGINE_ERRORS, remove_owned  # heavy, and only for programs with containers

        try:
            left = remove_owned(is_ours, look_again_after_s=0.5 if was_killed else 0.0)
        except ENGINE_ERRORS as error:
            left = [f"(Docker does not answer: {error})"]
        for name in left:
            print(f"container or network {name} of {owner} could not be removed", file=sys.stderr, flush=True)

    def _orphans(self) -> list[psutil.Process]:
        if not self._adopts:
            return []
        with self._lock:
            known = set(self._guards)
            return [child for child in descendants() if not _is_under(child, known)]

    def _reap(self) -> None:
        if not self._adopts:
            return
        with self._lock:
            for child in psutil.Process().children():
                if child.pid not in self._guards:
                    try:
                        os.waitpid(child.pid, os.WNOHANG)
                    except ChildProcessError:
                        continue


def _is_under(process: psutil.Process, guards: set[int]) -> bool:
    """Whether the process is a guard, or descends from one; also true of one that just ended."""
    try:
        return process.pid in guards or any(parent.pid in guards for parent in process.parents())
    except psutil.NoSuchProcess:
        return True
