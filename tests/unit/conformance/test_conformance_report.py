import json
import xml.etree.ElementTree as ET

import pytest

from kennel.conformance.findings import Finding, Verdict
from kennel.conformance.report import ImageReport, progress_line, to_json, to_junit

FINDINGS = (
    Finding("image.words", Verdict.PASS, "`train` on PATH", "/usr/local/bin/train", seconds=0.25),
    Finding("image.user", Verdict.WARN, "USER", "worker", "writes may be refused", "leave USER out"),
    Finding(
        "train.sigterm", Verdict.FAIL, "SIGTERM", "killed \x1b[31mafter\x00 120 s", "work is lost", "pass it on", 121.0
    ),
    Finding("train.resume", Verdict.SKIP, "", "train.sigterm failed"),
)


@pytest.fixture
def report() -> ImageReport:
    return ImageReport("a/b:c", "sha256:1", ("image", "train"), FINDINGS, 130.4)


def test_the_table_says_consequence_and_remedy_of_what_did_not_pass(report: ImageReport) -> None:
    table = report.table()
    assert "train.sigterm  FAIL     killed" in table
    assert "remedy: pass it on" in table
    assert "consequence: writes may be refused" in table
    assert "tried: `train` on PATH" not in table


def test_long_text_is_wrapped_and_not_cut() -> None:
    words = " ".join(f"word{number}" for number in range(100))
    report = ImageReport("a", "", ("image",), (Finding("image.a", Verdict.FAIL, "", words, "", ""),), 1.0)
    assert all(f"word{number}" in report.table() for number in range(100))
    assert max(map(len, report.table().splitlines())) <= 130


def test_the_summary_counts_every_verdict(report: ImageReport) -> None:
    assert report.summary() == "a/b:c does not conform (image+train): 1 pass, 1 warn, 1 fail, 1 skip in 130 s"


def test_warnings_alone_conform(report: ImageReport) -> None:
    warned = ImageReport("a", "", ("image",), FINDINGS[:2], 1.0)
    assert warned.is_passed
    assert not report.is_passed
    assert to_json([warned])["passed"]
    assert not to_json([warned, report])["passed"]


def test_json_holds_every_member_of_a_finding(report: ImageReport) -> None:
    content = json.loads(json.dumps(to_json([report])))
    image = content["images"][0]
    assert image["counts"] == {"pass": 1, "warn": 1, "fail": 1, "skip": 1}
    assert image["findings"][2] == {
        "check": "train.sigterm",
        "verdict": "fail",
        "tried": "SIGTERM",
        "seen": "killed \x1b[31mafter\x00 120 s",
        "consequence": "work is lost",
        "remedy": "pass it on",
        "seconds": 121.0,
    }


def test_junit_parses_though_a_log_held_control_characters(report: ImageReport) -> None:
    suite = ET.fromstring(to_junit([report]))[0]  # noqa: S314  our own
    assert suite.attrib | {"tests": "4", "failures": "1", "skipped": "1", "name": "a/b:c"} == suite.attrib
    cases = {case.attrib["name"]: case for case in suite}
    failure = cases["train.sigterm"].find("failure")
    assert failure is not None
    assert "remedy: pass it on" in (failure.text or "")
    assert cases["train.resume"].find("skipped") is not None
    assert (cases["image.user"].findtext("system-out") or "").startswith("warn")


def test_a_progress_line_has_the_seconds() -> None:
    assert progress_line(FINDINGS[0]).split()[:4] == ["image.words", "PASS", "0.2", "s"]
