from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kennel.conformance.checks import CHECKS, Check, Selection, Subject, failed, passed, run_checks, skipped, warned
from kennel.conformance.containers import ContainerError
from kennel.conformance.exercise import Exercise
from kennel.conformance.findings import Finding, Verdict

NEVER_USED: Any = None


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject("image", {}, NEVER_USED, Exercise(), tmp_path, tmp_path, kinds=frozenset({"image", "train"}))


def verdicts(subject: Subject, checks: list[Check], selection: Selection | None = None) -> dict[str, Verdict]:
    return {each.check: each.verdict for each in run_checks(subject, checks=checks, selection=selection)}


def passes(_subject: Subject) -> Finding:
    return passed("a", "b")


def fails(_subject: Subject) -> Finding:
    return failed("a", "b", "c", "d")


def test_checks_run_by_kind_and_only_those_of_the_subject(subject: Subject) -> None:
    checks = [Check("train.a", "train", passes), Check("serve.a", "serve", passes), Check("image.a", "image", passes)]
    assert list(verdicts(subject, checks)) == ["image.a", "train.a"]


def test_what_needs_a_failed_check_is_skipped_down_the_line_with_the_reason(subject: Subject) -> None:
    checks = [
        Check("image.a", "image", fails),
        Check("train.b", "train", passes, ("image.a",)),
        Check("train.c", "train", passes, ("train.b",)),
        Check("train.d", "train", passes),
    ]
    findings = {each.check: each for each in run_checks(subject, checks=checks)}
    assert findings["train.b"].verdict is findings["train.c"].verdict is Verdict.SKIP
    assert findings["train.b"].seen == "image.a failed"
    assert findings["train.c"].seen == "train.b was skipped"
    assert findings["train.d"].verdict is Verdict.PASS


@pytest.mark.parametrize("found", [warned("a", "b", "c", "d"), skipped("a", "not asked for")])
def test_a_warning_or_a_check_that_did_not_apply_blocks_nothing(subject: Subject, found: Finding) -> None:
    checks = [Check("image.a", "image", lambda _: found), Check("train.b", "train", passes, ("image.a",))]
    assert verdicts(subject, checks)["train.b"] is Verdict.PASS


def test_a_crashing_check_is_a_failure_and_the_others_go_on(subject: Subject) -> None:
    def crashes(_subject: Subject) -> Iterator[Finding]:
        yield passed("a", "b")
        raise ZeroDivisionError("by zero")

    findings = list(run_checks(subject, checks=[Check("image.a", "image", crashes), Check("image.b", "image", passes)]))
    assert [each.verdict for each in findings] == [Verdict.FAIL, Verdict.PASS]
    assert "ZeroDivisionError: by zero" in findings[0].seen


def test_what_docker_refuses_is_told_in_its_words(subject: Subject) -> None:
    def refused(_subject: Subject) -> Finding:
        raise ContainerError('exec: "train": permission denied')

    (found,) = run_checks(subject, checks=[Check("train.a", "train", refused)])
    assert found.verdict is Verdict.FAIL
    assert "permission denied" in found.seen


def test_a_selection_runs_what_is_needed_and_reports_what_was_asked_for(subject: Subject) -> None:
    ran = []

    def note(name: str) -> Check:
        return Check(name, "train", lambda _: (ran.append(name), passed("a", "b"))[1])

    checks = [note("train.a"), note("train.b"), Check("train.c", "train", passes, ("train.a",))]
    assert verdicts(subject, checks, Selection(only=("train.c",))) == {"train.c": Verdict.PASS}
    assert ran == ["train.a"]


def test_a_needed_check_that_failed_is_reported_though_not_asked_for(subject: Subject) -> None:
    checks = [Check("train.a", "train", fails), Check("train.c", "train", passes, ("train.a",))]
    found = verdicts(subject, checks, Selection(only=("train.c",)))
    assert found == {"train.a": Verdict.FAIL, "train.c": Verdict.SKIP}


def test_skipping_a_check_leaves_out_its_group_and_nothing_with_a_like_name(subject: Subject) -> None:
    names = ("train.a", "train.a.b", "train.ab")
    found = verdicts(subject, [Check(name, "train", passes) for name in names], Selection(skip=("train.a",)))
    assert list(found) == ["train.ab"]


def test_every_check_is_needed_by_a_name_that_exists() -> None:
    import kennel.conformance.run  # noqa: F401  imports all checks

    names = {each.name for each in CHECKS}
    assert {need for each in CHECKS for need in each.needs} <= names
    assert all(each.name.startswith(f"{each.kind}.") for each in CHECKS)


def test_a_log_is_kept_under_the_images_name(subject: Subject, tmp_path: Path) -> None:
    subject.keep_log("lost", "text")
    subject.image, subject.logs = "localhost:5000/a/b:c", tmp_path / "logs"
    subject.keep_log("ordinary", "text")
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.log")] == [
        Path("logs/localhost_5000_a_b_c/ordinary.log")
    ]
