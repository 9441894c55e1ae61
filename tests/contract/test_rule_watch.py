"""The evaluators as processes beside a net that trains: what they write, when, and how they end."""

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

SCRIPT = Path(__file__).parent / "scripts" / "growing_trial.py"
# Far longer than anything here takes: a test that hangs ends with a sentence.
PATIENCE_S = 60.0
FIRES = {"rule_to_invoke": "VanishingGradient", "threshold": "1000"}
SILENT = {"rule_to_invoke": "VanishingGradient", "threshold": "0"}
TOO_FEW = {"rule_to_invoke": "LossNotDecreasing", "num_steps": "1000"}

CUSTOM = '''
from smdebug.rules import Rule

class LossAbove(Rule):
    """As AWS's guide writes them: strings, and no action_str."""

    def __init__(self, base_trial, threshold="10.0"):
        super().__init__(base_trial)
        assert isinstance(threshold, str)
        self.threshold = float(threshold)

    def invoke_at_step(self, step):
        for name in self.base_trial.tensor_names(collection="losses"):
            loss = self.base_trial.tensor(name).value(step)
            print("loss", loss, flush=True)
            if loss > self.threshold:
                return True
        return False

'''


class Job:
    """A job's folders, a net that trains into them, and evaluators."""

    def __init__(self, folder: Path) -> None:
        self.tensors, self.rules = folder / "tensors", folder / "rules"
        self.rules.mkdir()
        self.orders = self.rules / "rules.json"
        self._folder = folder
        self._trainer: subprocess.Popen[str] | None = None
        self._watches: list[subprocess.Popen[str]] = []

    def order(self, *, sources: dict[str, str] | None = None, **rules: dict[str, str]) -> None:
        """Writes rules.json: a rule configuration's name and its RuleParameters."""
        entries = [{"RuleConfigurationName": name, "RuleParameters": given} for name, given in rules.items()]
        content = {
            "job_name": "first-1",
            "tensors": str(self.tensors),
            "rules_dir": str(self.rules),
            "debug_rules": entries,
            "profiler_rules": [],
            "custom_sources": sources or {},
        }
        self.orders.write_text(json.dumps(content))

    def train(self, steps: int) -> None:
        if self._trainer is None:
            self._trainer = self._start([sys.executable, str(SCRIPT), str(self.tensors)], stdin=subprocess.PIPE)
        assert self._trainer.stdin
        self._trainer.stdin.write(f"{steps}\n")
        self._trainer.stdin.flush()

    def end_training(self) -> None:
        assert self._trainer
        self._trainer.communicate(timeout=PATIENCE_S)

    def watch(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "kennel.debug.watch", str(self.orders), *options]
        watch = self._start(command)
        self._watches.append(watch)
        return watch

    def _start(self, command: list[str], *, stdin: int | None = None) -> subprocess.Popen[str]:
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("SM", "SAGEMAKER"))}
        return subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=stdin
        )

    def report(self, name: str) -> dict[str, Any]:
        path = self.rules / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def wait_for(self, name: str, is_there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The rule's report as soon as it is so."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            report = self.report(name)
            if report and is_there(report):
                return report
            time.sleep(0.05)
        raise AssertionError(f"{name} never was as wanted; it is {self.report(name)}")

    def close(self) -> None:
        for process in [self._trainer, *self._watches]:
            if process is not None:
                if process.poll() is None:
                    process.kill()
                process.communicate()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    yield job
    job.close()


def ended(watch: subprocess.Popen[str]) -> str:
    """What it printed, when it has ended well."""
    out, err = watch.communicate(timeout=PATIENCE_S)
    assert watch.returncode == 0, err
    return out + err


def test_rules_are_told_of_while_the_net_trains_and_settled_when_it_has(job: Job, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    actions = [{"name": "StopTraining"}, {"name": "command", "command": f"cat > {told}; echo >> {tmp_path}/count"}]
    job.order(
        fires=FIRES | {"action_json": json.dumps(actions)},
        silent=SILENT,
        few=TOO_FEW,
        impossible=SILENT | {"tensor_regex": "("},
    )
    watch = job.watch()
    assert job.wait_for("silent", lambda report: True)["RuleEvaluationStatus"] == "InProgress"
    job.train(3)
    fired = job.wait_for("fires", lambda report: report["violations"] > 0)
    assert fired["RuleEvaluationStatus"] == "IssuesFound"
    assert fired["stop_training"] is True
    assert watch.poll() is None
    job.train(4)
    seen = job.wait_for("silent", lambda report: report["steps_seen"] >= 6)
    assert seen["RuleEvaluationStatus"] == "InProgress"
    assert seen["StatusDetails"].startswith("so far looked at ")
    job.end_training()
    ended(watch)

    silent, few, fires, impossible = (job.report(name) for name in ("silent", "few", "fires", "impossible"))
    assert (silent["RuleEvaluationStatus"], silent["StatusDetails"]) == ("NoIssuesFound", "looked at 7 steps")
    assert few["RuleEvaluationStatus"] == "NoIssuesFound"
    assert few["too_few"] is True
    assert "nothing can be said" in few["StatusDetails"]
    assert fires["StatusDetails"].startswith(
        "RuleEvaluationConditionMet: Evaluation of the rule VanishingGradient at step 0 resulted in the condition "
    )
    assert fires["violations"] == 7 * 4
    assert fires["actions"] == [
        {"name": "stoptraining", "outcome": "asked for"},
        {"name": "command", "outcome": "done: the command's exit status is 0"},
    ]
    assert json.loads(told.read_text())["RuleConfigurationName"] == "fires"
    assert (tmp_path / "count").read_text() == "\n"
    assert impossible["RuleEvaluationStatus"] == "Error"
    assert "'(' is no regular expression" in impossible["StatusDetails"]


def test_sigterm_ends_it_within_seconds_and_unfinished_rules_are_stopped(job: Job) -> None:
    job.order(silent=SILENT, fires=FIRES)
    watch = job.watch()
    job.train(5)
    job.wait_for("silent", lambda report: report["steps_seen"] >= 1)
    watch.send_signal(signal.SIGTERM)
    ended(watch)
    silent = job.report("silent")
    assert silent["RuleEvaluationStatus"] == "Stopped"
    assert silent["StatusDetails"] == "stopped before the training ended; looked at 4 steps"
    assert job.report("fires")["RuleEvaluationStatus"] == "IssuesFound"


def test_a_training_without_a_hook_is_an_error_that_says_so(job: Job) -> None:
    job.order(silent=SILENT)
    job.tensors.mkdir()
    watch = job.watch()
    job.wait_for("silent", lambda report: report["RuleEvaluationStatus"] == "InProgress")
    (job.tensors / "training_job_end.ts").touch()
    ended(watch)
    assert job.report("silent")["RuleEvaluationStatus"] == "Error"
    assert "No debugging data was saved by the training job" in job.report("silent")["StatusDetails"]


def test_orders_that_cannot_be_read_end_it_with_a_sentence(job: Job) -> None:
    job.orders.write_text("{}")
    watch = job.watch()
    _, err = watch.communicate(timeout=PATIENCE_S)
    assert watch.returncode == 4
    assert "lack or garble 'job_name'" in err


@pytest.fixture
def custom(job: Job, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the evaluator of the custom rule `mine`."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "my_rules.py").write_text(CUSTOM)

    def start(rule: str = "LossAbove", **parameters: str) -> subprocess.Popen[str]:
        given = {"rule_to_invoke": rule, "source_s3_uri": "s3://bucket/my_rules.py", **parameters}
        job.order(mine=given, sources={"mine": str(source)})
        return job.watch("--custom", "mine")

    return start


def test_a_rule_of_the_users_own_is_asked_at_every_step(job: Job, custom: Callable[..., Any]) -> None:
    watch = custom(threshold="0.1")
    job.train(3)
    fired = job.wait_for("mine", lambda report: report["violations"] > 0)
    assert fired["RuleEvaluationStatus"] == "IssuesFound"
    job.train(2)
    job.end_training()
    assert ended(watch).count("loss ") == 5
    mine = job.report("mine")
    assert mine["StatusDetails"].startswith(
        "RuleEvaluationConditionMet: Evaluation of the rule LossAbove at step 0 resulted in the condition being met; "
        "looked at 5 saved steps"
    )
    assert (mine["violations"], mine["parameters"]) == (5, {"threshold": "0.1"})


def test_a_custom_rule_ends_at_sigterm_also_within_a_loop_of_its_own(
    job: Job, custom: Callable[..., Any], tmp_path: Path
) -> None:
    source = CUSTOM.replace(
        'print("loss", loss, flush=True)', 'print("loss", loss, flush=True)\n            while True: pass'
    )
    watch = custom()
    (tmp_path / "source" / "my_rules.py").write_text(source)
    job.train(2)
    assert watch.stdout
    while not watch.stdout.readline().startswith("loss "):
        assert watch.poll() is None
    watch.send_signal(signal.SIGTERM)
    ended(watch)
    assert job.report("mine")["RuleEvaluationStatus"] == "Stopped"
