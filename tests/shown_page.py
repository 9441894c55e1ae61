"""A report's page opened in a real browser, and what the browser said and asked for meanwhile."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from needs import absent


@dataclass
class Shown:
    """A page that was opened, and what the browser said meanwhile."""

    page: Any
    content: dict[str, Any]
    said: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        absent("chromium", "no Chromium is on PATH")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


def open_page(browser: Any, folder: Path, **options: Any) -> Shown:  # noqa: ANN401  playwright's own classes
    """report.html of a folder, its charts drawn."""
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
    shown = Shown(page, json.loads((folder / "report.json").read_text()))
    page.on("console", lambda message: shown.said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: shown.said.append(str(error)))
    page.on("request", lambda request: shown.requested.append(request.url))
    page.goto((folder / "report.html").as_uri())
    page.wait_for_function("document.documentElement.dataset.charts")
    return shown


def contrast(first: str, second: str) -> float:
    """WCAG's contrast ratio of two rgb(...) colours."""

    def luminance(colour: str) -> float:
        parts = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def column(page: Any, table: str, number: int) -> list[str]:  # noqa: ANN401
    """The texts of a table's column, from 1, in the rows that are shown."""
    texts: list[str] = page.eval_on_selector_all(
        f"#{table} tbody tr:not([hidden]) td:nth-child({number})", "all => all.map(each => each.textContent.trim())"
    )
    return texts
