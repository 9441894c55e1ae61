"""Debugging with the real programs: train.py's hook, the rules, the sampler, behind the local SageMaker."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kennel import cli
from sdk_scripts import run_script

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


def test_an_sdk_v2_script_with_hook_rules_and_profiler_runs_unchanged(
    runs: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(RULE)
    folder = make_folder(images={"train": 40, "valid": 10, "test": 4})
    said = run_script(runs, "sdk_v2_debugger.py", folder, tmp_path / "mine.py", tmp_path / "note")
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
