from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kennel.conformance import training_checks, training_stop_checks
from kennel.conformance.checks import Subject
from kennel.conformance.containers import Exit
from kennel.conformance.exercise import Exercise
from kennel.conformance.findings import Finding, Verdict
from kennel.conformance.ml_folder import Job, MlFolder
from kennel.conformance.training_checks import Ordinary
from kennel.conformance.training_runs import (
    Conditions,
    TrainingRun,
    comparable_metrics,
    difference,
    digests,
    read_metrics,
    shows_progress,
    written_outside,
)
from kennel.conformance.training_stop_checks import Stopped

LOSS = {"Name": "train:loss", "Regex": r"(?:^|\s)loss=([-+.\w]+)"}
NEVER_USED: Any = None


def run_of(
    log: str = "",
    *,
    status: int | None = 0,
    seconds: float = 5.0,
    model: Sequence[str] = ("m",),
    checkpoints: Mapping[str, str] | None = None,
    was_killed: bool = False,
    failure: str | None = None,
) -> TrainingRun:
    """What a container would have left that wrote this log."""
    return TrainingRun(
        exit=Exit(status, seconds, was_killed=was_killed),
        log=log,
        metrics=read_metrics(log, [LOSS]),
        model=dict.fromkeys(model, "digest"),
        checkpoints=checkpoints or {},
        failure=failure,
        changed=(),
        ml=MlFolder(Path("ml"), Job({}, {}), Path("ml/checkpoints")),
    )


def epochs(first: int, last: int) -> str:
    return "\n".join(f"epoch={number} loss={1 / number}" for number in range(first, last + 1))


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    exercise = Exercise(metric_definitions=(LOSS,), hyperparameters={"epochs": "5"})
    subject = Subject("image", {}, NEVER_USED, exercise, tmp_path, tmp_path)
    whole = run_of(epochs(1, 5))
    subject.shared["ordinary_training"] = Ordinary(whole, whole, Conditions())
    return subject


def stopped(subject: Subject, run: TrainingRun, middle: str | None = "the line") -> None:
    subject.shared["stopped_training"] = subject.shared["quoted_training"] = Stopped(run, middle, is_quoted=True)


def test_metrics_are_read_line_by_line_and_text_is_left_out() -> None:
    assert read_metrics("loss=0.5\nloss=-1e-3\nloss=high\nvalid_loss=3", [LOSS]) == {"train:loss": [0.5, -0.001]}


def test_progress_is_a_metric_line_or_without_definitions_what_looks_like_one() -> None:
    assert shows_progress("epoch 1: loss=0.5", [LOSS])
    assert not shows_progress("epoch 1", [LOSS])
    assert shows_progress("Epoch: 1/10", [])
    assert not shows_progress("Downloading data", [])


def test_metrics_of_time_are_not_compared() -> None:
    names = ("train:loss", "validation:accuracy", "images_per_second", "epoch_seconds")
    exercise = Exercise(metric_definitions=tuple({"Name": name, "Regex": ""} for name in names))
    subject = Subject("image", {}, NEVER_USED, exercise, Path(), Path())
    assert comparable_metrics(subject) == ["train:loss", "validation:accuracy"]


def test_the_difference_of_two_values_is_relative_and_nan_equals_nan() -> None:
    assert difference(100.0, 101.0) == pytest.approx(1 / 101)
    assert difference(float("nan"), float("nan")) == 0
    assert difference(float("nan"), 1.0) == float("inf")
    assert difference(0.0, 0.0) == 0


def test_only_what_a_program_wrote_outside_the_mounts_counts() -> None:
    changed = [
        "/opt",
        "/opt/ml",
        "/opt/ml/model",
        "/root",
        "/root/.cache",
        "/root/.cache/w.bin",
        "/tmp",
        "/tmp/x",
        "/tmpx",
    ]
    assert written_outside(changed) == ["/root/.cache/w.bin", "/tmpx"]


def test_empty_files_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "state").write_text("1")
    (tmp_path / "empty").touch()
    assert list(digests(tmp_path)) == ["a/state"]


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("urlopen https://a.example.org/x: Temporary failure in name resolution", ["a.example.org"]),
        ("see https://docs.example.com\nFailed to resolve 'b.example.org'", ["b.example.org"]),
        ("HTTPSConnectionPool(host='c.example.org', port=443): Max retries exceeded", ["c.example.org"]),
        ("Downloading https://d.example.org/w.pth\n[Errno -3] Temporary failure in name resolution", ["d.example.org"]),
        ("Network is unreachable", []),
    ],
)
def test_the_host_that_a_training_wants_is_named(log: str, words: list[str]) -> None:
    assert training_checks._wanted_hosts(log) == words


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        (r"loss=([0-9.]+", "the regex is none"),
        (r"loss=[0-9.]+", "has 0 groups"),
        (r"loss=(.*?)", "is no number"),
        (r"Loss: ([0-9.]+)", "the nearest says `epoch=1 loss=1.0`"),
        (r"loss=([0-9.]+)" + "x?" * 300, "has 614 characters"),
    ],
)
def test_a_metric_definition_that_finds_no_number_is_told_why(regex: str, words: str) -> None:
    assert words in str(training_checks._metric_fault("train:loss", regex, epochs(1, 1)))


def test_a_sound_metric_definition_has_no_fault() -> None:
    assert training_checks._metric_fault("train:loss", LOSS["Regex"], epochs(1, 2)) is None


def verdict(found: Finding | Any) -> tuple[Verdict, str]:  # noqa: ANN401  a check may yield several
    return found.verdict, found.seen


def test_a_training_that_runs_on_to_its_end_did_not_hear_sigterm(subject: Subject) -> None:
    stopped(subject, run_of(epochs(1, 5), seconds=40.0))
    result, seen = verdict(training_stop_checks.sigterm(subject))
    assert result is Verdict.FAIL
    assert "as if it had not been told" in seen


def test_a_training_that_was_over_right_then_says_nothing_about_sigterm(subject: Subject) -> None:
    stopped(subject, run_of(epochs(1, 5), seconds=0.1))
    assert training_stop_checks.sigterm(subject).verdict is Verdict.SKIP  # type: ignore[union-attr]


def test_any_exit_status_will_do_after_sigterm(subject: Subject) -> None:
    stopped(subject, run_of(epochs(1, 2), status=143, seconds=1.0))
    assert verdict(training_stop_checks.sigterm(subject))[0] is Verdict.PASS


@pytest.mark.parametrize(
    ("log", "evidence"),
    [
        ("Resuming from epoch 2\n" + epochs(1, 5), "the log says `Resuming from epoch 2`"),
        (epochs(3, 5), "its first epoch is 3"),
        ("loss=0.4\nloss=0.3", "2 rounds of metric lines, where a whole training has 5"),
    ],
)
def test_going_on_is_seen_by_words_epochs_or_rounds(subject: Subject, log: str, evidence: str) -> None:
    found = training_stop_checks._judge_resume(subject, run_of(epochs(1, 2), checkpoints={"c": "1"}), run_of(log), "")
    assert found.verdict is Verdict.PASS
    assert evidence in found.seen


def test_starting_over_is_a_warning(subject: Subject) -> None:
    before = run_of(epochs(1, 2), checkpoints={"c": "1"})
    found = training_stop_checks._judge_resume(subject, before, run_of(epochs(1, 5)), "")
    assert found.verdict is Verdict.WARN


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (None, "no /opt/ml/output/failure"),
        ('ExecuteUserScriptError:\nExitCode 1\nErrorMessage ""\nCommand "python train.py"', "gives no reason"),
        ("x" * 1025, "1025 characters"),
    ],
)
def test_a_failure_file_that_does_not_help_is_a_warning(subject: Subject, failure: str | None, words: str) -> None:
    subject.shared["failing_training"] = (run_of(status=1, failure=failure), "empty channels")
    result, seen = verdict(training_stop_checks.failure_file(subject))
    assert result is Verdict.WARN
    assert words in seen


def test_two_hosts_that_learn_something_else_than_one_are_named(subject: Subject) -> None:
    one, other = run_of(epochs(1, 5)), run_of("loss=0.3")
    same = training_stop_checks._compare_hosts(subject, {"algo-1": one, "algo-2": run_of("")}, "")
    assert same.verdict is Verdict.PASS
    assert (
        training_stop_checks._compare_hosts(subject, {"algo-1": other, "algo-2": run_of("")}, "").verdict
        is Verdict.FAIL
    )
    twice = training_stop_checks._compare_hosts(subject, {"algo-1": one, "algo-2": one}, "")
    assert twice.verdict is Verdict.WARN
    assert "algo-2 prints" in twice.seen
