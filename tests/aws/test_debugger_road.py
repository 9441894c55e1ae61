"""Debugging with the real programs: train.py's hook, the rules, the sampler, behind the local SageMaker."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kennel import cli
from kennel.launch.places import runs_folder
from kennel.local import daemon

SCRIPT = Path(__file__).parent / "scripts" / "sdk_v2_debugger.py"
# The guide's own form of a custom rule.
RULE = """
from pathlib import Path

from smdebug.rules.rule import Rule


class EnoughSeen(Rule):
    def __init__(self, base_trial, note):
        super().__init__(base_trial)
        self.note = Path(note)

    def invoke_at_step(self, step):
        return self.note.exists()
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runs folder of its own; whatever a test started on it has ended afterwards."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("KENNEL_RUNS", str(folder))
    yield folder
    daemon.stop(folder)
    left = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in left if str(folder) in command]


def run_script(*arguments: Path) -> dict[str, Any]:
    """What the script prints as JSON; it is given the endpoint variables only."""
    environ = {**os.environ, **daemon.environment(daemon.ensure(runs_folder()))}
    outcome = subprocess.run(
        [sys.executable, SCRIPT, *arguments], env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    [said] = [line for line in outcome.stdout.splitlines() if line.startswith('{"answer"')]
    return dict(json.loads(said))


def test_an_sdk_v2_script_with_hook_rules_and_profiler_runs_unchanged(
    runs: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(RULE)
    said = run_script(
        make_folder(images={"train": 40, "valid": 10, "test": 4}), tmp_path / "mine.py", tmp_path / "note"
    )
    rules = {name: rule["RuleEvaluationStatus"] for name, rule in said["answer"].items()}
    assert rules == {
        "Overfit": "NoIssuesFound",
        "ExplodingTensor": "NoIssuesFound",
        "EnoughSeen": "IssuesFound",
        "ProfilerReport": "NoIssuesFound",
    }
    status, message = said["status"]
    assert status == "Stopped"
    assert message.startswith("Rule 'EnoughSeen' (EnoughSeen) fired and stopped the job: ")
    assert said["model"].endswith("/output/model.tar.gz")
    assert said["meanwhile"][0] == "InProgress" and said["meanwhile"][1] > 0
    assert said["profiler"] == [1000, "Disabled", "Enabled"]
    assert len(said["steps"]) >= said["meanwhile"][1] and 0 < said["loss"] < 10
    assert [path.rpartition("/")[2] for path in said["paths"]] == ["debug-output", "profiler-output"]


def test_train_debug_tells_of_the_rules_and_rules_file_stops_a_training_that_diverges(
    runs: Path, make_folder: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(images={"train": 40, "valid": 10, "test": 4})
    parameters = ["weights=none", "trainable=all", "epochs=60", "patience=60", "batch-size=8", "image-size=32", "lr=10"]
    (tmp_path / "rules.json").write_text(
        json.dumps(
            {
                "DebugRuleConfigurations": [
                    {
                        "RuleConfigurationName": "Falls",
                        "RuleParameters": {
                            "rule_to_invoke": "LossNotDecreasing",
                            "num_steps": 10,
                            "action_json": '[{"name": "StopTraining"}]',
                        },
                    }
                ],
                "DebugHookConfig": {"HookParameters": {"save_interval": 2}},
            }
        )
    )
    words = [word for each in parameters for word in ("-p", each)]
    code = cli.main(["train", "--data", str(folder), "--name", "wild", "--rules", str(tmp_path / "rules.json"), *words])
    printed = capfd.readouterr().out
    assert code == 1
    assert printed.count("rule Falls fired: CrossEntropyLoss_output_0 has risen by ") == 1
    assert "\n  what to do: " in printed
    assert "training job wild: Stopped" in printed and "\n  Falls  IssuesFound" in printed
    assert printed.splitlines()[-2:] == [
        "see all of it: kennel report wild",
        "the rules again, with other thresholds: kennel debug wild",
    ]
    job = json.loads((runs / "wild" / "job.json").read_text())["description"]
    assert job["SecondaryStatusTransitions"][-1]["StatusMessage"].startswith("Rule 'Falls' (LossNotDecreasing) fired")
    assert list((runs / "wild" / "ml" / "checkpoints").glob("epoch-*.safetensors"))
    assert (runs / "wild" / "ml" / "output" / "tensors" / "training_job_end.ts").exists()
