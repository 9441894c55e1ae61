"""The machine during a run, as the table of AWS's profiler report has it, and some consecutive steps in detail."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from kennel.profile.readers import Event, Series, read_events, read_system
from kennel.profile.trace_files import STEP

# (Type, Dimension) -> what it is called, and its unit.
_NAMES: Final = {
    ("cpu", "CPUUtilization"): ("CPU", "percent"),
    ("cpu", "I/OWaitPercentage"): ("I/O wait", "percent"),
    ("gpu", "GPUUtilization"): ("GPU", "percent"),
    ("gpu", "GPUMemoryUtilization"): ("GPU memory", "percent"),
    ("memory", ""): ("Memory", "percent"),
}
_RATES: Final = {
    "IOPS": ("I/O operations", "per second"),
    "ReadThroughputInBytesPerSecond": ("Disk read", "bytes per second"),
    "WriteThroughputInBytesPerSecond": ("Disk write", "bytes per second"),
    "ReceiveBytesPerSecond": ("Network in", "bytes per second"),
    "TransmitBytesPerSecond": ("Network out", "bytes per second"),
}
_ORDER: Final = [name for name, _ in (*_NAMES.values(), *_RATES.values())]
_POINTS: Final = 240  # of a curve: what a chart of this width can show
_STEPS: Final = 8
_MAX_SPANS: Final = 600


def read_machine(profiler: Path) -> dict[str, Any]:
    """{"started", "ended", "samples", "metrics": [...]}; empty where nothing was sampled.

    A metric: {"node", "name", "part", "unit", "samples", "max", "p99", "p95", "p50", "min", "curve": [[seconds since
    the start, mean value], ...]}. part: which core or GPU, "" for all of them together.
    """
    found = [each for each in read_system(profiler) if len(each.values) and _name(each)]
    if not found:
        return {}
    started = min(float(each.times[0]) for each in found)
    metrics = [_metric(each, started) for each in [*_together(found), *found]]
    metrics.sort(key=lambda metric: (metric["node"], _ORDER.index(metric["name"]), metric["part"] != ""))
    return {
        "started": started,
        "ended": max(float(each.times[-1]) for each in found),
        "samples": sum(len(each.values) for each in found),
        "metrics": metrics,
    }


def read_spans(profiler: Path) -> list[dict[str, Any]]:
    """What eight consecutive training steps in the middle of the run were made of.

    A span: {"lane": phase, "step": number, "from_ms", "to_ms", "duration_ms"}, counted from the first step's begin.
    """
    events = read_events(profiler)
    steps = [event for event in events if event.name == f"{STEP}TRAIN"]
    if not steps:
        return []
    middle = max(0, min(len(steps) // 2, len(steps) - _STEPS))
    shown = steps[middle : middle + _STEPS]
    begin, end = shown[0].began, shown[-1].began + shown[-1].seconds
    inside = [each for each in events if begin <= each.began <= end and not each.name.startswith(STEP)]
    return [_span(event, shown, begin) for event in inside[:_MAX_SPANS]]


def _span(event: Event, steps: Sequence[Event], begin: float) -> dict[str, Any]:
    numbers = [step.step for step in steps if step.began <= event.began]
    from_ms, duration_ms = (event.began - begin) * 1e3, event.seconds * 1e3
    return {
        "lane": event.name,
        "step": numbers[-1] if numbers else None,
        "from_ms": from_ms,
        "to_ms": from_ms + duration_ms,
        "duration_ms": duration_ms,
    }


def _name(series: Series) -> tuple[str, str] | None:
    if series.kind == "network" and series.dimension not in ("Algorithm", ""):
        return None  # the platform's own traffic
    return _NAMES.get((series.kind, series.dimension)) or _RATES.get(series.name)


def _together(found: Sequence[Series]) -> list[Series]:
    """The means over the cores, and over the GPUs, moment by moment."""
    groups: dict[tuple[str, str, str], list[Series]] = defaultdict(list)
    for each in found:
        if each.kind in ("cpu", "gpu"):
            groups[(each.kind, each.dimension, each.node)].append(each)
    means = []
    for (kind, dimension, node), members in groups.items():
        samples = min(len(each.values) for each in members)
        values = np.mean([each.values[:samples] for each in members], axis=0)
        means.append(Series(kind, "", dimension, node, members[0].times[:samples], values))
    return means


def _metric(series: Series, started: float) -> dict[str, Any]:
    name, unit = _name(series) or ("", "")
    curve = series.downsampled(_POINTS)
    return {
        "node": series.node,
        "name": name,
        "part": series.name if series.kind in ("cpu", "gpu") else "",
        "unit": unit,
        "samples": len(series.values),
        **series.statistics(),
        "curve": [
            [round(at - started, 3), round(mean, 3)] for at, mean in zip(curve["time"], curve["mean"], strict=True)
        ],
    }
