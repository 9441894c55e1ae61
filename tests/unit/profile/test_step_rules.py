"""Rules on steps and data, over trainings that were timed for real."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import fake_nvml
from made_samples import START, cpu, steady, write_samples
from profiled_training import loader, train

from kennel.profile.evaluation import Folder, describe, evaluate_profiler
from kennel.profile.rules import RULES, build_rule
from kennel.profile.sampler import Sampler
from kennel.profile.timeline import open_timeline
from kennel.profile.trace_files import TraceWriter

SLOW = tuple(range(30, 330, 25))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training without faults, its machine sampled beside it."""
    folder = tmp_path_factory.mktemp("healthy")
    sampler = Sampler(folder, interval_ms=100)
    sampler.start()
    train(folder, epochs=3, steps=60, work_s=0.004)
    sampler.stop()
    return folder


@pytest.fixture(scope="module")
def sleeping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training whose loader sleeps."""
    folder = tmp_path_factory.mktemp("sleeping")
    sampler = Sampler(folder, interval_ms=100)
    sampler.start()
    train(folder, epochs=2, steps=8, loader_sleeps_s=0.1)
    sampler.stop()
    return folder


def judged(folder: Path, rule: str, **parameters: str) -> dict[str, Any]:
    found = evaluate_profiler(folder, rule, parameters)
    json.dumps(found, allow_nan=False)
    return found


def checks(found: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in found["checks"]}


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_fires_on_a_healthy_training(rule: str, healthy: Path) -> None:
    """readers: a machine of another size has another share of cores that read."""
    parameters = {"min_threshold": "0.1", "max_threshold": "1000"} if rule == "Dataloader" else {}
    assert not judged(healthy, rule, **parameters)["findings"]


def test_a_loader_that_sleeps_is_caught_with_its_share(sleeping: Path) -> None:
    found = judged(sleeping, "Dataloader")
    finding = found["findings"][0]
    assert finding["measure"] == "waiting for data, % of the time"
    assert 50 < finding["value"] <= 100
    assert finding["mode"] == "TRAIN"
    assert "waited for data; the cores were" in finding["message"]
    assert checks(found)["waiting for data in training"] == "fired"
    assert found["RuleEvaluationStatus"] == "IssuesFound"
    assert found["StatusDetails"].startswith("RuleEvaluationConditionMet: Evaluation of the rule Dataloader")


def test_a_loader_that_sleeps_is_caught_without_samples_of_the_machine(tmp_path: Path) -> None:
    train(tmp_path, epochs=2, steps=8, loader_sleeps_s=0.1)
    found = judged(tmp_path, "Dataloader")
    assert found["findings"][0]["threshold"] == 30
    assert checks(found)["readers"] == "no data"


def test_a_loader_that_sleeps_is_caught_while_a_frozen_backbones_features_are_computed(tmp_path: Path) -> None:
    timeline = open_timeline(tmp_path, is_on=True)
    with timeline.phase("features"):
        for _ in timeline.waiting(loader(12, sleep_s=0.1)):
            with timeline.phase("forward"):
                time.sleep(0.01)
    timeline.close()
    found = judged(tmp_path, "Dataloader")
    assert checks(found)["waiting for data in features"] == "fired"
    assert found["findings"][0]["message"].startswith("features: ")
    assert found["findings"][0]["value"] > 60
    assert found["steps_seen"] == 12


def test_waiting_that_comes_to_little_in_all_does_not_matter(tmp_path: Path) -> None:
    train(tmp_path, epochs=1, steps=10, loader_sleeps_s=0.01)
    assert not judged(tmp_path, "Dataloader")["findings"]
    assert judged(tmp_path, "Dataloader", min_seconds="0")["findings"]


def test_busy_cores_of_a_machine_without_gpu_may_wait_longer(tmp_path: Path) -> None:
    """Decoding and network share the cores: 40 % of the time is accepted where they are busy, not where they idle."""
    for name, use in (("busy", 100.0), ("idle", 20.0)):
        folder = tmp_path / name
        write_samples(folder, {cpu(0): steady(use), cpu(1): steady(use)}, count=200)
        summary = {
            "version": 1,
            "started": START,
            "first_step": START + 1,
            "ended": START + 100,
            "phases": {"data_wait": 40.0, "forward": 60.0},
            "within": {},
            "steps": {"TRAIN": {"count": 100, "mean_ms": 1000.0}},
            "readers": 2,
        }
        (folder / "kennel-timeline.json").write_text(json.dumps(summary))
        write_waits(folder, seconds=0.4, count=100)
    assert not judged(tmp_path / "busy", "Dataloader")["findings"]
    found = judged(tmp_path / "idle", "Dataloader")
    assert found["findings"][0]["value"] == pytest.approx(40)
    assert "the cores were 19 % busy meanwhile" in found["findings"][0]["message"]


def write_waits(folder: Path, *, seconds: float, count: int) -> None:
    events = [
        {"name": "process_name", "ph": "M", "pid": 0, "args": {"start_time_since_epoch_in_micros": START * 10**6}},
        *(
            {"name": "data_wait", "ph": "X", "pid": 0, "ts": index * 10**6, "dur": round(seconds * 1e6)}
            for index in range(count)
        ),
    ]
    path = folder / "framework" / "pevents" / "2026010100" / f"{START * 10**6}_1-algo-1_pythontimeline.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(events))


@pytest.mark.parametrize(("readers", "outcome"), [(1, "fired"), (3, "ok"), (8, "ok"), (9, "fired")])
def test_readers_are_compared_with_cores(readers: int, outcome: str, tmp_path: Path) -> None:
    write_samples(tmp_path, {cpu(index): steady(50) for index in range(4)}, count=20)
    train(tmp_path, epochs=1, steps=10, loader_sleeps_s=0.01, readers=readers)
    found = judged(tmp_path, "Dataloader", min_seconds="0", max_wait_share="100")
    assert checks(found)["readers"] == outcome
    assert bool(found["findings"]) == (outcome == "fired")


def test_few_readers_do_not_matter_where_nothing_waits_for_them(tmp_path: Path) -> None:
    write_samples(tmp_path, {cpu(index): steady(50) for index in range(64)}, count=20)
    train(tmp_path, epochs=1, steps=10, work_s=0.05, readers=16)
    assert checks(judged(tmp_path, "Dataloader"))["readers"] == "ok"


def test_steps_that_stall_are_found(tmp_path: Path) -> None:
    train(tmp_path, epochs=1, steps=400, slow_steps=SLOW, slow_s=0.12)
    found = judged(tmp_path, "StepOutlier", stddev="4")
    assert {finding["step"] for finding in found["findings"]} >= set(SLOW)
    assert all(finding["mode"] == "TRAIN" for finding in found["findings"])
    assert checks(found) == {"TRAIN": "fired", "EVAL": "no data"}
    assert not judged(tmp_path, "StepOutlier", stddev="4", mode="EVAL")["findings"]
    assert not judged(tmp_path, "StepOutlier", stddev="4", n_outliers="100")["findings"]


def test_outliers_of_a_few_milliseconds_do_not_matter(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, host="algo-1")
    for number in range(400):
        taken_ms = 30 if number in SLOW else 2
        writer.add_step("TRAIN", START * 10**9 + number * 10**8, taken_ms * 10**6, number=number)
    writer.flush([])
    assert not judged(tmp_path, "StepOutlier", stddev="3")["findings"]
    assert judged(tmp_path, "StepOutlier", stddev="3", min_seconds="0")["findings"]


def test_a_hundred_steps_are_too_few_for_outliers(tmp_path: Path) -> None:
    train(tmp_path, epochs=1, steps=100, slow_steps=(50,), slow_s=0.2)
    found = judged(tmp_path, "StepOutlier", n_outliers="0", stddev="1", min_seconds="0")
    assert not found["findings"]
    assert found["too_few"]
    assert "looked at 100 steps, needs 101: nothing can be said" in found["StatusDetails"]


def test_a_long_initialization(healthy: Path) -> None:
    found = judged(healthy, "MaxInitializationTime", threshold="0.0001")
    assert found["findings"][0]["step"] == 0
    assert "the first step began after" in found["StatusDetails"]
    assert not judged(healthy, "MaxInitializationTime", threshold="60")["findings"]


def test_an_initialization_that_has_not_ended_is_found_meanwhile(tmp_path: Path) -> None:
    write_samples(tmp_path, {cpu(0): steady(5)}, count=10)
    rule = build_rule("MaxInitializationTime", {})
    found, _ = describe([rule], Folder(tmp_path).evidence(is_over=False), rule_name=rule.name, name="slow")
    assert found["RuleEvaluationStatus"] == "IssuesFound"
    assert "no step after" in found["StatusDetails"]
    over, _ = describe([rule], Folder(tmp_path).evidence(is_over=True), rule_name=rule.name, name="slow")
    assert over["RuleEvaluationStatus"] == "NoIssuesFound"
    assert over["checks"][0]["outcome"] == "no data"


def test_features_are_no_initialization(tmp_path: Path) -> None:
    summary = {"started": START, "first_step": START + 3600, "phases": {"features": 3500.0}}
    (tmp_path / "kennel-timeline.json").write_text(json.dumps(summary))
    assert not judged(tmp_path, "MaxInitializationTime")["findings"]
    summary["phases"] = {"features": 60.0}
    (tmp_path / "kennel-timeline.json").write_text(json.dumps(summary))
    assert judged(tmp_path, "MaxInitializationTime")["findings"][0]["value"] == pytest.approx(59)


def test_what_a_training_spent_its_time_with(healthy: Path) -> None:
    details = judged(healthy, "OverallFrameworkMetrics")["details"]
    assert details["phase"].keys() == {"TRAIN", "EVAL", "others"}
    assert sum(details["phase"].values()) == pytest.approx(100, abs=0.1)
    assert sum(details["ratio"].values()) == pytest.approx(100, abs=0.1)
    assert "aten::convolution_backward" in details["CPU operators"]


def test_cores_that_keep_a_gpu_waiting_sampled_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU is made (7 % used), the cores are this machine's, kept busy."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    sampler, end = Sampler(tmp_path, interval_ms=100), time.monotonic() + 1.5
    sampler.start()
    while time.monotonic() < end:
        sum(range(1000))
    sampler.stop()
    few = {"patience": "2", "cpu_threshold": "30"}
    assert judged(tmp_path, "CPUBottleneck", **few)["findings"]
    assert not judged(tmp_path, "CPUBottleneck", **few, gpu_threshold="5")["findings"]
