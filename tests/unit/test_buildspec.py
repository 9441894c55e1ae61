"""buildspec.yml against our schema of the format, and the runner that plays it as CodeBuild would."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from codebuild import Build, BuildspecError, load_buildspec, replacing, run_buildspec

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = (REPOSITORY / "buildspec.yml").read_text()
SMALLEST = "version: 0.2\nphases:\n  build:\n    commands:\n      - 'true'\n"


def test_our_buildspec_is_one() -> None:
    assert load_buildspec(OURS)["version"] == 0.2


def test_every_script_that_our_buildspec_runs_is_there() -> None:
    phases = load_buildspec(OURS)["phases"].values()
    commands = [text for phase in phases for text in [*phase.get("commands", ()), *phase.get("finally", ())]]
    scripts = {word for text in commands for word in text.split() if word.startswith("scripts/")}
    assert {
        "scripts/install.sh",
        "scripts/lint.sh",
        "scripts/build.sh",
        "scripts/smoke.sh",
        "scripts/push.sh",
    } <= scripts
    assert [script for script in scripts if not os.access(REPOSITORY / script, os.X_OK)] == []


def test_our_buildspec_pushes_after_the_smoke_test_and_only_in_a_build_that_succeeds() -> None:
    commands = load_buildspec(OURS)["phases"]["post_build"]["commands"]
    first = {
        beginning: next(i for i, text in enumerate(commands) if text.startswith(beginning))
        for beginning in ('test "$CODEBUILD_BUILD_SUCCEEDING" = 1', "scripts/smoke.sh", "scripts/push.sh")
    }
    assert list(first.values()) == sorted(first.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phases: {build: {commands: ['true']}}", "'version' is a required property"),
        ("version: 0.2", "'phases' is a required property"),
        (SMALLEST.replace("0.2", "0.1"), "version: 0.2 was expected"),
        (SMALLEST.replace("0.2", "'0.2'"), "version: 0.2 was expected"),
        (SMALLEST.replace("build:", "test:"), "phases: Additional properties are not allowed \\('test'"),
        (SMALLEST.replace("commands:", "command:"), "phases/build: .*'command'"),
        (SMALLEST.replace("'true'", "echo state: done"), "build/commands/0: {'echo state': 'done'} is not of type"),
        (SMALLEST.replace("'true'", "true"), "phases/build/commands/0: True is not of type 'string'"),
        (SMALLEST.replace("\n      - 'true'", " make"), "phases/build/commands: 'make' is not of type 'array'"),
        (SMALLEST.replace("\n      - 'true'", " []"), "phases/build/commands: .*(non-empty|too short)"),
        (SMALLEST + "    on-failure: IGNORE\n", "phases/build/on-failure: 'IGNORE' does not match"),
        (SMALLEST + "  build:\n    commands: [make]\n", "'build' is there twice"),
        (SMALLEST + "env:\n  shell: zsh\n", "env/shell: 'zsh' is not one of"),
        (SMALLEST + "env:\n  variables:\n    CODEBUILD_X: '1'\n", "env/variables: 'CODEBUILD_X' does not match"),
        (SMALLEST + "env:\n  variables:\n    PYTHON: 3.10\n", "env/variables/PYTHON: 3.1 is not of type 'string'"),
        (SMALLEST + "  install:\n    runtime-versions:\n      python: 3.10\n", "versions/python: 3.1 is not of type"),
        (SMALLEST + "reports:\n  r:\n    files: ['*.xml']\n", "reports: 'r' does not match"),
        (SMALLEST + "reports:\n  ours:\n    files: ['*']\n    file-format: JUNIT\n", "format: 'JUNIT' is not one of"),
        (SMALLEST + "reports:\n" + "".join(f"  ours{i}:\n    files: ['*']\n" for i in range(6)), "too many properties"),
        (SMALLEST + "artifacts:\n  name: x\n", "artifacts: 'files' is a required property"),
        (SMALLEST + "artifacts:\n  files: ['*']\n  paths: ['*']\n", "artifacts: Unevaluated properties .*'paths'"),
        (SMALLEST + "cache:\n  paths: pip\n", "cache/paths: 'pip' is not of type 'array'"),
        ("version: 0.2\n\tphases:", "not YAML"),
    ],
)  # fmt: skip
def test_a_faulty_buildspec_is_refused_with_the_place_and_the_fault(text: str, message: str) -> None:
    with pytest.raises(BuildspecError, match=message):
        load_buildspec(text)


def play(spec: dict[str, Any] | str, folder: Path, **more: Any) -> Build:  # noqa: ANN401  run_buildspec's own
    source = folder / "source"
    source.mkdir(exist_ok=True)
    loaded = load_buildspec(spec) if isinstance(spec, str) else spec
    return run_buildspec(loaded, source, folder / "output", **more)


def statuses(build: Build) -> dict[str, str]:
    return {phase.name: phase.status for phase in build.phases}


STUB = """
version: 0.2
env:
  shell: bash
  variables:
    COLOUR: blue
  exported-variables: [ANSWER]
phases:
  install:
    commands:
      - echo installed in $CODEBUILD_SRC_DIR
  pre_build:
    commands:
      - mkdir -p out && cd out
      - export ANSWER=42
      - say() { echo "said $1"; }
  build:
    commands:
      - say "$COLOUR $ANSWER in $(basename "$PWD")"
      - echo '<testsuite tests="3" failures="1" errors="0" skipped="1"/>' > junit.xml
      - echo made > image.txt
    finally:
      - echo build over, succeeding=$CODEBUILD_BUILD_SUCCEEDING
  post_build:
    commands:
      - test "$CODEBUILD_BUILD_SUCCEEDING" = 1
      - echo pushed > pushed.txt
    finally:
      - echo logged out
reports:
  tests:
    files: ['*.xml']
    base-directory: out
artifacts:
  files: ['**/*.txt']
  base-directory: out
  name: kennel-$ANSWER
"""


def test_all_commands_run_in_one_shell_that_keeps_directory_variables_and_functions(tmp_path: Path) -> None:
    build = play(STUB, tmp_path, environment={"COLOUR": "red"}, commit="abc")
    assert build.status == "SUCCEEDED", build.log
    assert "said red 42 in out" in build.log, "what start-build sets comes before the buildspec's variables"
    assert build.exported == {"ANSWER": "42"}
    assert (build.artifact_name, build.artifacts) == ("kennel-42", ("image.txt", "pushed.txt"))
    assert (build.artifact_folder / "pushed.txt").read_text() == "pushed\n"
    assert build.reports == {"tests": {"tests": 3, "failures": 1, "errors": 0, "skipped": 1}}


def test_a_failing_command_ends_its_phase_but_not_its_finally_and_post_build_still_runs(tmp_path: Path) -> None:
    build = play(replacing(load_buildspec(STUB), "echo made", "false"), tmp_path)
    assert statuses(build) == {
        "install": "SUCCEEDED", "pre_build": "SUCCEEDED", "build": "FAILED", "post_build": "FAILED",
        "upload_artifacts": "FAILED",
    }  # fmt: skip
    assert build.phase("build").failed_command == "false (exit status 1)"
    assert "build over, succeeding=0" in build.log
    assert "logged out" in build.log, "post_build's finally"
    assert build.artifacts == (), "the guard kept post_build from pushing"
    assert build.reports["tests"]["tests"] == 3, "reports are gathered all the same"
    assert build.status == "FAILED"


@pytest.mark.parametrize(("beginning", "failed"), [("echo installed", "install"), ("export ANSWER", "pre_build")])
def test_nothing_is_built_after_a_failed_preparation(beginning: str, failed: str, tmp_path: Path) -> None:
    build = play(replacing(load_buildspec(STUB), beginning, "exit 3"), tmp_path)
    assert build.phase(failed).failed_command == "exit 3 (exit status 3)"
    assert build.phase("build").status == build.phase("post_build").status == "SKIPPED"
    assert "said" not in build.log


def test_on_failure_abort_ends_the_build_before_post_build(tmp_path: Path) -> None:
    spec = replacing(load_buildspec(STUB), "echo made", "false")
    spec["phases"]["build"]["on-failure"] = "ABORT"
    build = play(spec, tmp_path)
    assert build.phase("post_build").status == "SKIPPED"
    assert "build over, succeeding=0" in build.log


def test_a_command_that_ends_the_shell_fails_and_the_finally_gets_a_fresh_one(tmp_path: Path) -> None:
    build = play(replacing(load_buildspec(STUB), "echo made", "set -e; false"), tmp_path)
    assert build.phase("build").status == "FAILED"
    assert "build over" in build.log


def test_a_build_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    marker = tmp_path / "alive"
    spec = replacing(load_buildspec(STUB), "echo made", f"while sleep 0.2; do touch '{marker}'; done")
    with pytest.raises(TimeoutError, match="the build did not end in time"):
        play(spec, tmp_path, timeout_s=1)
    marker.unlink(missing_ok=True)
    time.sleep(0.6)
    assert not marker.exists()


def test_what_the_runner_does_not_play_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="not played here: \\['run-as'\\]"):
        play(SMALLEST + "run-as: nobody\n", tmp_path)


def test_settings_of_this_machine_do_not_reach_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("ECR_REGISTRY", "mine")
    build = play(SMALLEST.replace("'true'", "'echo [$AWS_PROFILE$ECR_REGISTRY]'"), tmp_path)
    assert "\n[]\n" in build.log
