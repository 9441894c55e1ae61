"""A runs folder that must be quiet when a test ends, and programs to run in it."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kennel.local.processes import Processes, Program, RunningProgram
from kennel.local.remains import MARKER
from local_service import left_of


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """A runs folder; nothing of it may still run when the test ends."""
    folder = tmp_path / "runs"
    folder.mkdir()
    yield folder
    left = left_of(folder)
    for process in left:
        process.kill()
    assert not left, f"left running: {left}"


@pytest.fixture
def processes(runs: Path) -> Processes:
    """Programs of `runs`, with a short grace time after the service's death."""
    return Processes(runs, orphan_grace_s=2.0)


@pytest.fixture
def start(processes: Processes, runs: Path) -> Iterator[Callable[..., RunningProgram]]:
    """Starts Python source as a guarded program; whatever still runs at the end is stopped."""
    started: list[RunningProgram] = []

    def start_source(source: str, *, name: str = "job", grace_s: float = 5.0) -> RunningProgram:
        folder = runs / name
        folder.mkdir()
        script = folder / "script.py"
        script.write_text(source)
        program = Program(
            owner=f"training-jobs/{name}",
            command=(sys.executable, "-S", str(script)),
            environ={key: value for key, value in os.environ.items() if key != MARKER},
            cwd=folder,
            log=folder / "log.txt",
            grace_s=grace_s,
        )
        started.append(processes.start(program))
        return started[-1]

    yield start_source
    for running in started:
        if running.wait(0) is None:
            running.terminate()
            processes.end(running)
        running.release()
