"""Where a training's time goes: light timers for every step and phase, and torch's profiler for a few steps.

    timeline = open_timeline(folder, is_on=True, readers=2)
    with timeline.phase("features"): ...
    timeline.begin_epoch(1)
    for number, batch in enumerate(timeline.waiting(batches)):      # counts as phase "data_wait"
        with timeline.step("TRAIN", number):
            with timeline.phase("forward"): ...
    timeline.end_epoch()
    timeline.close()

Left in `folder`: kennel-timeline.json (kennel.profile.summary) and framework/pevents (kennel.profile.trace_files).

A step begins where the wait for its data began. A phase's time is its own: what runs inside it in another phase is
counted there only, except inside `start`, `features`, `eval`, `checkpoint` and `results`, which keep all of it (and say
in `within` what it was) but for `hook`. One thread calls it. A failure of it is printed and ends the timeline, never
the training; an exception of the training goes through all of it with the timers right.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

from kennel.profile.operators import OperatorProfile
from kennel.profile.summary import Tally, write_summary
from kennel.profile.trace_files import TraceWriter

# Phases that keep the time of what runs inside them.
WHOLE: Final = frozenset({"start", "features", "eval", "checkpoint", "results"})
# Files are written this often, as far as steps or phases end in the meantime; and sooner where an epoch ends.
_FLUSH_NS: Final = 30 * 10**9
_SOON_NS: Final = 5 * 10**9

T = TypeVar("T")
_END: Final = object()


class Timeline:
    """The timers of one training. `OFF` is one that does nothing."""

    is_on = True

    def __init__(self, folder: Path, *, host: str, readers: int, started: float) -> None:
        """folder: of the profiler's files. started: when the process began, epoch seconds."""
        self._folder = folder
        self._clock_ns = time.time_ns() - time.perf_counter_ns()  # epoch = perf_counter + this
        self.tally = Tally(started, readers)
        self._writer = TraceWriter(folder, host=host)
        self._operators = OperatorProfile()
        self._spans: dict[str, _Span] = {}
        self._steps: dict[str, _StepSpan] = {}
        self._names: list[str] = []
        self._since: list[int] = []
        self._inside: list[int] = []  # ns that phases inside took
        self._outer: str | None = None
        self._mode: str | None = None
        self._number = 0
        self._step_since = 0
        self._waited_since = 0
        self._is_started = False
        self._is_broken = False
        self._next_flush = time.perf_counter_ns() + _FLUSH_NS

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Counts what runs inside as `name`; may be entered within another."""
        span = self._spans.get(name)
        if span is None:
            span = self._spans[name] = _Span(self, name)
        return span

    def step(self, mode: str, number: int) -> AbstractContextManager[None]:
        """One step. mode: TRAIN or EVAL. number: counted from 0 through the whole training, by mode."""
        span = self._steps.get(mode)
        if span is None:
            span = self._steps[mode] = _StepSpan(self, mode)
        span.number = number
        return span

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        """The items, the wait for each counted as `data_wait`."""
        iterator = iter(items)
        wait = self.phase("data_wait")
        while True:
            with wait:
                item = next(iterator, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]  # no _END any more

    def begin_epoch(self, epoch: int) -> None:
        """epoch: from 1."""
        now = time.perf_counter_ns()
        self._end_start(now)
        self._waited_since = 0
        self.tally.begin_epoch(epoch, now)
        self._operators.begin_epoch()

    def end_epoch(self) -> None:
        """Writes the summary too."""
        now = time.perf_counter_ns()
        self._waited_since = 0
        self.tally.end_epoch(now)
        if now > self._next_flush - _FLUSH_NS + _SOON_NS:
            self._flush()
        else:
            self._guarded(self._summarize)

    def close(self) -> None:
        """Writes what is left; may be called more than once."""
        self.tally.ended = time.time()
        self._profiling(self._operators.stop)
        self._flush()

    def _enter(self, name: str) -> None:
        if not self._names:
            if name in WHOLE:
                self._outer, self._waited_since = name, 0
            if name != "start" and not self._is_started:
                self._end_start(time.perf_counter_ns())
        if self._operators.is_wanted(self._outer, name):
            self._profiling(self._operators.begin_batch)
        if self._operators.is_running:
            self._operators.enter(name)
        self._names.append(name)
        self._inside.append(0)
        self._since.append(time.perf_counter_ns())

    def _leave(self) -> None:
        now = time.perf_counter_ns()
        name, since, inside = self._names.pop(), self._since.pop(), self._inside.pop()
        taken = now - since
        if self._inside:
            self._inside[-1] += taken
        if name != "start" or self._is_started:
            self.tally.add(name, taken - inside, outer=self._outer)
        if name == "data_wait" and self._mode is None and not self._waited_since:
            self._waited_since = since
        self._writer.add(name, since + self._clock_ns, taken, mode=self._mode, number=self._number)
        if self._operators.is_running:
            self._leave_operators(name)
        if not self._names:
            self._outer = None
            if self._mode is None and now > self._next_flush:
                self._flush()

    def _enter_step(self, mode: str, number: int) -> None:
        profiling_ns = 0
        if mode == "TRAIN" and self._operators.is_step_wanted():
            profiling_ns = self._profiling(self._operators.begin_step)
        self._mode, self._number = mode, number
        self._step_since = self._waited_since + profiling_ns if self._waited_since else time.perf_counter_ns()
        self._waited_since = 0

    def _leave_step(self) -> None:
        now = time.perf_counter_ns()
        mode, taken = self._mode or "", now - self._step_since
        self._mode, self._waited_since = None, 0
        is_first = not self.tally.first_step
        self.tally.add_step(mode, taken, began=(self._step_since + self._clock_ns) / 1e9)
        self._writer.add_step(mode, self._step_since + self._clock_ns, taken, number=self._number)
        if mode == "TRAIN":
            self._operators.count_step()
            if self._operators.is_running:
                self._profiling(self._operators.end_unit)
        if is_first or now > self._next_flush:
            self._flush()

    def _leave_operators(self, name: str) -> None:
        self._operators.leave()
        if self._outer == "features" and name == "forward":
            self._profiling(self._operators.end_unit)

    def _profiling(self, action: Callable[[], None]) -> int:
        """What torch's profiler costs, ns, is a phase of its own, wherever it is paid."""
        since = time.perf_counter_ns()
        self._guarded(action)
        taken = time.perf_counter_ns() - since
        self.tally.add("profiler", taken, outer=None)
        if self._inside:
            self._inside[-1] += taken
        return taken

    def _end_start(self, now: int) -> None:
        if not self._is_started:
            self._is_started = True
            self.tally.end_start((now + self._clock_ns) / 1e9)

    def _flush(self) -> None:
        self._guarded(self._write)
        self._next_flush = time.perf_counter_ns() + _FLUSH_NS

    def _write(self) -> None:
        if not self._is_broken:
            self._writer.flush(self._operators.take_events())
            self._summarize()

    def _summarize(self) -> None:
        if not self._is_broken:
            write_summary(self._folder, self.tally, self._operators, dropped=self._writer.dropped)

    def _guarded(self, action: Callable[[], None]) -> None:
        """Does it; what fails is said once, and the timeline writes no more."""
        started = time.perf_counter_ns()
        try:
            action()
        except Exception as error:  # the training goes on, whatever it is
            self._operators.abandon()
            if not self._is_broken:
                self._is_broken = True
                print(f"timeline: {type(error).__name__}: {error}: nothing more is written of it", flush=True)
        self.tally.overhead_ns += time.perf_counter_ns() - started


class _Span:
    """The context manager of one phase, entered any number of times."""

    __slots__ = ("_name", "_timeline")

    def __init__(self, timeline: Timeline, name: str) -> None:
        self._timeline, self._name = timeline, name

    def __enter__(self) -> None:
        self._timeline._enter(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timeline._leave()


class _StepSpan:
    """The context manager of the steps of one mode."""

    __slots__ = ("_mode", "_timeline", "number")

    def __init__(self, timeline: Timeline, mode: str) -> None:
        self._timeline, self._mode, self.number = timeline, mode, 0

    def __enter__(self) -> None:
        self._timeline._enter_step(self._mode, self.number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timeline._leave_step()


class _Off(Timeline):
    """Does nothing, and allocates nothing."""

    is_on = False

    def __init__(self) -> None:
        self._nothing = nullcontext()

    def phase(self, name: str) -> AbstractContextManager[None]:
        return self._nothing

    def step(self, mode: str, number: int) -> AbstractContextManager[None]:
        return self._nothing

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        return iter(items)

    def begin_epoch(self, epoch: int) -> None:
        pass

    def end_epoch(self) -> None:
        pass

    def close(self) -> None:
        pass


OFF: Final[Timeline] = _Off()


def open_timeline(folder: Path | None, *, is_on: bool, host: str = "algo-1", readers: int = 0) -> Timeline:
    """A timeline that writes into `folder`, or OFF. readers: threads that read pictures; host: SageMaker's name of it.

    What ran before, since the process began, counts as phase `start`, and so does the time up to the first other phase.
    """
    if folder is None or not is_on:
        return OFF
    return Timeline(folder, host=host, readers=readers, started=_process_start())


def _process_start() -> float:
    import psutil  # only where a timeline is kept

    return float(psutil.Process().create_time())
