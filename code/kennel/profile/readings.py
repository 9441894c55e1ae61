"""What a machine is doing right now, in the names SageMaker's system metrics have.

    readings = Readings(host="algo-1", gpus=open_gpus())
    time.sleep(0.5)
    for sample in readings.take(): ...          # {"Type": "cpu", "Name": "cpu0", "Dimension": "CPUUtilization", ...}

Rates and shares are over the time since the call before.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psutil

_LOOPBACK: Final = "lo"


@dataclass(frozen=True)
class Gpus:
    """The GPUs of this job, by NVML. handles: in the order the job sees them."""

    nvml: Any
    handles: tuple[Any, ...]

    def readings(self) -> Iterator[tuple[str, str, float]]:
        """Name, dimension, percent. A GPU that does not answer this once is left out."""
        for index, handle in enumerate(self.handles):
            with contextlib.suppress(self.nvml.NVMLError):
                memory = self.nvml.nvmlDeviceGetMemoryInfo(handle)
                yield f"gpu{index}", "GPUUtilization", float(self.nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
                yield f"gpu{index}", "GPUMemoryUtilization", 100 * memory.used / memory.total


def open_gpus(environ: Mapping[str, str] = os.environ) -> Gpus | None:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, or all; None where NVML or a GPU is not there."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = _handles(pynvml, environ.get("CUDA_VISIBLE_DEVICES"))
    except ImportError:
        return None
    except pynvml.NVMLError:  # no driver, or a device that is named and not there
        return None
    return Gpus(pynvml, tuple(handles)) if handles else None


def _handles(nvml: Any, visible: str | None) -> list[Any]:  # noqa: ANN401  a module without types
    if visible is None:
        return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    names = [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    return [
        nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)
        for name in names
    ]


class Readings:
    """Samples of CPU, memory, disk, network and GPUs. host: SageMaker's name of the machine."""

    def __init__(self, *, host: str, gpus: Gpus | None = None) -> None:
        self._host, self._gpus = host, gpus
        self._taken = time.monotonic()
        self._cpus = psutil.cpu_times(percpu=True)
        self._disk, self._network = _disk(), _network()

    def take(self) -> list[dict[str, Any]]:
        """Every metric once."""
        now, clock = time.monotonic(), time.time()
        seconds, self._taken = max(now - self._taken, 1e-6), now
        found = [("cpu", *reading) for reading in self._cpu_readings()]
        found += [("gpu", *reading) for reading in (self._gpus.readings() if self._gpus else ())]
        found.append(("memory", "MemoryUsedPercent", "", psutil.virtual_memory().percent))
        found += [("i/o", name, "", value) for name, value in self._disk_readings(seconds)]
        found += [("network", name, "Algorithm", value) for name, value in self._network_readings(seconds)]
        return [
            {
                "Type": kind,
                "Name": name,
                "Dimension": dimension,
                "Value": round(value, 3),
                "NodeId": self._host,
                "Timestamp": round(clock, 6),
            }
            for kind, name, dimension, value in found
        ]

    def _cpu_readings(self) -> Iterator[tuple[str, str, float]]:
        """Per core: the share of time it worked, and the share it waited for a disk."""
        before, self._cpus = self._cpus, psutil.cpu_times(percpu=True)
        for index, (old, new) in enumerate(zip(before, self._cpus, strict=False)):
            parts = {name: max(getattr(new, name) - getattr(old, name), 0.0) for name in _PARTS if hasattr(new, name)}
            total = sum(parts.values())
            waited = parts.get("iowait", 0.0)
            worked = total - parts.get("idle", 0.0) - waited
            yield f"cpu{index}", "CPUUtilization", 100 * worked / total if total else 0.0
            yield f"cpu{index}", "I/OWaitPercentage", 100 * waited / total if total else 0.0

    def _disk_readings(self, seconds: float) -> Iterator[tuple[str, float]]:
        before, self._disk = self._disk, _disk()
        operations, read, written = (max(new - old, 0) / seconds for old, new in zip(before, self._disk, strict=True))
        yield "IOPS", operations
        yield "ReadThroughputInBytesPerSecond", read
        yield "WriteThroughputInBytesPerSecond", written

    def _network_readings(self, seconds: float) -> Iterator[tuple[str, float]]:
        before, self._network = self._network, _network()
        received, sent = (max(new - old, 0) / seconds for old, new in zip(before, self._network, strict=True))
        yield "ReceiveBytesPerSecond", received
        yield "TransmitBytesPerSecond", sent


# user and nice contain guest's times already.
_PARTS: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


def _disk() -> tuple[int, int, int]:
    """Operations, bytes read and bytes written since the machine began; zeros where the kernel does not tell."""
    counters = psutil.disk_io_counters()
    if counters is None:
        return 0, 0, 0
    return counters.read_count + counters.write_count, counters.read_bytes, counters.write_bytes


def _network() -> tuple[int, int]:
    """Bytes received and sent, without what the machine sends to itself."""
    counters = [each for name, each in psutil.net_io_counters(pernic=True).items() if name != _LOOPBACK]
    return sum(each.bytes_recv for each in counters), sum(each.bytes_sent for each in counters)
