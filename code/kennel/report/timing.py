"""Where the time went: the job as a whole, its phases, its epochs, its steps and its operators.

A job has three parts, as in the first table of AWS's profiler report: initialisation, from its start to the first
step; the training loop; finalisation, from the end of the last epoch to the job's end.
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kennel.report.learning import history_line_epoch

_MAX_DEPTH: Final = 12
_MIN_SHARE: Final = 0.002  # of a flame's width: narrower boxes cannot be seen
_OPERATORS: Final = 60
_OPERATOR: Final = ("name", "phase", "calls", "self_cpu_ms", "cpu_ms", "cuda_ms")


def job_facts(
    job: Mapping[str, Any], timeline: Mapping[str, Any], log: Sequence[tuple[float | None, str]]
) -> dict[str, Any]:
    """Start, end and the three parts of a job, seconds; what cannot be known is None.

    log: (seconds since 1970 or None, line): says when epochs ended where no timeline does.
    """
    started = _seconds(job.get("TrainingStartTime")) or _seconds(job.get("CreationTime")) or timeline.get("started")
    ended = _seconds(job.get("TrainingEndTime")) or timeline.get("ended")
    first, last = _loop(timeline, log)
    facts: dict[str, Any] = {
        "created": _seconds(job.get("CreationTime")),
        "started": started,
        "ended": ended,
        "loop_started": first,
        "loop_ended": last,
        "duration_s": _between(started, ended),
        "parts": [],
        "transitions": [
            {
                "status": str(each.get("Status")),
                "seconds": _between(_seconds(each.get("StartTime")), _seconds(each.get("EndTime"))),
            }
            for each in job.get("SecondaryStatusTransitions") or []
        ],
        "billable_s": job.get("BillableTimeInSeconds"),
        "instance_type": (job.get("ResourceConfig") or {}).get("InstanceType"),
        "instance_count": (job.get("ResourceConfig") or {}).get("InstanceCount"),
        "image": (job.get("AlgorithmSpecification") or {}).get("TrainingImage"),
    }
    facts["parts"] = _parts([("Initialisation", started), ("Training loop", first), ("Finalisation", last)], ended)
    return facts


def timing(timeline: Mapping[str, Any], spans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Phases, epochs, steps, operators and the flame, from kennel-timeline.json; {} where there is none."""
    if not timeline:
        return {}
    phases = timeline.get("phases") or {}
    whole = sum(phases.values())
    operators = sorted(timeline.get("operators") or [], key=lambda each: -float(each.get("self_cpu_ms") or 0))
    return {
        "phases": [
            {"phase": name, "seconds": seconds, "share": seconds / whole if whole else None}
            for name, seconds in sorted(phases.items(), key=lambda item: -item[1])
        ],
        "epochs": timeline.get("epochs") or [],
        "steps": [
            {"mode": mode, **values} for mode, values in (timeline.get("steps") or {}).items() if values.get("count")
        ],
        "within": timeline.get("within") or {},
        "readers": timeline.get("readers"),
        "overhead_s": timeline.get("overhead_s"),
        "spans": list(spans),
        "operators": [{name: each.get(name) for name in _OPERATOR} for each in operators[:_OPERATORS]],
        "flame": flame_boxes(timeline.get("flame") or []),
    }


def flame_boxes(flame: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Nested calls as boxes: {"name", "depth", "from_ms", "to_ms", "share"}; too narrow ones are left out."""
    whole = sum(float(each.get("value_ms") or 0) for each in flame)
    boxes: list[dict[str, Any]] = []

    def place(calls: Sequence[Mapping[str, Any]], depth: int, begin: float) -> None:
        for call in calls:
            width = float(call.get("value_ms") or 0)
            if whole <= 0 or width / whole < _MIN_SHARE or depth >= _MAX_DEPTH:
                begin += width
                continue
            boxes.append(
                {
                    "name": str(call.get("name")),
                    "depth": depth,
                    "from_ms": begin,
                    "to_ms": begin + width,
                    "share": width / whole,
                }
            )
            place(call.get("children") or [], depth + 1, begin)
            begin += width

    place(flame, 0, 0.0)
    return boxes


def read_log_times(log: Path, lines: Sequence[str]) -> list[tuple[float | None, str]]:
    """Each line of a log with the time it came, where log.times beside it says it (milliseconds, a line a line)."""
    times: list[float | None] = []
    try:
        times = [int(text) / 1000 for text in log.with_suffix(".times").read_text().split()]
    except (OSError, ValueError):
        times = []
    return list(zip([*times, *[None] * (len(lines) - len(times))], lines, strict=False))


def _parts(begins: Sequence[tuple[str, float | None]], ended: float | None) -> list[dict[str, Any]]:
    """Each part with its seconds and its share; none where a moment is not known."""
    times = [at for _, at in begins] + [ended]
    known = [at for at in times if at is not None]
    if len(known) < len(times) or known[-1] <= known[0]:
        return []
    lengths = [max(end - begin, 0.0) for begin, end in zip(known[:-1], known[1:], strict=True)]
    return [
        {"part": part, "seconds": length, "share": length / (known[-1] - known[0])}
        for (part, _), length in zip(begins, lengths, strict=True)
    ]


def _loop(timeline: Mapping[str, Any], log: Sequence[tuple[float | None, str]]) -> tuple[float | None, float | None]:
    """When the first epoch began and the last one ended."""
    first = timeline.get("first_step")
    epochs = [(at, epoch) for at, line in log if at and (epoch := history_line_epoch(line))]
    if first and timeline.get("epochs") and not epochs:
        return first, first + sum(float(each.get("seconds") or 0) for each in timeline["epochs"])
    if not epochs:
        return first, None
    return first or epochs[0][0] - epochs[0][1].get("seconds", 0.0), epochs[-1][0]


def _between(begin: float | None, end: float | None) -> float | None:
    return end - begin if begin is not None and end is not None else None


def _seconds(text: Any) -> float | None:  # noqa: ANN401  what a file says
    """Seconds since 1970 of an ISO 8601 time."""
    try:
        return datetime.datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
