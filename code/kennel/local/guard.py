"""Runs one program and lets nothing of it outlive the local SageMaker.

    python -P -m kennel.local.guard --lifeline FD --log FILE --cwd DIR --grace-s S --orphan-grace-s S -- PROGRAM ARG ...

The guard stands between the service and each program it runs. It writes the program's output to the log, passes SIGTERM
on and kills after the grace time (at once on SIGQUIT), and when the program has ended kills whatever it left. The kinds
of sudden death:

    service killed    the lifeline (a pipe only the service can write to) reads as ended: SIGTERM, grace, SIGKILL
    guard killed      the kernel kills the program (PR_SET_PDEATHSIG); its orphans go to the service, which ends them
    program killed    its orphans come to the guard (PR_SET_CHILD_SUBREAPER), which ends them
With --containers the program is kennel.local.container_run, and the guard removes what that left in Docker.
Ends with the program's exit status, 128 + the number when a signal ended it. Imports nothing heavy; Linux only.
"""

import argparse
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from kennel.local.log_file import LogWriter
from kennel.local.remains import MARKER, descendants, holders, kill_all
from kennel.orphans import adopt_orphans, die_with_parent


@dataclass(frozen=True)
class Order:
    """What to run and how long it may take to end, once asked to."""

    command: tuple[str, ...]
    lifeline: int
    log: Path
    cwd: Path
    grace_s: float
    orphan_grace_s: float
    scratch: Path | None
    containers: bool = False


class Guard:
    """One program, from its start to the end of everything it started. Single-threaded."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.log = LogWriter(order.log)
        self.program: subprocess.Popen[bytes] | None = None
        self.status: int | None = None
        self.was_killed = False
        self.is_alone = False
        self.kill_at: float | None = None
        self.selector = selectors.DefaultSelector()
        self.wakeup, wakeup_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wakeup_write)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # only to wake the loop
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self.stop(self.order.grace_s))
        signal.signal(signal.SIGQUIT, lambda number, frame: self.stop(0.0))
        self.selector.register(self.wakeup, selectors.EVENT_READ, self._drain_wakeup)
        self.selector.register(order.lifeline, selectors.EVENT_READ, self._service_is_gone)

    def run(self) -> int:
        """Runs the program to its end and returns its exit status."""
        adopt_orphans()
        try:
            self.program = self._start()
        except OSError as error:
            self._print(f"kennel: cannot start {self.order.command[0]}: {error.strerror}")
            return 127
        if self.kill_at is not None:  # asked to stop before the program was there
            self._signal(signal.SIGTERM)
        while self.status is None:
            self._wait_and_serve()
            self._reap()
        self._end_the_rest()
        return self.status

    def stop(self, grace_s: float) -> None:
        """Asks the program to end; after `grace_s` it is killed. Asked again, the earlier time counts."""
        kill_at = time.monotonic() + grace_s
        if self.kill_at is None:
            self._signal(signal.SIGTERM)
            self.kill_at = kill_at
        self.kill_at = min(self.kill_at, kill_at)

    def _signal(self, number: int) -> None:
        if self.program and self.status is None:
            os.kill(self.program.pid, number)

    def _start(self) -> subprocess.Popen[bytes]:
        guard = os.getpid()
        output, output_write = os.pipe2(os.O_CLOEXEC)
        self.output = output
        os.set_blocking(output, False)
        self.selector.register(output, selectors.EVENT_READ, self._take_output)
        try:
            return subprocess.Popen(
                self.order.command,
                cwd=self.order.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output_write,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that a program which signals its own group does not hit the guard
                preexec_fn=lambda: die_with_parent(guard),  # the guard has one thread, so this is safe
            )
        finally:
            os.close(output_write)

    def _wait_and_serve(self) -> None:
        timeout = None if self.kill_at is None else max(0.0, self.kill_at - time.monotonic())
        for key, _ in self.selector.select(timeout):
            key.data()
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self._signal(signal.SIGKILL)
            self.kill_at += 1.0

    def _take_output(self) -> bool:
        """Logs what the pipe holds; False when it is empty or closed by every process that had it."""
        try:
            data = os.read(self.output, 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            self.selector.unregister(self.output)
            return False
        try:
            self.log.feed(data)
        except OSError as error:  # a full disk must not end the program, nor block it on a full pipe
            print(f"kennel guard: cannot write {self.order.log}: {error}", file=sys.stderr)
        return True

    def _drain_wakeup(self) -> None:
        os.read(self.wakeup, 512)

    def _service_is_gone(self) -> None:
        self.selector.unregister(self.order.lifeline)
        self.is_alone = True
        self.stop(self.order.orphan_grace_s)

    def _reap(self) -> None:
        """Collects ended children: the program, and orphans that came to the guard."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.program and pid == self.program.pid:
                code = os.waitstatus_to_exitcode(status)
                self.program.returncode = code
                self.status = code if code >= 0 else 128 - code
                self.was_killed = code < 0

    def _end_the_rest(self) -> None:
        """A container ends with its first process; so does everything the program started."""
        owner = os.environ.get(MARKER)

        def left() -> list[psutil.Process]:
            return [*descendants(), *(holders(lambda marker: marker == owner) if owner else [])]

        stubborn = kill_all(left, reap=self._reap)
        while self.output in self.selector.get_map() and self._take_output():
            pass
        for process in stubborn:
            self._print(f"kennel: process {process.pid} could not be ended")
        # A program that ended by itself has removed its containers, and a living service looks after that.
        if self.order.containers and owner and (self.was_killed or self.is_alone):
            self._end_containers(owner)

    def _end_containers(self, owner: str) -> None:
        from kennel.local.engine import ENGINE_ERRORS, remove_owned  # heavy, and only for programs with containers

        try:
            # A program that was killed may have asked for one more, which Docker is making now.
            left = remove_owned(lambda label: label == owner, look_again_after_s=0.5 if self.was_killed else 0.0)
        except ENGINE_ERRORS as error:
            left = [f"(Docker does not answer: {error})"]
        for name in left:
            self._print(f"kennel: container or network {name} could not be removed")

    def _print(self, line: str) -> None:
        self.log.feed(line.encode() + b"\n")

    def close(self) -> None:
        """Closes the log and removes the scratch folder."""
        self.log.close()
        if self.order.scratch:
            shutil.rmtree(self.order.scratch, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the order given as arguments."""
    guard = Guard(read_order(sys.argv[1:] if argv is None else argv))
    try:
        return guard.run()
    finally:
        guard.close()


def read_order(argv: Sequence[str]) -> Order:
    """The order in a guard's arguments."""
    parser = argparse.ArgumentParser(prog="kennel.local.guard")
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--cwd", type=Path, required=True)
    parser.add_argument("--grace-s", type=float, required=True)
    parser.add_argument("--orphan-grace-s", type=float, required=True)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--containers", action="store_true")
    parser.add_argument("command", nargs="+")
    options = vars(parser.parse_args(argv))
    return Order(command=tuple(options.pop("command")), **options)


if __name__ == "__main__":
    sys.exit(main())
