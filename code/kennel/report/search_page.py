"""The report of a search as files: report.json, and one HTML page made from it that opens without a network.

write_search_report(read_search(Path("runs/dogs-1")), output=Path("runs/dogs-1/report.html"))
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kennel.report.page import render_page, write_page
from kennel.report.search_charts import search_charts
from kennel.report.search_content import build_search_content
from kennel.report.search_record import SearchRecord

_SECTIONS: Final = (
    ("next", "What to do"),
    ("objective", "The search"),
    ("parameters", "Hyperparameters"),
    ("parallel", "All together"),
    ("curves", "Curves"),
    ("trials", "Trainings"),
    ("about", "How it was made"),
)


def write_search_report(record: SearchRecord, *, output: Path) -> dict[str, Any]:
    """Writes the page, and report.json (its name, with .json) beside it; returns what the latter holds.

    Raises OSError.
    """
    content = build_search_content(record, output)
    write_page(output, content, render_search(content, json_name=output.with_suffix(".json").name))
    return content


def render_search(content: Mapping[str, Any], *, json_name: str = "report.json") -> str:
    """The page. json_name: of the file with its numbers, beside it."""
    charts = search_charts(content)
    shown = {
        "objective": content["best"] is not None,
        "parameters": bool(content["parameters"]),
        "parallel": "search-parallel" in charts,
        "curves": "search-curves" in charts,
        "trials": bool(content["trials"]),
    }
    sections = [section for section in _SECTIONS if shown.get(section[0], True)]
    return render_page("search.html", content, charts, sections=sections, json_name=json_name)
