"""The repacked smdebug, installed beside what training has: its requirements, a hooked training, a rule."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).parent / "scripts" / "hooked_training.py"
# Import name -> distribution, where they differ.
DISTRIBUTIONS = {"google": "protobuf", "botocore": "boto3"}


def requirements() -> list[Requirement]:
    return [Requirement(line) for line in importlib.metadata.requires("smdebug") or []]


def test_its_requirements_are_met_by_what_training_installs() -> None:
    check = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert not [line for line in check.stdout.splitlines() if "smdebug" in line or "protobuf" in line], check.stdout
    for requirement in requirements():
        assert requirement.specifier.contains(importlib.metadata.version(requirement.name)), requirement


def test_the_training_image_installs_all_that_it_requires() -> None:
    """The image installs the wheel without dependencies, beside what these two locks hold."""
    locks = [(REPOSITORY / "docker" / "requirements" / f"{name}.txt").read_text() for name in ("common", "train")]
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", "\n".join(locks), flags=re.MULTILINE))
    for requirement in requirements():
        assert requirement.name in locked, f"{requirement} is in neither lock"
        assert requirement.specifier.contains(locked[requirement.name]), requirement


def third_party_imports(source: str) -> Iterator[str]:
    """What a module cannot be imported without: outside functions and `try`."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_it_declares_exactly_what_its_imports_need() -> None:
    """Other frameworks' folders are left out, and the notebooks, which want bokeh."""
    left_out = ("smdebug/tensorflow/", "smdebug/mxnet/", "smdebug/xgboost/", "/notebook_utils/")
    files = [file for file in importlib.metadata.files("smdebug") or [] if file.suffix == ".py"]
    sources = [file.read_text() for file in files if not any(folder in str(file) for folder in left_out)]
    needed = {name for source in sources for name in third_party_imports(source)}
    needed -= sys.stdlib_module_names | {"smdebug", "torch"}
    assert {DISTRIBUTIONS.get(name, name) for name in needed} == {each.name for each in requirements()}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What hooked_training.py says, by key; `rules` is the list of what was said of each."""
    run = subprocess.run(
        [sys.executable, SCRIPT, tmp_path_factory.mktemp("run") / "out"],
        env={key: value for key, value in os.environ.items() if not key.startswith(("SM", "SAGEMAKER"))}
        | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "rror" not in run.stderr, run.stderr  # smdebug swallows its own errors and only logs them
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    rules = {"rules": [line for line in lines if "threshold" in line]}
    return rules | {key: value for line in lines if "threshold" not in line for key, value in line.items()}


def test_losses_weights_and_gradients_are_read_back_as_they_were(facts: dict[str, Any]) -> None:
    assert facts["version"] == "1.0.34+kennel.1"
    assert facts["steps"] == [0, 1, 2, 3]
    wanted = {
        "CrossEntropyLoss_output_0",
        "Network_first.weight",
        "Network_second.weight",
        "gradient/Network_first.weight",
        "gradient/Network_second.weight",
    }
    assert wanted <= set(facts["tensors"])
    assert wanted <= set(facts["dtypes"])
    assert facts["compared"] == len(facts["dtypes"]) * len(facts["steps"])
    assert facts["different"] == []


def test_bfloat16_tensors_are_saved_as_float32(facts: dict[str, Any]) -> None:
    assert facts["dtypes"]["Network_second.weight"] == "float32"
    assert facts["dtypes"]["gradient/Network_second.weight"] == "float32"


def test_a_rule_sees_every_step_and_ends_where_the_data_ends(facts: dict[str, Any]) -> None:
    silent, firing = facts["rules"]
    assert silent == {"threshold": 0.0, "ended_by": "NoMoreData", "seen": [0, 1, 2, 3]}
    assert firing == {"threshold": 1e9, "ended_by": "RuleEvaluationConditionMet", "seen": [0]}


def test_tensorboard_files_and_the_python_profiler_are_written(facts: dict[str, Any]) -> None:
    """scalars (numpy 2) go through the first, and pyinstrument 5 in place of 3.4 through the second."""
    assert facts["events"] > 0
    assert facts["profiled"] and "root_frame" in facts["profiled"][0]
