import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kennel import cli

REPOSITORY = Path(__file__).resolve().parents[2]
VERBS = (
    *("check", "train", "deploy", "invoke", "list", "delete", "local", "data", "debug", "report", "tune", "transform"),
    *("build", "conformance", "push", "layers", "sbom", "upload", "setup"),
)
SCRIPTS = sorted((REPOSITORY / "scripts").glob("*.sh"))


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_prints_its_help_without_importing_what_it_needs_to_run(verb: str) -> None:
    """Help must answer on a machine where nothing is installed: -S leaves site-packages out."""
    outcome = subprocess.run(
        [sys.executable, "-S", "-m", "kennel.cli", verb, "-h"],
        env={"PYTHONPATH": str(REPOSITORY / "code"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.startswith(f"usage: kennel {verb}")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_prints_its_help_and_ends_well(script: Path) -> None:
    outcome = subprocess.run([script, "-h"], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip()


def documented_commands() -> list[list[str]]:
    """Every `scripts/...` line of the code blocks of the README and of docs/, without its comment."""
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    blocks = [block for page in pages for block in page.read_text().split("```")[1::2]]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("scripts/")]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("command", documented_commands(), ids=" ".join)
def test_a_documented_command_exists_and_parses(command: list[str]) -> None:
    script = REPOSITORY / command[0]
    assert os.access(script, os.X_OK)
    if script.stem in VERBS:
        cli.parser().parse_args([script.stem, *command[1:]])


def test_readme_shows_every_verb_script() -> None:
    shown = {Path(command[0]).stem for command in documented_commands()}
    assert shown >= {"quickstart", "test", "check", "train", "deploy", "invoke", "list", "delete"}


def test_the_readme_sdk_example_compiles() -> None:
    text = (REPOSITORY / "README.md").read_text()
    compile(text.split("<<'PYTHON'\n")[1].split("\nPYTHON\n")[0], "README.md", "exec")


def test_a_refused_argument_ends_with_a_sentence_and_its_status(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = cli.main(["train", "--data", str(tmp_path), "-p", "lr=0"])
    assert status == 2
    assert "kennel: Hyperparameter 'lr' has value '0'" in capsys.readouterr().err


def test_a_job_name_with_an_underscore_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["train", "--data", str(tmp_path), "--name", "my_job"]) == 2
    assert "Try 'my-job'" in capsys.readouterr().err


def test_sample_never_writes_into_a_folder_that_holds_something(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("x")
    assert cli.main(["data", "sample", str(tmp_path)]) == 2
    assert "is there already and not empty" in capsys.readouterr().err
