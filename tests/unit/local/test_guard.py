"""Every program ends with its guard, its guard with the service, and nothing outlives them."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil

from kennel.local.log_file import read_events
from kennel.local.processes import Processes, RunningProgram
from local_service import wait_until

Start = Callable[..., RunningProgram]

# A program with a child, and a grandchild that left its session, its parents and its environment behind.
FAMILY = """
import os, subprocess, sys, time
subprocess.Popen(["sleep", "300"])
subprocess.Popen(["sh", "-c", "setsid sleep 300 & exit"])
subprocess.Popen(["env", "-i", "/bin/sh", "-c", "setsid sleep 300 & exec sleep 300"])
time.sleep(0.3)
print("ready", flush=True)
time.sleep(300)
"""


def log_text(runs: Path, name: str = "job") -> str:
    return "\n".join(event.message for event in read_events(runs / name / "log.txt"))


def started_family(running: RunningProgram, runs: Path) -> list[psutil.Process]:
    wait_until(lambda: "ready" in log_text(runs), what="the program's first line")
    family = psutil.Process(running.guard_pid).children(recursive=True)
    assert len([process for process in family if process.name() == "sleep"]) >= 4
    return family


def assert_all_end(family: list[psutil.Process]) -> None:
    wait_until(
        lambda: not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE],
        what=f"the end of {family}",
    )


def test_guard_passes_on_the_exit_status_and_logs_both_streams(start: Start, processes: Processes, runs: Path) -> None:
    running = start("import sys; print('out', flush=True); sys.stderr.write('err\\nno line end'); sys.exit(7)")
    assert running.wait(20) == 7
    processes.finish(running)
    assert log_text(runs) == "out\nerr\nno line end"


def test_guard_reports_a_signal_as_128_and_its_number(start: Start) -> None:
    assert start("import os; os.kill(os.getpid(), 9)").wait(20) == 137


def test_guard_says_which_program_it_cannot_start(processes: Processes, runs: Path, start: Start) -> None:
    program = replace(start("").program, owner="training-jobs/other", command=("/no/such/program",))
    running = processes.start(program)
    assert running.wait(20) == 127
    processes.finish(running)
    assert "kennel: cannot start /no/such/program: No such file or directory" in log_text(runs)


def test_guard_passes_on_sigterm_and_waits_for_the_end(start: Start, runs: Path) -> None:
    running = start(
        "import signal, sys, time\n"
        "def stop(*_): print('saved', flush=True); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop); print('ready', flush=True); time.sleep(300)"
    )
    wait_until(lambda: "ready" in log_text(runs))
    running.terminate()
    assert running.wait(20) == 143
    assert "saved" in log_text(runs)


def test_guard_kills_after_the_grace_time(start: Start, runs: Path) -> None:
    source = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(300)"
    running = start(source, grace_s=0.3)
    wait_until(lambda: "ready" in log_text(runs))
    running.terminate()
    assert running.wait(20) == 137


def test_kill_does_not_wait_for_the_grace_time(start: Start, runs: Path) -> None:
    source = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(300)"
    running = start(source, grace_s=250)
    wait_until(lambda: "ready" in log_text(runs))
    running.terminate()
    running.kill()
    assert running.wait(20) == 137


def test_guard_ends_what_a_finished_program_left(start: Start, runs: Path) -> None:
    os.mkfifo(runs / "go")
    running = start(FAMILY.replace("time.sleep(300)\n", f"open({str(runs / 'go')!r}).read()\n"))
    family = started_family(running, runs)
    (runs / "go").write_text("")
    assert running.wait(20) == 0
    assert_all_end(family)


def test_nothing_is_left_when_the_program_is_killed(start: Start, runs: Path) -> None:
    running = start(FAMILY)
    family = started_family(running, runs)
    family[0].send_signal(signal.SIGKILL)
    assert running.wait(20) == 137
    assert_all_end(family)


def test_nothing_is_left_when_the_lifeline_ends(start: Start, runs: Path) -> None:
    running = start(FAMILY)
    family = started_family(running, runs)
    running.release()
    assert running.wait(20) == 143
    assert_all_end(family)
