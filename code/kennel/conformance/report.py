"""What was found, for a person (a table), for a program (JSON) and for a build server (JUnit XML)."""

import shutil
import textwrap
import xml.etree.ElementTree as ET  # noqa: S405  it writes XML here and reads none
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from kennel.conformance.findings import Finding, Verdict

_ORDER: Final = (Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.SKIP)
_SEEN_WIDTH: Final = 100
# XML 1.0 has no way to write these, and logs of foreign images hold them.
_NOT_IN_XML: Final = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF], "\ufffd")


@dataclass(frozen=True)
class ImageReport:
    """kinds: what it was checked as. digest: the image's id."""

    image: str
    digest: str
    kinds: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float

    def count(self, verdict: Verdict) -> int:
        return Counter(finding.verdict for finding in self.findings)[verdict]

    @property
    def is_passed(self) -> bool:
        return not self.count(Verdict.FAIL)

    def table(self) -> str:
        """One line a check; FAIL and WARN are followed by what SageMaker would do and what to change."""
        width = max([len(finding.check) for finding in self.findings] + [5])
        lines = [f"{'check':<{width}}  verdict  seen"]
        for finding in self.findings:
            lines += _rows(finding, width)
        return "\n".join(lines)

    def summary(self) -> str:
        counts = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in _ORDER if self.count(verdict))
        outcome = "conforms" if self.is_passed else "does not conform"
        kinds = "+".join(self.kinds)
        return f"{self.image} {outcome} ({kinds}): {counts or 'nothing was checked'} in {self.seconds:.0f} s"

    def to_json(self) -> dict[str, Any]:
        return {
            "image": self.image,
            "digest": self.digest,
            "kinds": list(self.kinds),
            "passed": self.is_passed,
            "counts": {str(verdict): self.count(verdict) for verdict in _ORDER},
            "seconds": round(self.seconds, 3),
            "findings": [{**asdict(finding), "seconds": round(finding.seconds, 3)} for finding in self.findings],
        }


def to_json(reports: Sequence[ImageReport]) -> dict[str, Any]:
    """The whole call: `passed`, and an entry an image."""
    return {"passed": all(each.is_passed for each in reports), "images": [each.to_json() for each in reports]}


def to_junit(reports: Sequence[ImageReport]) -> str:
    """JUnit XML, a test suite an image and a test case a check; warnings are passed cases with their text as output."""
    root = ET.Element("testsuites", name="kennel conformance")
    for report in reports:
        suite = ET.SubElement(
            root,
            "testsuite",
            name=report.image,
            tests=str(len(report.findings)),
            failures=str(report.count(Verdict.FAIL)),
            skipped=str(report.count(Verdict.SKIP)),
            errors="0",
            time=f"{report.seconds:.3f}",
        )
        for finding in report.findings:
            _add_case(suite, report.image, finding)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def progress_line(finding: Finding) -> str:
    """What is printed as a check ends: `train.sigterm  pass  3.2 s`."""
    return f"{finding.check:<28} {finding.verdict.upper():<5} {finding.seconds:6.1f} s  {_one_line(finding.seen, 70)}"


def _rows(finding: Finding, width: int) -> list[str]:
    columns = shutil.get_terminal_size((width + 11 + _SEEN_WIDTH, 24)).columns
    room = max(40, columns - width - 11)
    indent = " " * (width + 11)
    seen = textwrap.wrap(" ".join(finding.seen.split()), room) or [""]
    rows = [f"{finding.check:<{width}}  {finding.verdict.upper():<7}  {seen[0]}", *(indent + line for line in seen[1:])]
    if finding.verdict in (Verdict.FAIL, Verdict.WARN):
        for title, text in (
            ("tried", finding.tried),
            ("consequence", finding.consequence),
            ("remedy", finding.remedy),
        ):
            if text:
                rows += textwrap.wrap(
                    f"{title}: {' '.join(text.split())}",
                    room,
                    initial_indent=indent,
                    subsequent_indent=f"{indent}  ",
                )
    return rows


def _add_case(suite: ET.Element, image: str, finding: Finding) -> None:
    case = ET.SubElement(suite, "testcase", classname=image, name=finding.check, time=f"{finding.seconds:.3f}")
    text = "\n".join(
        f"{name}: {value}"
        for name, value in (
            ("tried", finding.tried),
            ("seen", finding.seen),
            ("consequence", finding.consequence),
            ("remedy", finding.remedy),
        )
        if value
    ).translate(_NOT_IN_XML)
    if finding.verdict is Verdict.FAIL:
        ET.SubElement(case, "failure", message=_one_line(finding.seen, 200).translate(_NOT_IN_XML)).text = text
    elif finding.verdict is Verdict.SKIP:
        ET.SubElement(case, "skipped", message=_one_line(finding.seen, 200).translate(_NOT_IN_XML))
    else:
        ET.SubElement(case, "system-out").text = f"{finding.verdict}\n{text}"


def _one_line(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 3] + "..."
