"""The real `train` of sagemaker-training with `kennel.training.toolkit`, over small scripts and a folder that stands
for /opt/ml: status, signals, orphans, failure files."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

TRAIN = Path(sys.executable).with_name("train")


@dataclass(frozen=True)
class Job:
    base: Path
    process: "subprocess.Popen[str]"

    @property
    def failure(self) -> Path:
        return self.base / "output" / "failure"

    def wait_for(self, file: str) -> str:
        """The text of a file under the base folder, once it is there."""
        deadline = time.monotonic() + 60
        path = self.base / file
        while not path.exists() or not path.read_text():
            assert self.process.poll() is None, f"train ended before it wrote {file}: {self.process.communicate()}"
            assert time.monotonic() < deadline, f"{file} was never written"
            time.sleep(0.02)
        return path.read_text()

    def end(self) -> tuple[int, str]:
        """Exit status and what was printed."""
        output, _ = self.process.communicate(timeout=90)
        return self.process.returncode, output


Starter = Callable[..., Job]


@pytest.fixture
def start(tmp_path: Path) -> Starter:
    """Starts `train` over a script of a few lines; `base` in the script is the folder that stands for /opt/ml."""

    def starter(
        script: str,
        *,
        hyperparameters: dict[str, str] | None = None,
        host: str = "localhost",
        program: str = "train.py",
    ) -> Job:
        base = tmp_path / "ml"
        for folder in ("input/config", "input/data", "model", "output/data", "code"):
            (base / folder).mkdir(parents=True, exist_ok=True)
        config = base / "input" / "config"
        config.joinpath("hyperparameters.json").write_text(json.dumps(hyperparameters or {}))
        config.joinpath("inputdataconfig.json").write_text("{}")
        config.joinpath("resourceconfig.json").write_text(json.dumps({"current_host": host, "hosts": [host]}))
        prelude = f"import os, pathlib, signal, subprocess, sys, time\nbase = pathlib.Path({str(base)!r})\n"
        (base / "code" / "train.py").write_text(prelude + script)
        environ = {
            **os.environ,
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_PROGRAM": program,
            "SAGEMAKER_TRAINING_MODULE": "kennel.training.toolkit:main",
        }
        process = subprocess.Popen(
            [TRAIN], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        return Job(base, process)

    return starter


def _is_gone(pid: int) -> bool:
    """Whether a process ended within 20 s; a zombie has ended."""
    status = Path(f"/proc/{pid}/stat")
    for _ in range(1000):
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_train_succeeds_with_the_script(start: Starter) -> None:
    job = start("print('hello', sys.argv[1:])", hyperparameters={"epochs": '"3"', "sagemaker_region": '"eu-west-1"'})
    status, output = job.end()
    assert status == 0, output
    assert "hello ['--epochs', '3']" in output
    assert (job.base / "output" / "success").exists()
    assert not job.failure.exists()


def test_train_does_not_wait_for_its_own_name_to_resolve(start: Starter) -> None:
    status, output = start("print('started')", host="algo-1.invalid").end()
    assert status == 0, output


def test_train_keeps_the_status_and_says_so_in_the_failure_file(start: Starter) -> None:
    job = start("sys.exit(7)")
    status, output = job.end()
    assert status == 7, output
    assert job.failure.read_text().startswith("train.py ended with status 7 and gave no reason.")
    assert "SUCCESS" not in output
    assert "Traceback" not in output


def test_train_keeps_the_failure_file_of_the_script(start: Starter) -> None:
    job = start("(base / 'output' / 'failure').write_text('DataError: no pictures'); sys.exit(3)")
    status, output = job.end()
    assert status == 3, output
    assert job.failure.read_text() == "DataError: no pictures"
    assert "DataError: no pictures" in output


def test_train_fails_when_the_status_wraps_to_0_but_the_script_says_it_failed(start: Starter) -> None:
    status, output = start("(base / 'output' / 'failure').write_text('no'); sys.exit(256)").end()
    assert status == 1, output


def test_train_forgets_the_failure_of_an_earlier_run(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "ml" / "output").mkdir(parents=True)
    (tmp_path / "ml" / "output" / "failure").write_text("an old one")
    job = start("print('well')")
    status, output = job.end()
    assert status == 0, output
    assert not job.failure.exists()


def test_train_tells_that_the_script_was_killed(start: Starter) -> None:
    job = start("os.kill(os.getpid(), signal.SIGKILL)")
    status, output = job.end()
    assert status == 137, output
    assert job.failure.read_text().startswith("train.py was killed by signal 9 (SIGKILL): most often the machine ran")


STOPPABLE = """
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
def stop(signum, frame):
    time.sleep(0.5)  # a checkpoint takes its time
    (base / 'output' / 'stopped').write_text(str(signum))
    print('checkpoint written')
    os._exit(128 + signum)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
(base / 'output' / 'pids.part').write_text(f'{os.getpid()} {child.pid}')
os.replace(base / 'output' / 'pids.part', base / 'output' / 'pids')
time.sleep(600)
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_train_passes_a_signal_on_and_leaves_no_orphan(start: Starter, signum: signal.Signals) -> None:
    job = start(STOPPABLE)
    pids = [int(pid) for pid in job.wait_for("output/pids").split()]
    job.process.send_signal(signum)
    status, output = job.end()
    assert status == 128 + signum, output
    assert (job.base / "output" / "stopped").read_text() == str(int(signum))
    assert "checkpoint written" in output
    assert all(_is_gone(pid) for pid in pids)
    assert not job.failure.exists()


def test_script_dies_with_a_train_that_is_killed(start: Starter) -> None:
    job = start(STOPPABLE)
    script, child = (int(pid) for pid in job.wait_for("output/pids").split())
    try:
        job.process.kill()
        assert _is_gone(script)
    finally:
        os.kill(child, signal.SIGKILL)  # a child of the script's: the script's own workers tie themselves to it
    job.process.communicate()


def test_train_kills_what_a_finished_script_left_behind(start: Starter) -> None:
    job = start(
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "(base / 'output' / 'pids').write_text(str(child.pid))"
    )
    status, output = job.end()
    assert status == 0, output
    assert _is_gone(int((job.base / "output" / "pids").read_text()))


def test_lines_of_the_script_come_whole_and_in_order(start: Starter) -> None:
    job = start("for i in range(50):\n    print('out', i)\n    print('err', i, file=sys.stderr)")
    _, output = job.end()
    lines = [line for line in output.splitlines() if line.startswith(("out ", "err "))]
    assert lines == [f"{kind} {i}" for i in range(50) for kind in ("out", "err")]


def test_program_that_is_not_there_has_a_reason(start: Starter) -> None:
    job = start("", program="missing.py")
    status, output = job.end()
    assert status == 2, output
    assert job.failure.read_text().startswith("missing.py ended with status 2 and gave no reason.")
