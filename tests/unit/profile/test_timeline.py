"""Light timers, their files, and torch's profiler over a few steps."""

import json
import time
from pathlib import Path

import pytest
import torch
from profiled_training import train
from smdebug.profiler.algorithm_metrics_reader import LocalAlgorithmMetricsReader
from smdebug.profiler.utils import TimeUnits

from kennel.profile import timeline as timelines
from kennel.profile import trace_files
from kennel.profile.readers import read_events, read_steps, read_timeline
from kennel.profile.timeline import OFF, open_timeline


def traces(folder: Path, kind: str = "pythontimeline") -> list[Path]:
    return sorted(folder.glob(f"framework/pevents/*/*_{kind}.json"))


def test_phases_and_steps_of_a_training_are_summed_by_epoch(tmp_path: Path) -> None:
    train(tmp_path, epochs=2, steps=12)
    summary = read_timeline(tmp_path)
    assert [(each["epoch"], each["steps"]) for each in summary["epochs"]] == [(1, 12), (2, 12)]
    assert {"start", "data_wait", "forward", "backward", "optimizer", "eval"} <= summary["phases"].keys()
    assert summary["steps"]["TRAIN"]["count"] == 24
    assert summary["steps"]["EVAL"]["count"] == 4
    assert summary["started"] < summary["first_step"] < summary["ended"]
    assert summary["readers"] == 2
    for epoch in summary["epochs"]:
        assert 0 < sum(epoch["phases"].values()) <= epoch["seconds"] + 0.001


def test_the_time_of_a_phase_is_its_own(tmp_path: Path) -> None:
    timeline = open_timeline(tmp_path, is_on=True)
    with timeline.step("TRAIN", 0), timeline.phase("forward"):
        time.sleep(0.02)
        with timeline.phase("hook"):
            time.sleep(0.2)
    timeline.close()
    phases = read_timeline(tmp_path)["phases"]
    assert phases["hook"] >= 0.2
    assert 0.02 <= phases["forward"] < 0.2


def test_evaluation_keeps_the_time_of_what_runs_inside_it_but_for_the_hook(tmp_path: Path) -> None:
    timeline = open_timeline(tmp_path, is_on=True)
    with timeline.phase("eval"), timeline.phase("forward"):
        time.sleep(0.05)
        with timeline.phase("hook"):
            time.sleep(0.05)
    timeline.close()
    summary = read_timeline(tmp_path)
    assert "forward" not in summary["phases"]
    assert summary["phases"]["eval"] >= 0.05
    assert summary["phases"]["hook"] >= 0.05
    assert summary["within"]["eval"]["forward"] >= 0.05


def test_a_step_begins_where_the_wait_for_its_data_began(tmp_path: Path) -> None:
    train(tmp_path, epochs=1, steps=3, loader_sleeps_s=0.1)
    summary = read_timeline(tmp_path)
    assert summary["steps"]["TRAIN"]["mean_ms"] >= 100
    assert summary["steps"]["EVAL"]["mean_ms"] < 100
    waits = [event for event in read_events(tmp_path) if event.name == "data_wait"]
    assert abs(read_steps(tmp_path)[0].began - waits[0].began) < 0.001


def test_an_exception_goes_through_phases_and_leaves_the_timers_right(tmp_path: Path) -> None:
    timeline = open_timeline(tmp_path, is_on=True)
    with pytest.raises(KeyboardInterrupt), timeline.step("TRAIN", 0), timeline.phase("forward"):
        raise KeyboardInterrupt
    with timeline.phase("checkpoint"):
        time.sleep(0.05)
    timeline.close()
    summary = read_timeline(tmp_path)
    assert summary["phases"]["checkpoint"] >= 0.05
    assert summary["phases"]["forward"] < 0.05
    assert summary["steps"]["TRAIN"]["count"] == 1


def test_a_loader_that_fails_leaves_the_timers_right(tmp_path: Path) -> None:
    timeline = open_timeline(tmp_path, is_on=True)

    def broken() -> "list[int]":
        raise ValueError("no such picture")

    with pytest.raises(ValueError, match="no such picture"):
        list(timeline.waiting(number for _ in (1,) for number in broken()))
    with timeline.phase("results"):
        pass
    timeline.close()
    assert {"data_wait", "results"} <= read_timeline(tmp_path)["phases"].keys()


def test_all_before_the_first_phase_is_the_start(tmp_path: Path) -> None:
    timeline = open_timeline(tmp_path, is_on=True)
    with timeline.phase("start"):
        time.sleep(0.05)
    before = time.time()
    with timeline.phase("features"):
        time.sleep(0.01)
    timeline.close()
    summary = read_timeline(tmp_path)
    assert summary["phases"]["start"] == pytest.approx(before - summary["started"], abs=0.1)


def test_off_does_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    assert open_timeline(tmp_path, is_on=False) is OFF
    assert open_timeline(None, is_on=True) is OFF
    assert OFF.phase("forward") is OFF.phase("backward") is OFF.step("TRAIN", 3)
    OFF.begin_epoch(1)
    with OFF.step("TRAIN", 0), OFF.phase("forward"):
        assert list(OFF.waiting([1, 2])) == [1, 2]
    OFF.end_epoch()
    OFF.close()
    assert list(tmp_path.iterdir()) == []


def test_smdebug_reads_steps_and_phases(tmp_path: Path) -> None:
    began = time.time()
    train(tmp_path, epochs=1, steps=4)
    reader = LocalAlgorithmMetricsReader(str(tmp_path))
    events = reader.get_events(began, time.time(), unit=TimeUnits.SECONDS)
    steps = [event for event in events if event.event_name == "Step:ModeKeys.TRAIN"]
    assert [event.event_args["step_num"] for event in steps] == ["0", "1", "2", "3"]
    assert {event.event_phase for event in steps} == {"Step:ModeKeys.TRAIN"}
    assert all(began * 1e6 - 1e6 < event.start_time <= event.end_time < time.time() * 1e6 for event in steps)
    assert {"data_wait", "forward", "backward", "optimizer", "eval"} <= {event.event_name for event in events}
    first, last = reader._get_time_interval_for_step(1, 3)
    assert 0 < first < last


def test_smdebug_reads_the_operators_of_profiled_steps(tmp_path: Path) -> None:
    began = time.time()
    train(tmp_path, epochs=2, steps=6)
    events = LocalAlgorithmMetricsReader(str(tmp_path)).get_events(
        began, time.time(), unit=TimeUnits.SECONDS, file_suffix_filter=["model_timeline.json"]
    )
    assert any(event.event_name == "aten::convolution" for event in events)
    assert {event.event_phase for event in events} == {"cpu_functions"}
    assert all(began * 1e6 < event.start_time < time.time() * 1e6 for event in events)


def test_trace_files_have_the_form_that_chrome_reads(tmp_path: Path) -> None:
    train(tmp_path, epochs=2, steps=6)
    files = traces(tmp_path) + traces(tmp_path, "model_timeline")
    assert len(files) >= 2
    for path in files:
        lines = json.loads(path.read_text())
        named = {line["pid"] for line in lines if line["ph"] == "M" and line["args"].get("name")}
        events = [line for line in lines if line["ph"] == "X"]
        assert events
        assert all(event["pid"] in named and event["ts"] >= 0 and event["dur"] >= 0 for event in events)
        assert not list(path.parent.parent.parent.glob("*.tmp"))


def test_operators_of_a_step_are_counted_by_phase(tmp_path: Path) -> None:
    train(tmp_path, epochs=2, steps=6)
    summary = read_timeline(tmp_path)
    assert summary["profiled"] == {"TRAIN": 3}
    rows = {(row["name"], row["phase"]): row for row in summary["operators"]}
    assert rows["aten::convolution", "forward"]["calls"] == 1
    assert rows["aten::convolution_backward", "backward"]["calls"] == 1
    assert any(phase == "optimizer" for _, phase in rows)
    row = rows["aten::convolution", "forward"]
    assert 0 < row["self_cpu_ms"] <= row["cpu_ms"]
    assert summary["phases"]["profiler"] > 0


def test_the_flame_holds_the_phases_of_one_step_and_no_child_is_longer_than_its_parent(tmp_path: Path) -> None:
    train(tmp_path, epochs=2, steps=6)
    (flame,) = read_timeline(tmp_path)["flame"]
    assert flame["name"] == "step"
    names = {child["name"] for child in flame["children"]}
    assert {"forward", "backward", "optimizer"} <= names

    def check(node: dict[str, object]) -> None:
        children = node["children"]
        assert isinstance(children, list)
        assert sum(child["value_ms"] for child in children) <= float(str(node["value_ms"])) * 1.01 + 0.001
        for child in children:
            check(child)

    check(flame)


def test_features_are_profiled_where_a_frozen_backbone_computes_them(tmp_path: Path) -> None:
    timeline = open_timeline(tmp_path, is_on=True)
    layer = torch.nn.Linear(4, 4)
    with timeline.phase("features"):
        for batch in timeline.waiting(torch.ones(6, 2, 4)):
            with timeline.phase("forward"), torch.no_grad():
                layer(batch)
    timeline.close()
    summary = read_timeline(tmp_path)
    assert summary["profiled"] == {"features": 2}
    assert ("aten::linear", "features") in {(row["name"], row["phase"]) for row in summary["operators"]}
    assert summary["flame"][0]["name"] == "batch of features"


def test_a_training_that_ends_while_it_is_profiled_leaves_what_was_seen(tmp_path: Path) -> None:
    train(tmp_path, epochs=1, steps=11)
    summary = read_timeline(tmp_path)
    assert summary["profiled"] == {"TRAIN": 1}
    assert summary["operators"]


def test_the_profiler_changes_no_weight(tmp_path: Path) -> None:
    def trained(is_on: bool) -> torch.Tensor:
        torch.manual_seed(0)
        timeline = open_timeline(tmp_path, is_on=is_on)
        layer = torch.nn.Linear(4, 2)
        for number in range(15):
            with timeline.step("TRAIN", number), timeline.phase("forward"):
                layer(torch.rand(3, 4)).sum().backward()
        timeline.close()
        assert layer.weight.grad is not None
        return layer.weight.grad

    assert torch.equal(trained(True), trained(False))


def test_a_folder_that_cannot_be_written_is_said_once_and_ends_no_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "profiler").write_text("a file where the folder should be")
    timeline = train(tmp_path / "profiler", epochs=2, steps=3)
    assert timeline.tally.steps["TRAIN"].count == 6
    assert capsys.readouterr().out.count("nothing more is written") == 1


def test_torch_profiler_that_fails_ends_no_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("no such device")

    monkeypatch.setattr("torch.profiler.profile", broken)
    timeline = train(tmp_path, epochs=2, steps=6)
    assert timeline.tally.steps["TRAIN"].count == 12
    assert "RuntimeError: no such device" in capsys.readouterr().out


def test_events_beyond_the_bound_are_counted_and_steps_are_kept_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_files, "_MOST_PHASE_BYTES", 1200)
    monkeypatch.setattr(trace_files, "_MOST_BYTES", 2400)
    train(tmp_path, epochs=1, steps=40)
    summary = read_timeline(tmp_path)
    assert summary["dropped_events"] > 0
    assert summary["steps"]["TRAIN"]["count"] == 40
    events = read_events(tmp_path)
    assert len(events) == 21
    assert len(read_steps(tmp_path)) > len(events) - len(read_steps(tmp_path))


def test_traces_are_written_while_the_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timelines, "_FLUSH_NS", 0)
    timeline = open_timeline(tmp_path, is_on=True)
    for number in range(3):
        with timeline.step("TRAIN", number), timeline.phase("forward"):
            pass
    assert len(read_steps(tmp_path)) == 3
    assert read_timeline(tmp_path)["ended"] is None
