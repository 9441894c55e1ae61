"""The profiler's processes as the local service starts them: sampler, evaluator, and the check of configurations."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "code")}
# Starts a sampler as its child, says its id, and waits to be killed.
PARENT = """
import os, subprocess, sys, time
order = [sys.executable, "-P", "-m", "kennel.profile.sampler", "--output", sys.argv[1], "--interval-ms", "100"]
print(subprocess.Popen([*order, "--parent-pid", str(os.getpid())]).pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process of the profiler's; all are gone afterwards."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        order = [sys.executable, "-P", *words]
        process = subprocess.Popen(order, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for(what: Callable[[], Any], seconds: float = 30.0) -> Any:  # noqa: ANN401  whatever is waited for
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} not within {seconds} s")


def samples(folder: Path) -> list[dict[str, Any]]:
    lines = [line for path in folder.glob("system/incremental/*/*.json") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_the_sampler_ends_on_sigterm_with_every_line_whole(tmp_path: Path, start: Callable[..., Any]) -> None:
    sampler = start("-m", "kennel.profile.sampler", "--output", str(tmp_path), "--interval-ms", "100")
    wait_for(lambda: samples(tmp_path))
    time.sleep(0.5)
    sampler.send_signal(signal.SIGTERM)
    out, err = sampler.communicate(timeout=20)
    assert (sampler.returncode, out, err) == (0, "", "")
    moments = {sample["Timestamp"] for sample in samples(tmp_path)}
    assert len(moments) >= 3


def test_the_sampler_ends_when_its_parent_is_killed(tmp_path: Path, start: Callable[..., Any]) -> None:
    parent = start("-c", PARENT, str(tmp_path))
    pid = int(parent.stdout.readline())
    wait_for(lambda: samples(tmp_path))
    parent.kill()
    try:
        wait_for(lambda: not is_alive(pid))
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_the_sampler_imports_neither_torch_nor_smdebug(start: Callable[..., Any]) -> None:
    """It runs as long as the training does, beside it."""
    modules = "kennel.profile.sampler, kennel.profile.watch, kennel.profile.configuration"
    process = start("-c", f"import sys, {modules}; print({{'torch', 'smdebug', 'pandas'}} & set(sys.modules))")
    out, err = process.communicate(timeout=60)
    assert (out.strip(), err) == ("set()", "")


def test_rules_are_evaluated_beside_a_machine_that_is_sampled(tmp_path: Path, start: Callable[..., Any]) -> None:
    profiler = tmp_path / "profiler"
    rule = {"RuleConfigurationName": "Usage", "RuleParameters": {"rule_to_invoke": "OverallSystemUsage"}}
    orders = {"job_name": "job", "profiler": str(profiler), "rules_dir": str(tmp_path / "rules")}
    orders |= {"rule_output": str(tmp_path / "output"), "profiler_rules": [rule]}
    (tmp_path / "rules.json").write_text(json.dumps(orders))
    sampler = start("-m", "kennel.profile.sampler", "--output", str(profiler), "--interval-ms", "100")
    watch = start("-m", "kennel.profile.watch", str(tmp_path / "rules.json"))
    wait_for((tmp_path / "rules" / "Usage.json").exists)
    wait_for(lambda: samples(profiler))
    sampler.send_signal(signal.SIGTERM)
    sampler.communicate(timeout=20)
    (profiler / "system" / "training_job_end.ts").touch()
    out, err = watch.communicate(timeout=30)
    assert (watch.returncode, out, err) == (0, "", "")
    found = json.loads((tmp_path / "rules" / "Usage.json").read_text())
    assert found["RuleEvaluationStatus"] == "NoIssuesFound"
    assert found["steps_seen"] == len({sample["Timestamp"] for sample in samples(profiler)})
    assert found["details"]["algo-1"]["CPU"]["max"] <= 100
    assert (tmp_path / "output/Usage/profiler-output/profiler-reports/OverallSystemUsage.json").is_file()


def test_the_evaluator_ends_on_sigterm_and_says_stopped(tmp_path: Path, start: Callable[..., Any]) -> None:
    rule = {"RuleConfigurationName": "Steps", "RuleParameters": {"rule_to_invoke": "StepOutlier"}}
    orders = {"profiler": str(tmp_path / "profiler"), "rules_dir": str(tmp_path / "rules"), "profiler_rules": [rule]}
    (tmp_path / "rules.json").write_text(json.dumps(orders))
    watch = start("-m", "kennel.profile.watch", str(tmp_path / "rules.json"))
    wait_for((tmp_path / "rules" / "Steps.json").exists)
    watch.send_signal(signal.SIGTERM)
    assert watch.communicate(timeout=20) == ("", "")
    assert watch.returncode == 0
    assert json.loads((tmp_path / "rules" / "Steps.json").read_text())["RuleEvaluationStatus"] == "Stopped"


def test_the_evaluator_refuses_orders_that_are_none(tmp_path: Path, start: Callable[..., Any]) -> None:
    (tmp_path / "rules.json").write_text("[]")
    watch = start("-m", "kennel.profile.watch", str(tmp_path / "rules.json"))
    _, err = watch.communicate(timeout=30)
    assert watch.returncode == 4
    assert "are no JSON object" in err


def test_configurations_are_answered_as_a_process() -> None:
    entries = [{"RuleConfigurationName": "R", "RuleParameters": {"rule_to_invoke": "ProfilerReport", "Foo_bar": "1"}}]
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "kennel.profile.configuration"],
        input=json.dumps(entries),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "there is no parameter 'Foo_bar'" in json.loads(answer.stdout)[0]["error"]
