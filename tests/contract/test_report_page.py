"""The report's page in a real browser: it draws, sorts, searches, loads nothing, and shows report.json's numbers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kennel.report.advice import Advice
from kennel.report.page import look_up, write_report
from kennel.report.record import read_run
from made_run import make_run
from shown_page import Shown, chromium, column, contrast, open_page

pytestmark = pytest.mark.filterwarnings("ignore:.*(event loop|unclosed):ResourceWarning")  # playwright's own

# What each chart must hold: a CSS selector of its marks, and at least how many.
MARKS = {
    "learning-loss": (".mark-symbol path", 10),
    "learning-accuracy": (".mark-line path", 2),
    "job-parts": (".mark-rect path", 3),
    "time-phases": (".mark-rect path", 6),
    "time-epochs": (".mark-rect path", 25),
    "time-steps": (".mark-rect path", 32),
    "time-flame": (".mark-rect path", 4),
    "system-cpu": (".mark-line path", 3),
    "system-i-o-wait": (".mark-line path", 3),
    "system-memory": (".mark-line path", 1),
    "system-i-o-operations": (".mark-line path", 1),
    "system-disk-read": (".mark-line path", 1),
    "system-network-in": (".mark-line path", 1),
    "confusion": (".mark-rect path", 6),
    "reliability-test": (".mark-symbol path", 4),
    "reliability-valid": (".mark-symbol path", 4),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("report")
    run = make_run(base / "run", pictures=base / "pictures")
    path = "/a/very/long/path/without/a/space" * 5
    advice = [Advice("Stop sooner", f"Use {path}", "less time", [f"as {path} says"], "improvement", "Overfit")]
    write_report(read_run(run), advice, output=run / "report.html")
    return run


@pytest.fixture
def shown(browser: Any, folder: Path) -> Iterator[Shown]:  # noqa: ANN401
    opened = open_page(browser, folder)
    yield opened
    opened.page.close()


def test_nothing_is_said_and_nothing_is_loaded(shown: Shown) -> None:
    assert shown.said == []
    assert [url for url in shown.requested if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in shown.requested if url.startswith("file:")]) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_drawn(browser: Any, folder: Path, scheme: str) -> None:  # noqa: ANN401
    shown = open_page(browser, folder, color_scheme=scheme)
    try:
        names = shown.page.eval_on_selector_all("figure.chart > div", "all => all.map(each => each.id.slice(6))")
        assert set(names) == set(MARKS)
        assert shown.page.evaluate("document.documentElement.dataset.charts") == "drawn"
        for name, (marks, least) in MARKS.items():
            drawn = shown.page.locator(f"#chart-{name} svg {marks}").evaluate_all(
                "all => all.filter(each => { const box = each.getBBox(); return box.width + box.height > 0; }).length"
            )
            assert drawn >= least, f"{name}: {drawn} marks"
    finally:
        shown.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(browser: Any, folder: Path, scheme: str) -> None:  # noqa: ANN401
    shown = open_page(browser, folder, color_scheme=scheme)
    try:
        for selector in (
            "body",
            ".lead",
            "#learning h2",
            "td.n",
            "#chart-learning-loss svg text",
            "ol.verdict .status",
        ):
            colours = shown.page.locator(selector).first.evaluate(
                "each => { const style = getComputedStyle(each);"
                " return [each instanceof SVGElement ? style.fill : style.color,"
                " getComputedStyle(document.body).backgroundColor]; }"
            )
            assert contrast(*colours) >= 4.5, (selector, colours)
    finally:
        shown.page.close()


def test_every_number_shown_is_report_jsons(shown: Shown) -> None:
    found = shown.page.eval_on_selector_all(
        "data[data-at]", "all => all.map(each => [each.dataset.at, each.value, each.textContent])"
    )
    assert len(found) > 200
    for pointer, value, text in found:
        exact = look_up(shown.content, pointer)
        assert value == (exact if isinstance(exact, str) else json.dumps(exact)), pointer
        if isinstance(exact, str) or "min" in text:
            continue
        number = float(re.sub(r"[,\s%s]", "", text))
        wanted = exact * 100 if "%" in text else exact
        assert number == pytest.approx(wanted, rel=6e-4, abs=0.0501 if "%" in text else 0.0051), (pointer, text)


def test_no_number_is_shown_that_report_json_does_not_have(shown: Shown) -> None:
    """Cells of numbers hold nothing but what is marked as report.json's."""
    loose = shown.page.eval_on_selector_all(
        "td.n, dl.figures dd",
        "all => all.filter(each => !each.querySelector('data') && /[0-9]/.test(each.textContent))"
        ".map(each => each.outerHTML)",
    )
    assert loose == []


def test_the_charts_draw_report_jsons_numbers(shown: Shown) -> None:
    specs = json.loads(shown.page.locator("#charts").text_content())
    loss = specs["learning-loss"]["layer"][0]["data"]["values"]
    epochs = shown.content["learning"]["epochs"]
    assert [each["value"] for each in loss if each["split"] == "validation"] == [row["valid_loss"] for row in epochs]
    cells = specs["confusion"]["layer"][0]["data"]["values"]
    assert sum(each["images"] for each in cells) == shown.content["answers"]["images"]
    bins = specs["reliability-test"]["layer"][0]["data"]["values"]
    assert bins == shown.content["calibration"]["splits"]["test"]["bins"]


def test_tables_sort_by_clicks(shown: Shown) -> None:
    page = shown.page
    heading = page.locator("#class-table th", has_text="Accuracy")
    heading.locator("button").click()
    falling = [float(text.split()[0]) for text in column(page, "class-table", 4)]
    assert falling == sorted(falling, reverse=True)
    assert falling != sorted(falling)
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").click()
    assert [float(text.split()[0]) for text in column(page, "class-table", 4)] == sorted(falling)
    page.locator("#class-table th button").first.click()
    assert column(page, "class-table", 1) == ["Blue_whale", "Green_finch", "Grey_wolf", "Red_setter"]
    assert heading.get_attribute("aria-sort") is None


def test_tables_sort_by_the_keyboard(shown: Shown) -> None:
    button = shown.page.locator("#epochs th button", has_text="train loss")
    button.focus()
    shown.page.keyboard.press("Enter")
    shown.page.keyboard.press("Space")
    losses = [float(text) for text in column(shown.page, "epochs", 3)]
    assert losses == sorted(losses)


def test_tables_are_searched(shown: Shown) -> None:
    field = shown.page.locator("input[data-table=class-table]")
    field.fill("gr")
    assert sorted(column(shown.page, "class-table", 1)) == ["Green_finch", "Grey_wolf"]
    assert shown.page.locator("#class-count").text_content() == "2 of 4"
    field.fill("")
    assert len(column(shown.page, "class-table", 1)) == 4


def test_pointing_at_a_mark_tells_its_numbers(shown: Shown) -> None:
    shown.page.locator("#chart-job-parts svg .mark-rect path").first.hover()
    tooltip = shown.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "Initialisation" in tooltip.text_content()


def test_a_confusion_matrix_is_zoomed(shown: Shown) -> None:
    chart = shown.page.locator("#chart-confusion svg")
    chart.scroll_into_view_if_needed()
    width = "all => Math.max(...all.map(each => each.getBBox().width))"
    before = chart.locator(".mark-rect path").evaluate_all(width)
    box = chart.bounding_box()
    shown.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown.page.keyboard.down("Shift")
    shown.page.mouse.wheel(0, -300)
    shown.page.keyboard.up("Shift")
    shown.page.wait_for_timeout(200)
    assert chart.locator(".mark-rect path").evaluate_all(width) > before * 1.2


def test_headings_go_down_one_level_at_a_time(shown: Shown) -> None:
    levels = shown.page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(each => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_a_telephone_shows_it_without_scrolling_sideways(browser: Any, folder: Path) -> None:  # noqa: ANN401
    shown = open_page(browser, folder, viewport={"width": 360, "height": 780})
    try:
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
    finally:
        shown.page.close()


def test_print_opens_what_is_folded_and_is_light(browser: Any, folder: Path, tmp_path: Path) -> None:  # noqa: ANN401
    shown = open_page(browser, folder, color_scheme="dark")
    try:
        shown.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert shown.page.eval_on_selector_all("details:not(.minor)", "all => all.every(each => each.open)")
        assert not shown.page.locator("details.minor").evaluate("each => each.open")  # what found nothing
        shown.page.emulate_media(media="print")
        assert shown.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        ink = shown.page.locator("#learning p").first.evaluate("each => getComputedStyle(each).color")
        assert contrast(ink, "rgb(255, 255, 255)") >= 7
        shown.page.pdf(path=tmp_path / "report.pdf")
        assert (tmp_path / "report.pdf").stat().st_size > 50_000
    finally:
        shown.page.close()
