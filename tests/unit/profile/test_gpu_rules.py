"""Rules on GPUs, over SageMaker's files made for machines that have some; each fires on its fault and not without."""

import json
from pathlib import Path
from typing import Any

import pytest
from made_samples import by_turns, cpu, gpu, gpu_memory, io_wait, steady, write_samples

from kennel.profile.evaluation import evaluate_profiler
from kennel.profile.rules import RULES
from kennel.profile.rules.gpu import jensen_shannon

HEALTHY = {gpu(0): steady(95), gpu_memory(0): steady(80), cpu(0): steady(60), cpu(1): steady(50), io_wait(0): steady(3)}
BUSY_CPU = {gpu(0): steady(5), cpu(0): steady(99), cpu(1): steady(20)}


def judged(folder: Path, rule: str, **parameters: str) -> dict[str, Any]:
    found = evaluate_profiler(folder, rule, parameters)
    json.dumps(found, allow_nan=False)
    assert found["violations"] == len(found["findings"])
    assert (found["RuleEvaluationStatus"] == "IssuesFound") == bool(found["findings"])
    return found


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_fires_on_a_gpu_that_is_well_used(rule: str, tmp_path: Path) -> None:
    found = judged(write_samples(tmp_path, HEALTHY), rule)
    assert not found["findings"], found
    assert found["RuleEvaluationStatus"] == "NoIssuesFound"


def test_a_gpu_that_is_little_used(tmp_path: Path) -> None:
    found = judged(write_samples(tmp_path, {gpu(0): steady(30)}), "LowGPUUtilization")
    assert found["findings"][0]["value"] == 30
    assert found["findings"][0]["threshold"] == 70
    assert found["findings"][0]["tensor"] == "gpu0"
    assert "95 % of a window's samples are below 30 % use" in found["StatusDetails"]
    assert not found["too_few"]


def test_a_gpu_that_is_busy_and_idle_by_turns(tmp_path: Path) -> None:
    found = judged(write_samples(tmp_path, {gpu(0): by_turns(95, 2)}), "LowGPUUtilization")
    assert "fluctuates between 2 % and 95 %" in found["findings"][0]["message"]
    assert found["findings"][0]["measure"] == "p5 of GPU use, %"


def test_a_gpu_before_the_patience_is_over_is_not_judged(tmp_path: Path) -> None:
    found = judged(write_samples(tmp_path, {gpu(0): steady(3)}, count=999), "LowGPUUtilization")
    assert not found["findings"]
    assert found["too_few"]
    assert "looked at 999 samples, needs 1000: nothing can be said" in found["StatusDetails"]
    assert judged(tmp_path, "LowGPUUtilization", patience="500", window="100")["findings"]


def test_one_gpu_of_two_is_named(tmp_path: Path) -> None:
    found = judged(write_samples(tmp_path, {gpu(0): steady(95), gpu(1): steady(20)}), "LowGPUUtilization")
    assert {finding["tensor"] for finding in found["findings"]} == {"gpu1"}


def test_steps_too_small_for_the_machine(tmp_path: Path) -> None:
    little = {gpu(0): steady(40), gpu_memory(0): steady(20), cpu(0): steady(30), cpu(1): steady(10)}
    found = judged(write_samples(tmp_path / "little", little), "BatchSize")
    assert "30 % CPU, 40 % GPU and 20 % GPU memory" in found["findings"][0]["message"]
    for name, values in ((gpu(0), 90), (gpu_memory(0), 90), (cpu(1), 90)):
        much = write_samples(tmp_path / f"{name[1]}{name[2]}", little | {name: steady(values)})
        assert not judged(much, "BatchSize")["findings"], name


def test_memory_that_grows(tmp_path: Path) -> None:
    found = judged(write_samples(tmp_path, {gpu_memory(0): lambda index: index / 15}), "GPUMemoryIncrease")
    assert found["findings"][0]["value"] == pytest.approx(500 / 15, abs=0.1)
    found = judged(tmp_path, "GPUMemoryIncrease", increase="50")
    assert not found["findings"]


def test_gpus_that_are_used_differently(tmp_path: Path) -> None:
    found = judged(write_samples(tmp_path, {gpu(0): steady(95), gpu(1): steady(20)}), "LoadBalancing")
    assert found["findings"][0]["value"] > 0.8
    assert "algo-1/gpu0 and algo-1/gpu1" in found["findings"][0]["message"]
    found = judged(write_samples(tmp_path / "even", {gpu(0): steady(95), gpu(1): steady(95)}), "LoadBalancing")
    assert not found["findings"]


def test_one_gpu_has_nothing_to_be_balanced_with(tmp_path: Path) -> None:
    found = judged(write_samples(tmp_path, {gpu(0): steady(95)}), "LoadBalancing")
    assert found["checks"][0]["outcome"] == "moot"


def test_the_distance_is_scipys() -> None:
    """scipy.spatial.distance.jensenshannon([0.5, 0.5], [1, 0]) is 0.46450140402245893."""
    import numpy as np

    assert jensen_shannon(np.array([1.0, 51.0]), np.array([1.0, 1.0])) == pytest.approx(0.46450140402245893)
    assert jensen_shannon(np.array([1.0]), np.array([99.0])) == pytest.approx(np.sqrt(np.log(2)))
    assert jensen_shannon(np.array([1.0, 100.0]), np.array([100.0, 1.0])) == 0


def test_cores_that_keep_a_gpu_waiting(tmp_path: Path) -> None:
    found = judged(write_samples(tmp_path, BUSY_CPU), "CPUBottleneck")
    assert found["findings"][0]["value"] == 100
    assert "100 % of 1100 moments had a GPU below 10 % and a core above 90 %" in found["StatusDetails"]


@pytest.mark.parametrize("changed", [{gpu(0): steady(80)}, {cpu(0): steady(50)}])
def test_busy_cores_or_an_idle_gpu_alone_are_no_bottleneck(changed: dict[Any, Any], tmp_path: Path) -> None:
    assert not judged(write_samples(tmp_path, BUSY_CPU | changed), "CPUBottleneck")["findings"]


def test_a_share_of_bottlenecks_below_the_threshold_is_no_issue(tmp_path: Path) -> None:
    write_samples(tmp_path, {gpu(0): lambda index: 5 if index % 10 < 4 else 90, cpu(0): steady(99)})
    found = judged(tmp_path, "CPUBottleneck")
    assert not found["findings"]
    assert "40.0 % of them had" in found["StatusDetails"]
    assert judged(tmp_path, "CPUBottleneck", threshold="39")["findings"]


def test_a_disk_that_keeps_a_gpu_waiting(tmp_path: Path) -> None:
    waiting = {gpu(0): steady(20), cpu(0): steady(10), io_wait(0): steady(80)}
    assert judged(write_samples(tmp_path, waiting), "IOBottleneck")["findings"]
    calm = write_samples(tmp_path / "calm", waiting | {io_wait(0): steady(5)})
    assert not judged(calm, "IOBottleneck")["findings"]


def test_a_disk_that_keeps_cores_waiting_where_there_is_no_gpu(tmp_path: Path) -> None:
    waiting = {cpu(0): steady(10), cpu(1): steady(5), io_wait(0): steady(85), io_wait(1): steady(3)}
    found = judged(write_samples(tmp_path, waiting), "IOBottleneck")
    assert "all cores together below 70 % and a core waiting over 50 %" in found["findings"][0]["message"]
    busy = write_samples(tmp_path / "busy", waiting | {cpu(1): steady(100), cpu(0): steady(90)})
    assert not judged(busy, "IOBottleneck")["findings"]


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.is_about_gpus])
def test_without_a_gpu_nothing_is_said_of_gpus(rule: str, tmp_path: Path) -> None:
    found = judged(write_samples(tmp_path, {cpu(0): steady(99), cpu(1): steady(97)}), rule)
    assert found["too_few"]
    assert "no GPU was sampled" in found["StatusDetails"]
    assert "the CPU cores were 97 % busy" in found["StatusDetails"]
    assert "nothing can be said" in found["StatusDetails"]
    assert found["checks"][0]["outcome"] == "no data"


def test_gpu_and_cpu_samples_need_not_be_of_the_same_moment(tmp_path: Path) -> None:
    """SageMaker's own samples of GPUs and cores are some milliseconds apart."""
    write_samples(tmp_path, BUSY_CPU, count=400)
    for path in tmp_path.rglob("*.json"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        shifted = [line | {"Timestamp": line["Timestamp"] + 0.04 * (line["Type"] == "gpu")} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in shifted))
    assert judged(tmp_path, "CPUBottleneck")["findings"]


def test_the_machine_is_described(tmp_path: Path) -> None:
    table = judged(write_samples(tmp_path, HEALTHY), "OverallSystemUsage")["details"]["algo-1"]
    assert table["GPU"] == {"unit": "percentage", "max": 95, "p99": 95, "p95": 95, "p50": 94, "min": 93}
    assert table["CPU"]["max"] == 60
    assert {"GPU memory", "I/O wait"} < table.keys()
