"""Feeds a batch transform's server: object after object, several requests at once, outputs in the input's order."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from kennel.local.log_file import LogWriter
from kennel.local.storage import STORAGE_ERRORS
from kennel.local.transform_client import Ended, NoAnswer, Refused
from kennel.local.transform_inputs import Source
from kennel.local.transform_outputs import Output, Outputs
from kennel.local.transform_records import RecordFault
from kennel.local.transform_requests import Requests
from kennel.local.validation import to_iso

_WATCH_S: Final = 0.5
# What makes one object fail, and not the job's others.
_FAULTS: Final = (Refused, NoAnswer, RecordFault, *STORAGE_ERRORS)


@dataclass(frozen=True)
class _Step:
    """A request that was sent, or (without an answer) the end of an object."""

    source: Source
    output: Output
    answer: Future[bytes] | None = None


@dataclass
class Feed:
    """check: raises what ends the whole job, if the server has ended or nobody wants an answer any more.

    faults: what failed, the objects named. finished: how many objects have their output.
    """

    requests: Requests
    outputs: Outputs
    log: LogWriter
    check: Callable[[], None]
    assembly: str = "None"
    faults: list[str] = field(default_factory=list)
    finished: int = 0
    _steps: deque[_Step] = field(default_factory=deque)

    def send(self, sources: Iterable[Source], *, concurrent: int) -> None:
        """Returns when every object has its output or its fault. Raises what `check` does.

        Twice as many requests as fly at once are in memory.
        """
        with _pool(concurrent) as pool:
            for source in sources:
                output = self.outputs.begin(source.name, assembly=self.assembly)
                try:
                    for request in self.requests.of(source):
                        if output.fault:
                            break
                        self._steps.append(_Step(source, output, pool.submit(request)))
                        self._take(at_most=2 * concurrent)
                except _FAULTS as error:
                    self._fail(source, output, error)
                self._steps.append(_Step(source, output))
                self._take(at_most=2 * concurrent)
            self._take(at_most=0)

    def _take(self, *, at_most: int) -> None:
        """Waits for answers, in the order of what was sent, until no more steps than that are left."""
        while len(self._steps) > at_most:
            step = self._steps.popleft()
            self.check()
            if step.output.fault is not None:
                continue
            try:
                self._settle(step)
            except _FAULTS as error:
                self._fail(step.source, step.output, error)

    def _settle(self, step: _Step) -> None:
        if step.answer is None:
            step.output.finish()
            self.finished += 1
            return
        while not wait([step.answer], _WATCH_S).done:
            self.check()
        try:
            step.output.write(step.answer.result())
        except (NoAnswer, Ended):
            self.check()
            raise

    def _fail(self, source: Source, output: Output, error: Exception) -> None:
        """Remembers why an object failed, with the lines that SageMaker's log has of it."""
        output.fail(str(error))
        self.faults.append(f"{source.label}: {error}")
        lines = (error.message if isinstance(error, Refused) else str(error)).splitlines()
        if isinstance(error, Refused):
            kind = "ClientError" if error.status < 500 else "Bad HTTP status received from algorithm"
            lines = [f"{kind}: {error.status}", "", "Message:", *lines]
        for line in lines:
            say(self.log, f"{source.label}: {line}")


def say(log: LogWriter, text: str) -> None:
    """A line in SageMaker's own form: 2026-11-21T15:00:00.123:[sagemaker logs]: ..."""
    log.feed(f"{to_iso(time.time())[:23]}:[sagemaker logs]: {text}\n".encode())


@contextmanager
def _pool(size: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are not waited for: what is still under way ends with the server."""
    pool = ThreadPoolExecutor(size, thread_name_prefix="transform")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
