"""A program's log on disk: log.txt as it was printed, and beside it the time each line came.

`log.times` holds one line of 13 digits (milliseconds since 1970) for each line of log.txt, so that CloudWatch's reading
calls can be answered from the two files, also after a restart of the service.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# CloudWatch's own limit on one event; a longer line is split.
LONGEST_LINE: Final = 256 * 1024
TIME_WIDTH: Final = 14


@dataclass(frozen=True)
class LogEvent:
    """One line: its number from 0, when it came, its text without the line end."""

    number: int
    time_ms: int
    message: str


def times_file(log: Path) -> Path:
    """Where the times of `log`'s lines are."""
    return log.with_suffix(".times")


class LogWriter:
    """Splits what a program prints into lines and appends them to its log, each with its time."""

    def __init__(self, log: Path, *, clock: Callable[[], float] = time.time) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._log = os.open(log, flags, 0o644)
        self._times = os.open(times_file(log), flags, 0o644)
        self._clock = clock
        self._last_ms = 0
        self._partial = b""

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of output; complete lines are on disk when it returns."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        while len(self._partial) >= LONGEST_LINE:
            lines.append(self._partial[:LONGEST_LINE])
            self._partial = self._partial[LONGEST_LINE:]
        self._write([piece for line in lines for piece in _pieces(line)])

    def close(self) -> None:
        """Writes what is left without a line end, and closes the files."""
        if self._partial:
            self._write([self._partial])
        os.close(self._log)
        os.close(self._times)

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        # The SDK resumes by (time, how many at that time), so times must never go back.
        self._last_ms = max(self._last_ms, int(self._clock() * 1000))
        os.write(self._log, b"".join(line + b"\n" for line in lines))
        os.write(self._times, f"{self._last_ms:013d}\n".encode() * len(lines))


class LogReader:
    """Reads a log from where it was last read; for a log that still grows."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._position = 0
        self._number = 0
        self._last_ms = 0

    def new_events(self) -> list[LogEvent]:
        """The complete lines written since the last call."""
        if not self._log.exists():
            return []
        with self._log.open("rb") as stream:
            stream.seek(self._position)
            data = stream.read()
        lines = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
        self._position += sum(len(line) + 1 for line in lines)
        times = self._read_times(len(lines))
        events = [self._event(line, times[index : index + 1]) for index, line in enumerate(lines)]
        return events

    def _event(self, line: bytes, time_ms: list[int]) -> LogEvent:
        # A line whose time is not on disk (the guard was killed between the two) takes the one before it.
        self._last_ms = time_ms[0] if time_ms else self._last_ms
        event = LogEvent(self._number, self._last_ms, line.rstrip(b"\r").decode(errors="replace"))
        self._number += 1
        return event

    def _read_times(self, count: int) -> list[int]:
        path = times_file(self._log)
        if not path.exists():
            return []
        with path.open("rb") as stream:
            stream.seek(self._number * TIME_WIDTH)
            return [int(line) for line in stream.read(count * TIME_WIDTH).split() if len(line) == TIME_WIDTH - 1]


def read_events(log: Path) -> list[LogEvent]:
    """Every complete line of a log."""
    return LogReader(log).new_events()


def tail(log: Path, *, lines: int = 5) -> str:
    """The last lines of a log as one text, without empty ones."""
    return "\n".join([event.message for event in read_events(log) if event.message.strip()][-lines:])


def _pieces(line: bytes) -> list[bytes]:
    return [line[start : start + LONGEST_LINE] for start in range(0, len(line), LONGEST_LINE)] or [b""]
