"""Chrome trace files of steps, phases and operators, in the form and under the names that smdebug reads.

`framework/pevents/YYYYMMDDHH/<end of the last event, us>_<pid>-<host>_pythontimeline.json` holds steps and phases,
`..._model_timeline.json` the operators of profiled steps. Each is a whole JSON list: it appears under its name when it
is finished. chrome://tracing and Perfetto open them as they are.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, Final

# All files of a training together: phases stop at the first bound, steps, which rules read, at the second.
_MOST_PHASE_BYTES: Final = 24 * 2**20
_MOST_BYTES: Final = 32 * 2**20
_ABOUT_AN_EVENT: Final = 120
# What a step is called by smdebug; its readers look for it.
STEP: Final = "Step:ModeKeys."


class TraceWriter:
    """Collects events and writes them as files. dropped: events beyond the bounds."""

    def __init__(self, folder: Path, *, host: str) -> None:
        self._folder = folder
        self._node = f"{os.getpid()}-{host.replace('_', '-')}"
        self._events: list[tuple[str, int, int, str | None, int]] = []
        self._bytes = 0
        self.dropped = 0

    def add(self, name: str, began_ns: int, taken_ns: int, *, mode: str | None, number: int) -> None:
        """A phase. began_ns: since the epoch. number: of the step it is in, where there is a mode."""
        if self._bytes > _MOST_PHASE_BYTES:
            self.dropped += 1
            return
        self._bytes += _ABOUT_AN_EVENT
        self._events.append((name, began_ns, taken_ns, mode, number))

    def add_step(self, mode: str, began_ns: int, taken_ns: int, *, number: int) -> None:
        """A step of mode TRAIN or EVAL."""
        if self._bytes > _MOST_BYTES:
            self.dropped += 1
            return
        self._bytes += _ABOUT_AN_EVENT
        self._events.append((STEP + mode, began_ns, taken_ns, mode, number))

    def flush(self, operators: list[dict[str, Any]]) -> None:
        """Writes what was collected, and `operators` (events with ts in us since the epoch)."""
        if self._events:
            events = [_as_trace(*event) for event in self._events]
            self._events = []
            self._write(events, "pythontimeline.json")
        if operators:
            self._write(operators, "model_timeline.json")

    def _write(self, events: list[dict[str, Any]], kind: str) -> None:
        first = min(event["ts"] for event in events)
        last = max(event["ts"] + event["dur"] for event in events)
        rows = sorted({event["row"] for event in events})
        lines = [json.dumps(line) for line in _heading(rows, first)]
        lines += [_line(event, rows.index(event["row"]), first) for event in events]
        folder = self._folder / "framework" / "pevents" / time.strftime("%Y%m%d%H", time.gmtime(last / 1e6))
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{last}_{self._node}_{kind}"
        part = self._folder / "framework" / f"{name}.tmp"
        part.write_text("[\n" + ",\n".join(lines) + "\n]\n")
        part.replace(folder / name)


def _as_trace(name: str, began_ns: int, taken_ns: int, mode: str | None, number: int) -> dict[str, Any]:
    args = {"step_num": str(number), "mode": mode} if mode else {}
    return {"row": name, "name": name, "ts": began_ns // 1000, "dur": taken_ns // 1000, "args": args}


def _heading(rows: list[str], first_us: int) -> list[dict[str, Any]]:
    """What the times count from, and the names of the rows, which the format calls processes."""
    start = {"name": "process_name", "ph": "M", "pid": 0, "args": {"start_time_since_epoch_in_micros": first_us}}
    names = [
        {"name": kind, "ph": "M", "pid": pid, "args": args}
        for pid, row in enumerate(rows)
        for kind, args in (("process_name", {"name": row}), ("process_sort_index", {"sort_index": pid}))
    ]
    return [start, *names]


def _line(event: dict[str, Any], pid: int, first_us: int) -> str:
    content = {"name": event["name"], "pid": pid, "tid": event.get("tid", 0), "ph": "X"}
    content |= {"ts": event["ts"] - first_us, "dur": event["dur"]}
    return json.dumps(content | ({"args": event["args"]} if event["args"] else {}))
