"""A report as files: report.json, and one HTML page made from it that opens from a disk without a network.

    write_report(record, advice, output=Path("runs/look/report.html"))

Names and messages come from outside; the template escapes all of them.
"""

import datetime
import functools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
import vl_convert
from markupsafe import Markup

from kennel.report.advice import Advice
from kennel.report.charts import make_charts
from kennel.report.content import build_content
from kennel.report.drawing import Chart
from kennel.report.pictures import Key, Thumbnails, make_thumbnails
from kennel.report.record import RunRecord

_TEMPLATES: Final = Path(__file__).parent / "templates"
_SECTIONS: Final = (
    ("verdict", "What to change"),
    ("learning", "Learning"),
    ("rules", "Rules"),
    ("time", "Time"),
    ("system", "System usage"),
    ("confusion", "Confusion"),
    ("errors", "Worst errors"),
    ("calibration", "Calibration"),
    ("classes", "Classes"),
    ("about", "How it was made"),
)
_KINDS: Final = {"epoch": "whole", "train_accuracy": "percent", "valid_accuracy": "percent", "valid_top5": "percent"}
_SPLITS: Final = {"test": "test", "valid": "validation"}


def write_report(
    record: RunRecord, advice: Sequence[Advice], *, output: Path, data: Path | None = None
) -> dict[str, Any]:
    """Writes the page, and report.json (its name, with .json) beside it; returns what the latter holds.

    output: the page. data: where the pictures lie, if they are not where the training found them. Raises OSError.
    """
    content = build_content(record, advice)
    roots = [data] if data else []
    thumbnails = make_thumbnails(shown_pictures(content), roots, record.channels)
    write_page(output, content, render(content, thumbnails, json_name=output.with_suffix(".json").name))
    return content


def write_page(output: Path, content: Mapping[str, Any], page: str) -> None:
    """The page, and its content as JSON beside it. Raises OSError."""
    output.parent.mkdir(parents=True, exist_ok=True)
    _replace(output.with_suffix(".json"), json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))
    _replace(output, page)


def shown_pictures(content: Mapping[str, Any]) -> Iterator[Key]:
    """The pictures that the page shows, the most telling first."""
    answers = content["answers"] or {"worst": [], "pairs": [], "least_sure": []}
    pairs = [picture for pair in answers["pairs"] for picture in (*pair["taken"], *pair["like"])]
    for picture in (*answers["worst"], *pairs, *answers["least_sure"]):
        yield picture["split"], picture["path"]


def render(content: Mapping[str, Any], thumbnails: Thumbnails, *, json_name: str = "report.json") -> str:
    """The page. json_name: of the file with its numbers, beside it."""
    sections = list(_SECTIONS)
    if content["failure"] or content["log_end"]:
        sections.insert(0, ("failure", "How it ended"))
    return render_page(
        "report.html", content, make_charts(content), sections=sections, json_name=json_name, thumbnails=thumbnails
    )


def render_page(
    template: str,
    content: Mapping[str, Any],
    charts: Mapping[str, Chart],
    **more: Any,  # noqa: ANN401  as jinja2 takes it
) -> str:
    """A template's page of a content, with its charts and all that draws them; `more` is the template's own."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.globals["n"] = functools.partial(show_number, content)
    environment.filters.update(_FILTERS)
    environment.tests.update({"loud": _is_loud, "all_loud": lambda rules: all(map(_is_loud, rules))})
    return environment.get_template(template).render(
        r=content,
        charts=charts,
        specs=_script_json({name: chart.spec for name, chart in charts.items()}),
        style=Markup((_TEMPLATES / "style.css").read_text()),  # noqa: S704  a file of ours
        script=Markup((_TEMPLATES / "page.js").read_text()),  # noqa: S704  a file of ours
        vega=_vega(),
        **more,
    )


def show_number(content: Any, pointer: str, kind: str) -> Markup:  # noqa: ANN401  any JSON
    """The number at a JSON pointer, with its exact value in the page: <data value="0.79" data-at="/...">79.0 %</data>.

    A member that is not there is a dash.
    """
    value = look_up(content, pointer)
    if value is None:
        return Markup('<span class="muted">–</span>')
    text = value if isinstance(value, str) else _FORMATS[kind](value)
    exact = value if isinstance(value, str) else json.dumps(value)
    return Markup('<data value="{}" data-at="{}">{}</data>').format(exact, pointer, text)


def look_up(content: Any, pointer: str) -> Any:  # noqa: ANN401  any JSON
    """What stands at a JSON pointer (RFC 6901, without its escapes); None for a member that is not there."""
    for step in pointer.split("/")[1:]:
        content = content[int(step)] if isinstance(content, list) else content.get(step)
    return content


def _duration(seconds: float) -> str:
    """`16 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _general(value: float) -> str:
    """Four significant digits, thousands parted, without an exponent where people would not write one."""
    if value and (abs(value) < 1e-4 or abs(value) >= 1e9):
        return f"{value:.3e}"
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return digits


_FORMATS: Final = {
    "percent": lambda value: f"{value * 100:.1f}\u00a0%",
    "number": _general,
    "whole": lambda value: f"{value:,.0f}",
    "seconds": lambda value: f"{value:,.2f}" if value >= 0.1 else f"{value:.3g}",
    "duration": _duration,
}


def _moment(seconds: Any) -> str | None:  # noqa: ANN401  a number, or nothing
    if not isinstance(seconds, int | float):
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _rule_status(rule: Mapping[str, Any]) -> str:
    status = str(rule.get("RuleEvaluationStatus"))
    if status == "NoIssuesFound" and rule["checks"] and all(each["outcome"] == "moot" for each in rule["checks"]):
        return "moot"
    if status == "NoIssuesFound" and rule["too_few"]:
        return "saw too little" if rule["steps_seen"] else "nothing to look at"
    return {"IssuesFound": "issues found", "NoIssuesFound": "no issues", "InProgress": "in progress"}.get(
        status, status
    )


def _is_loud(rule: Mapping[str, Any]) -> bool:
    return rule["RuleEvaluationStatus"] in ("IssuesFound", "Error")


def _rule_class(rule: Mapping[str, Any]) -> str:
    shown = {
        "issues found": "is-fault",
        "Error": "is-fault",
        "no issues": "is-good",
        "saw too little": "is-improvement",
    }
    return shown.get(_rule_status(rule), "is-idle")


def _status_class(status: str) -> str:
    return {"Completed": "is-good", "Failed": "is-fault", "Stopped": "is-improvement"}.get(status, "is-idle")


def _why_missing(thumbnails: Thumbnails) -> str:
    """One sentence with the remedy, and an example."""
    (split, path), reason = next(iter(thumbnails.missing.items()))
    not_found = sum(why == "not found" for why in thumbnails.missing.values())
    if not_found:
        return f"{not_found} were not found, such as {split}/{path}. Name their folder: kennel report ... --data DIR"
    return f"{split}/{path}: {reason}"


_FILTERS: Final = {
    "moment": _moment,
    "columns": _columns,
    "kind": lambda column: _KINDS.get(column, "number"),
    "rule_status": _rule_status,
    "rule_class": _rule_class,
    "status_class": _status_class,
    "split_name": lambda split: _SPLITS.get(split, split),
    "bare": lambda name: re.sub(r"^\d+\.(?=.)", "", str(name)),
    "first_line": lambda text: (str(text).splitlines() or [""])[0],
    "why_missing": _why_missing,
}


def _script_json(value: Any) -> Markup:  # noqa: ANN401  any JSON
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704  nothing in it is HTML any more


@functools.cache
def _vega() -> Markup:
    """Vega, Vega-Lite and Vega-Embed in one script, from vl-convert's own copy."""
    bundle = str(vl_convert.javascript_bundle())  # type: ignore[call-arg]  # its stub wants a snippet
    if "</script" in bundle.lower():
        bundle = re.sub("</(script)", r"<\\/\1", bundle, flags=re.IGNORECASE)
    return Markup(bundle)  # noqa: S704  a package of ours


def _replace(path: Path, text: str) -> None:
    """The whole file or the one before it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
