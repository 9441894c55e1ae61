"""Profiler folders read: SageMaker's own files, half written ones, and none at all."""

import json
from pathlib import Path

import numpy as np
import pytest

from kennel.profile.readers import EventLog, Series, SystemLog, read_events, read_steps, read_system, read_timeline

WRITTEN_BY_SMDEBUG = [
    {"name": "process_name", "ph": "M", "pid": 0, "args": {"start_time_since_epoch_in_micros": 1_600_000_000_000_000}},
    {"name": "process_sort_index", "ph": "M", "pid": 0, "args": {"sort_index": 0}},
    {"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "Step:ModeKeys.TRAIN"}},
    {"name": "Step:ModeKeys.TRAIN", "pid": 1, "ph": "X", "ts": 2_000_000, "dur": 500, "args": {"step_num": "3"}},
    {"name": "Step:ModeKeys.EVAL", "pid": 1, "ph": "X", "ts": 1_000_000, "dur": 700, "args": {"step_num": "0"}},
]


def sample(name: str, value: object, when: float, *, kind: str = "cpu", dimension: str = "CPUUtilization") -> str:
    parts = {"Type": kind, "Name": name, "Dimension": dimension, "Value": value, "NodeId": "algo-1", "Timestamp": when}
    return json.dumps(parts)


@pytest.fixture
def minute(tmp_path: Path) -> Path:
    path = tmp_path / "system" / "incremental" / "2026010100" / "1767225600.algo-1.json"
    path.parent.mkdir(parents=True)
    return path


def test_series_are_by_metric_and_in_the_order_of_time(tmp_path: Path, minute: Path) -> None:
    text = [sample("cpu10", 1, 3.0), sample("cpu2", 5, 2.0), sample("cpu2", 4, 1.0)]
    minute.write_text("\n".join(text) + "\n")
    first, second = read_system(tmp_path)
    assert (first.label, second.label) == ("cpu2 CPUUtilization", "cpu10 CPUUtilization")
    assert first.times.tolist() == [1, 2]
    assert first.values.tolist() == [4, 5]


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path, minute: Path) -> None:
    half = sample("cpu0", 7, 2.0)
    minute.write_text(sample("cpu0", 5, 1.0) + "\n" + half[:20])
    log = SystemLog(tmp_path)
    log.refresh()
    assert log.series()[0].values.tolist() == [5]
    with minute.open("a") as stream:
        stream.write(half[20:] + "\n")
    log.refresh()
    log.refresh()
    assert log.series()[0].values.tolist() == [5, 7]


def test_lines_that_are_no_samples_are_left_out(tmp_path: Path, minute: Path) -> None:
    bad = ["", "[]", "7", "{}", '{"Type": "cpu", "Timestamp": "x", "Value": 1}', sample("cpu0", None, 1.0), "\x00\x00"]
    minute.write_text("\n".join([*bad, sample("cpu0", 5, 1.0)]) + "\n")
    (series,) = read_system(tmp_path)
    assert series.values.tolist() == [5]


def test_statistics_and_bins_of_a_series() -> None:
    series = Series("cpu", "cpu0", "CPUUtilization", "algo-1", np.arange(1000.0), np.arange(1000.0) % 101)
    found = series.statistics()
    assert list(found) == ["max", "p99", "p95", "p50", "min"]
    assert (found["max"], found["min"]) == (100, 0)
    bins = series.downsampled(50)
    assert [len(each) for each in bins.values()] == [50] * 4
    assert bins["time"] == sorted(bins["time"])
    assert all(low <= mean <= high for low, mean, high in zip(bins["min"], bins["mean"], bins["max"], strict=True))
    assert max(bins["max"]) == 100
    few = Series("cpu", "cpu0", "", "algo-1", np.array([1.0]), np.array([2.0]))
    assert few.downsampled(50) == {"time": [1.0], "min": [2.0], "mean": [2.0], "max": [2.0]}
    none = Series("cpu", "cpu0", "", "algo-1", np.zeros(0), np.zeros(0))
    assert none.statistics() == {}
    assert none.downsampled() == {"time": [], "min": [], "mean": [], "max": []}


def test_steps_that_smdebug_wrote_are_read(tmp_path: Path) -> None:
    path = tmp_path / "framework" / "pevents" / "2020091312" / "1600000002000500_7-algo-1_pythontimeline.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(WRITTEN_BY_SMDEBUG))
    first, second = read_steps(tmp_path)
    assert (first.mode, first.step, first.began, first.seconds) == ("EVAL", 0, 1_600_000_001.0, 0.0007)
    assert (second.mode, second.step) == ("TRAIN", 3)
    log = EventLog(tmp_path)
    log.refresh()
    log.refresh()
    assert len(log.events()) == 2


@pytest.mark.parametrize("text", ["", "[", "{}", "[1, null]", '[{"ph": "X"}]'])
def test_a_trace_that_cannot_be_read_has_no_events(text: str, tmp_path: Path) -> None:
    path = tmp_path / "framework" / "pevents" / "2020091312" / "1_7-algo-1_pythontimeline.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert read_events(tmp_path) == []


@pytest.mark.parametrize("text", [None, "", "[]", "{"])
def test_a_folder_without_a_summary_has_an_empty_one(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "kennel-timeline.json").write_text(text)
    assert read_timeline(tmp_path) == {}
    assert read_system(tmp_path / "nowhere") == []
    assert read_events(tmp_path / "nowhere") == []
