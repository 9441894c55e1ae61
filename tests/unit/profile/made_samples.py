"""SageMaker's system metrics, made: any machine, any number of GPUs."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

START = 1_767_225_600
Values = Callable[[int], float]


def write_samples(
    folder: Path, metrics: Mapping[tuple[str, str, str], Values], *, count: int = 1200, node: str = "algo-1"
) -> Path:
    """metrics: by type, name and dimension, a function of the sample's number. Two samples a second."""
    minutes: dict[int, list[str]] = {}
    for index in range(count):
        when = START + index / 2
        for (kind, name, dimension), values in metrics.items():
            line = {"Type": kind, "Name": name, "Dimension": dimension, "Value": values(index)}
            minutes.setdefault(int(when) // 60 * 60, []).append(json.dumps(line | {"NodeId": node, "Timestamp": when}))
    for minute, lines in minutes.items():
        path = folder / "system" / "incremental" / "2026010100" / f"{minute}.{node}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return folder


def gpu(index: int = 0) -> tuple[str, str, str]:
    return "gpu", f"gpu{index}", "GPUUtilization"


def gpu_memory(index: int = 0) -> tuple[str, str, str]:
    return "gpu", f"gpu{index}", "GPUMemoryUtilization"


def cpu(index: int = 0) -> tuple[str, str, str]:
    return "cpu", f"cpu{index}", "CPUUtilization"


def io_wait(index: int = 0) -> tuple[str, str, str]:
    return "cpu", f"cpu{index}", "I/OWaitPercentage"


def steady(value: float) -> Values:
    """The value, a little less now and then."""
    return lambda index: value - index % 3


def by_turns(one: float, other: float) -> Values:
    """Twenty samples of the one, twenty of the other."""
    return lambda index: one if index // 20 % 2 else other
