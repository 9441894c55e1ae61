"""Samples of this machine in SageMaker's files, and of GPUs that a fake NVML has."""

import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from fake_nvml import fake_nvml
from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader
from smdebug.profiler.utils import TimeUnits

from kennel.errors import UserError
from kennel.profile import sampler as samplers
from kennel.profile.readers import read_system
from kennel.profile.readings import Gpus, Readings, open_gpus
from kennel.profile.sampler import SampleFiles, Sampler, main

KEYS = ["Type", "Name", "Dimension", "Value", "NodeId", "Timestamp"]


@pytest.fixture
def sampled(tmp_path: Path) -> Iterator[Path]:
    """A folder with about a second of samples of this machine."""
    sampler = Sampler(tmp_path, interval_ms=100)
    sampler.start()
    time.sleep(1.0)
    sampler.stop()
    sampler.stop()
    yield tmp_path


def lines(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("system/incremental/*/*.json"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def test_samples_are_in_sagemakers_files_and_names(sampled: Path) -> None:
    for path in sampled.glob("system/incremental/*/*.json"):
        minute, host, ending = path.name.split(".")
        assert (int(minute) % 60, host, ending) == (0, "algo-1", "json")
        assert path.parent.name == time.strftime("%Y%m%d%H", time.gmtime(int(minute)))
        assert path.read_text().endswith("\n")
    found = lines(sampled)
    assert all(list(line) == KEYS for line in found)
    names = {(line["Type"], line["Name"], line["Dimension"]) for line in found}
    cores = {("cpu", f"cpu{index}", what) for index in range(os.cpu_count() or 1) for what in CPU}
    assert names == cores | OTHERS
    assert all(0 <= line["Value"] <= 100 for line in found if line["Type"] in ("cpu", "memory"))
    moments = {line["Timestamp"] for line in found}
    assert 5 <= len(moments) <= 11


CPU = ("CPUUtilization", "I/OWaitPercentage")
OTHERS = {
    ("memory", "MemoryUsedPercent", ""),
    ("i/o", "IOPS", ""),
    ("i/o", "ReadThroughputInBytesPerSecond", ""),
    ("i/o", "WriteThroughputInBytesPerSecond", ""),
    ("network", "ReceiveBytesPerSecond", "Algorithm"),
    ("network", "TransmitBytesPerSecond", "Algorithm"),
}


def test_smdebug_reads_the_samples(sampled: Path) -> None:
    reader = LocalSystemMetricsReader(str(sampled))
    now = time.time()
    events = reader.get_events(now - 120, now, unit=TimeUnits.SECONDS)
    assert len(events) == len(lines(sampled))
    cpu = reader.get_events(now - 120, now, unit=TimeUnits.SECONDS, event_type="cpu")
    assert {event.dimension for event in cpu} == set(CPU)
    assert {event.node_id for event in cpu} == {"algo-1"}


def test_a_busy_core_is_seen() -> None:
    """A thread that computes keeps one core of this machine busy, whatever else it does."""
    readings, end = Readings(host="algo-1"), time.process_time() + 0.6
    while time.process_time() < end:
        sum(range(1000))
    used = {sample["Name"]: sample["Value"] for sample in readings.take() if sample["Dimension"] == "CPUUtilization"}
    assert len(used) == psutil.cpu_count()
    assert sum(used.values()) > 15


def test_shares_and_rates_are_over_the_time_between_two_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = iter([_times(user=0, idle=0, iowait=0), _times(user=3, idle=5, iowait=2)])
    disk = iter([(0, 0, 0), (10, 400, 800)])
    network = iter([{"eth0": (0, 0), "lo": (0, 0)}, {"eth0": (100, 50), "lo": (9999, 9999)}])
    clock = iter([10.0, 12.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [next(cpu)])
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: _disk(*next(disk)))
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: _network(next(network)))
    readings = Readings(host="algo-2")
    found = {(each["Name"], each["Dimension"]): each["Value"] for each in readings.take()}
    assert found["cpu0", "CPUUtilization"] == 30
    assert found["cpu0", "I/OWaitPercentage"] == 20
    assert found["IOPS", ""] == 5
    assert found["ReadThroughputInBytesPerSecond", ""] == 200
    assert found["WriteThroughputInBytesPerSecond", ""] == 400
    assert found["ReceiveBytesPerSecond", "Algorithm"] == 50
    assert found["TransmitBytesPerSecond", "Algorithm"] == 25


def test_a_machine_that_tells_nothing_of_its_disks_has_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)
    found = {each["Name"]: each["Value"] for each in Readings(host="algo-1").take()}
    assert found["IOPS"] == 0


def test_gpus_are_sampled_where_nvml_has_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    sampler = Sampler(tmp_path, interval_ms=100)
    sampler.start()
    time.sleep(0.5)
    sampler.stop()
    found = {(each.name, each.dimension): set(each.values) for each in read_system(tmp_path) if each.kind == "gpu"}
    assert found == {
        ("gpu0", "GPUUtilization"): {7},
        ("gpu0", "GPUMemoryUtilization"): {25},
        ("gpu1", "GPUUtilization"): {17},
        ("gpu1", "GPUMemoryUtilization"): {50},
    }


def test_only_the_gpus_of_this_job_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    for visible in ("1", "GPU-second"):
        gpus = open_gpus({"CUDA_VISIBLE_DEVICES": visible})
        assert isinstance(gpus, Gpus)
        assert ("gpu0", "GPUUtilization", 17.0) in list(gpus.readings())
        assert len(gpus.handles) == 1
    for hidden in ("", "-1", "GPU-elsewhere"):
        assert open_gpus({"CUDA_VISIBLE_DEVICES": hidden}) is None


def test_the_process_beside_a_job_samples_gpus_that_are_hidden_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local service starts it with CUDA_VISIBLE_DEVICES empty, as it does what must leave GPUs alone."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    given: list[Gpus | None] = []
    monkeypatch.setattr(samplers.Sampler, "__init__", lambda self, folder, **options: given.append(options["gpus"]))
    monkeypatch.setattr(samplers.Sampler, "run", lambda self, is_ended: None)
    monkeypatch.setattr("signal.pthread_sigmask", lambda how, signals: None)
    assert main(["--output", str(tmp_path)]) == 0
    assert given[0] is not None
    assert len(given[0].handles) == 2


def test_a_gpu_that_is_lost_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(lost=True))
    gpus = open_gpus({})
    assert gpus is not None
    assert {name for name, _, _ in gpus.readings()} == {"gpu0"}


def test_without_driver_or_library_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(driver=False))
    assert open_gpus({}) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_gpus({}) is None


@pytest.mark.parametrize("interval", [99, 60_001, 0, -5])
def test_an_interval_outside_of_sagemakers_is_refused(
    interval: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=f"ProfilingIntervalInMilliseconds is {interval}. Expected 100 to 60000"):
        Sampler(tmp_path, interval_ms=interval)
    assert main(["--output", str(tmp_path), "--interval-ms", str(interval)]) == 2
    assert "Expected 100 to 60000" in capsys.readouterr().err


def test_a_new_minute_is_a_new_file(tmp_path: Path) -> None:
    files = SampleFiles(tmp_path, host="algo-1")
    for when in (1_000_000_079.9, 1_000_000_080.1):
        files.add([{"Timestamp": when, "Value": 1}])
    files.flush()
    found = sorted(path.relative_to(tmp_path / "system" / "incremental") for path in tmp_path.rglob("*.json"))
    assert [str(path) for path in found] == ["2001090901/1000000020.algo-1.json", "2001090901/1000000080.algo-1.json"]


def test_a_full_disk_costs_samples_and_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = SampleFiles(tmp_path, host="algo-1")
    files.add([{"Timestamp": 1_000_000_020.0, "Value": 1}])
    files.flush()
    (path,) = tmp_path.rglob("*.json")
    before = path.read_bytes()
    real = samplers._append

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(samplers, "_append", full)
    for value in (2, 3):
        files.add([{"Timestamp": 1_000_000_021.0, "Value": value}])
        files.flush()
    assert path.read_bytes() == before
    assert capsys.readouterr().err.count("No space left on device: samples are left out") == 1
    monkeypatch.setattr(samplers, "_append", real)
    files.add([{"Timestamp": 1_000_000_022.0, "Value": 4}])
    files.flush()
    assert [json.loads(line)["Value"] for line in path.read_text().splitlines()] == [1, 4]


def test_a_reading_that_fails_is_said_and_ends_the_thread_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sampler = Sampler(tmp_path, interval_ms=100)

    def broken() -> None:
        raise RuntimeError("no /proc")

    monkeypatch.setattr(psutil, "virtual_memory", broken)
    sampler.start()
    time.sleep(0.5)
    sampler.stop()
    assert "sampler: RuntimeError: no /proc: no more samples" in capsys.readouterr().err


def _times(**parts: float) -> SimpleNamespace:
    return SimpleNamespace(**({"nice": 0, "system": 0} | parts))


def _disk(operations: int, read: int, written: int) -> SimpleNamespace:
    return SimpleNamespace(read_count=operations, write_count=0, read_bytes=read, write_bytes=written)


def _network(parts: dict[str, tuple[int, int]]) -> dict[str, SimpleNamespace]:
    return {name: SimpleNamespace(bytes_recv=received, bytes_sent=sent) for name, (received, sent) in parts.items()}
