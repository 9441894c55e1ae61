"""The machine during a run: SageMaker's own system-metrics files, as the table of AWS's profiler report has them.

A file has one JSON object a line: {"Type", "Name", "Dimension", "Value", "NodeId", "Timestamp" (seconds)}.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

# (Type, Dimension) -> what it is called, and its unit. CPU cores are shown one by one, and together.
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
_POINTS: Final = 240  # of a curve: what a chart of this width can show
_MAX_SAMPLES: Final = 4_000_000
_COLUMNS: Final = (("max", 100), ("p99", 99), ("p95", 95), ("p50", 50), ("min", 0))

Key = tuple[str, str, str, str]  # node, type, name, dimension


def read_machine(profiler: Path) -> dict[str, Any]:
    """{"started", "ended", "samples", "metrics": [...]}; empty where nothing was sampled.

    A metric: {"node", "name", "part", "unit", "samples", "max", "p99", "p95", "p50", "min", "curve": [[seconds since
    the start, mean value], ...]}. part: which core or GPU, "" for all of them together.
    """
    found: dict[Key, list[tuple[float, float]]] = defaultdict(list)
    total = 0
    for key, timestamp, value in _samples(profiler / "system"):
        found[key].append((timestamp, value))
        total += 1
        if total >= _MAX_SAMPLES:
            break
    if not found:
        return {}
    times = [each[0] for samples in found.values() for each in samples]
    started, ended = min(times), max(times)
    series = {**_together(found), **found}
    metrics = [_metric(key, np.array(samples), started, ended) for key, samples in series.items()]
    metrics.sort(
        key=lambda each: (each["node"], _ORDER.index(each["name"]), each["part"] != "", _natural(each["part"]))
    )
    return {"started": started, "ended": ended, "samples": total, "metrics": metrics}


_ORDER: Final = [name for name, _ in (*_NAMES.values(), *_RATES.values())]


def _samples(folder: Path) -> Iterator[tuple[Key, float, float]]:
    """Lines that cannot be read are left out: the last one of a job that was killed may be cut."""
    for path in sorted(folder.rglob("*.json")):
        for line in path.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
                key = (str(entry["NodeId"]), str(entry["Type"]), str(entry["Name"]), str(entry.get("Dimension") or ""))
                timestamp, value = float(entry["Timestamp"]), float(entry["Value"])
            except (ValueError, KeyError, TypeError):
                continue
            if np.isfinite(value) and _name(key) is not None:
                yield key, timestamp, value


def _name(key: Key) -> tuple[str, str] | None:
    _, kind, name, dimension = key
    if kind == "network" and dimension not in ("Algorithm", ""):
        return None  # the platform's own traffic
    return _NAMES.get((kind, dimension)) or _RATES.get(name)


def _together(found: dict[Key, list[tuple[float, float]]]) -> dict[Key, list[tuple[float, float]]]:
    """The means over the cores, and over the GPUs where there are several, moment by moment."""
    groups: dict[Key, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (node, kind, _, dimension), samples in found.items():
        if kind in ("cpu", "gpu"):
            for timestamp, value in samples:
                groups[(node, kind, "", dimension)][round(timestamp, 1)].append(value)
    return {key: [(at, float(np.mean(values))) for at, values in moments.items()] for key, moments in groups.items()}


def _metric(key: Key, samples: Any, started: float, ended: float) -> dict[str, Any]:  # noqa: ANN401  float (N, 2)
    name, unit = _name(key) or ("", "")
    node, kind, part, _ = key
    values = samples[:, 1]
    return {
        "node": node,
        "name": name,
        "part": part if kind in ("cpu", "gpu") else "",
        "unit": unit,
        "samples": len(values),
        **{column: float(np.percentile(values, rank)) for column, rank in _COLUMNS},
        "curve": _curve(samples, started, ended),
    }


def _curve(samples: Any, started: float, ended: float) -> list[list[float]]:  # noqa: ANN401  float (N, 2)
    """Means over at most 240 equal stretches of time."""
    width = max((ended - started) / _POINTS, 0.1)
    number = ((samples[:, 0] - started) / width).astype(int)
    return [
        [
            round(float(samples[number == each, 0].mean() - started), 3),
            round(float(samples[number == each, 1].mean()), 3),
        ]
        for each in np.unique(number)
    ]


def _natural(part: str) -> tuple[str, int]:
    """cpu2 before cpu10."""
    digits = "".join(letter for letter in part if letter.isdigit())
    return part.rstrip("0123456789"), int(digits or 0)
