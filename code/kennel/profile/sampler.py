"""Samples of the machine beside a training, in SageMaker's own files: system/incremental/<hour>/<minute>.algo-1.json.

    python -P -m kennel.profile.sampler --output runs/NAME/ml/output/profiler --interval-ms 500 --host algo-1

Ends on SIGTERM or SIGINT, and with its parent (--parent-pid). One JSON object a line; a line is never half written.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from kennel.errors import KennelError, UserError
from kennel.profile.readings import Gpus, Readings, open_gpus

# SageMaker's own choices are 100, 200, 500, 1000, 5000 and 60000.
LEAST_MS: Final = 100
MOST_MS: Final = 60_000
_FLUSH_S: Final = 3.0
# How long a parent may be gone before it is noticed.
_LOOK_S: Final = 1.0


class SampleFiles:
    """Appends samples to the file of their minute, every few seconds."""

    def __init__(self, folder: Path, *, host: str) -> None:
        self._folder, self._host = folder / "system" / "incremental", host
        self._lines: list[str] = []
        self._minute = 0
        self._next_flush = 0.0
        self._is_failing = False

    def add(self, samples: list[dict[str, Any]]) -> None:
        """samples: of one moment."""
        when = samples[0]["Timestamp"]
        minute = int(when) // 60 * 60
        if minute != self._minute or when >= self._next_flush:
            self.flush()
            self._minute, self._next_flush = minute, when + _FLUSH_S
        self._lines += [json.dumps(sample) for sample in samples]

    def flush(self) -> None:
        """Writes what was added. What finds no room on the disk is left out, and said once."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        path = self._folder / time.strftime("%Y%m%d%H", time.gmtime(self._minute)) / f"{self._minute}.{self._host}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _append(path, ("\n".join(lines) + "\n").encode())
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                self._is_failing = True
                print(f"sampler: {path}: {error.strerror}: samples are left out", file=sys.stderr, flush=True)


class Sampler:
    """A thread that samples until it is stopped.

    folder: of the profiler's files. interval_ms: 100 to 60000. host: SageMaker's name of the machine.
    Raises UserError for an interval outside of that.
    """

    def __init__(self, folder: Path, *, interval_ms: int = 500, host: str = "algo-1", gpus: Gpus | None = None) -> None:
        if not LEAST_MS <= interval_ms <= MOST_MS:
            raise UserError(
                f"ProfilingIntervalInMilliseconds is {interval_ms}. Expected {LEAST_MS} to {MOST_MS}; SageMaker takes "
                "100, 200, 500, 1000, 5000 and 60000."
            )
        self._interval_s = interval_ms / 1000
        self._files = SampleFiles(folder, host=host)
        self._readings = Readings(host=host, gpus=gpus or open_gpus())
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self.run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begins; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it; what was sampled is in the files. May be called more than once, and without `start`."""
        self._ending.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def run(self, is_ended: Callable[[float], bool] | None = None) -> None:
        """Samples in this thread until `stop` is called.

        is_ended: asked in its place; waits for that many seconds at most, and says whether it is to end now.
        """
        wait = is_ended or self._ending.wait
        try:
            due = time.monotonic() + self._interval_s
            while not _is_ended_before(due, wait):
                self._files.add(self._readings.take())
                due = max(due + self._interval_s, time.monotonic())  # what was missed is not made up for
        except Exception as error:  # a training goes on without its samples
            print(f"sampler: {type(error).__name__}: {error}: no more samples", file=sys.stderr, flush=True)
        finally:
            self._files.flush()


def _is_ended_before(due: float, wait: Callable[[float], bool]) -> bool:
    """Waits until `due`, asking every second whether it is to end."""
    left = due - time.monotonic()
    while left > _LOOK_S:
        if wait(_LOOK_S):
            return True
        left = due - time.monotonic()
    return wait(max(left, 0.0))


def _append(path: Path, content: bytes) -> None:
    """Adds all of `content` to the file, or nothing."""
    with path.open("ab", buffering=0) as stream:
        size = stream.tell()
        if stream.write(content) < len(content):
            stream.truncate(size)
            raise OSError(28, "No space left on device")


def main(argv: Sequence[str]) -> int:
    """The exit status: 0, or a KennelError's."""
    parser = argparse.ArgumentParser(prog="python -m kennel.profile.sampler", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the profiler's folder")
    parser.add_argument("--interval-ms", type=int, default=500)
    parser.add_argument("--host", default="algo-1")
    parser.add_argument("--parent-pid", type=int, help="ends when this is its parent no more")
    arguments = parser.parse_args(argv)
    try:
        # The local service hides GPUs from what it starts beside a job; to be asked how busy it is costs a GPU nothing.
        gpus = open_gpus() if os.environ.get("CUDA_VISIBLE_DEVICES") else open_gpus({})
        sampler = Sampler(arguments.output, interval_ms=arguments.interval_ms, host=arguments.host, gpus=gpus)
    except KennelError as error:
        print(error, file=sys.stderr)
        return error.exit_status

    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)

    def is_ended(seconds: float) -> bool:
        if signal.sigtimedwait(ends, seconds) is not None:
            return True
        # Not the kernel's promise (kennel.orphans): that counts from the thread that started this, and is a SIGKILL.
        return arguments.parent_pid is not None and os.getppid() != arguments.parent_pid

    sampler.run(is_ended)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
