"""The page of a search in a real browser: it draws, sorts, loads nothing, and shows report.json's numbers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kennel.report.page import look_up
from kennel.report.search_page import write_search_report
from kennel.report.search_record import read_search
from made_search import Json, made_trial, made_trials, make_search
from shown_page import Shown, chromium, column, contrast, open_page

pytestmark = pytest.mark.filterwarnings("ignore:.*(event loop|unclosed):ResourceWarning")  # playwright's own

# What each chart must hold: a CSS selector of its marks, and at least how many.
MARKS = {
    "search-objective": (".mark-symbol path", 20),  # 19 with an objective, a cross for the one without
    "search-parameter-0": (".mark-symbol path", 19),
    "search-parameter-1": (".mark-symbol path", 19),
    "search-parameter-2": (".mark-symbol path", 19),
    "search-parameter-3": (".mark-symbol path", 19),
    "search-parallel": (".mark-line path", 19),
    "search-curves": (".mark-line path", 19),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def written(runs: Path, trials: list[Json], **changes: Any) -> Path:  # noqa: ANN401
    folder = make_search(runs, trials, **changes)
    write_search_report(read_search(folder), output=folder / "report.html")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("searches"), made_trials(20))


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
def test_every_chart_is_drawn_in_colours_that_can_be_told(browser: Any, folder: Path, scheme: str) -> None:  # noqa: ANN401
    shown = open_page(browser, folder, color_scheme=scheme)
    try:
        names = shown.page.eval_on_selector_all("figure.chart > div", "all => all.map(each => each.id.slice(6))")
        assert set(names) == set(MARKS)
        for name, (marks, least) in MARKS.items():
            drawn = shown.page.locator(f"#chart-{name} svg {marks}").evaluate_all(
                "all => all.filter(each => { const box = each.getBBox(); return box.width + box.height > 0; }).length"
            )
            assert drawn >= least, f"{name}: {drawn} marks"
        paper = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
        for selector in ("body", "#trials td.n", "#chart-search-parallel svg text", "ol.verdict .status"):
            colour = shown.page.locator(selector).first.evaluate(
                "each => { const style = getComputedStyle(each);"
                " return each instanceof SVGElement ? style.fill : style.color; }"
            )
            assert contrast(colour, paper) >= 4.5, (selector, colour)
        lines = shown.page.locator("#chart-search-parallel svg .mark-line path").evaluate_all(
            "all => all.map(each => getComputedStyle(each).stroke)"
        )
        assert len(set(lines)) == 5  # a colour for each fifth, which the browser has mixed
        assert "none" not in lines
    finally:
        shown.page.close()


def test_every_number_shown_is_report_jsons(shown: Shown) -> None:
    found = shown.page.eval_on_selector_all(
        "data[data-at]", "all => all.map(each => [each.dataset.at, each.value, each.textContent])"
    )
    assert len(found) > 120
    for pointer, value, text in found:
        exact = look_up(shown.content, pointer)
        assert value == (exact if isinstance(exact, str) else json.dumps(exact)), pointer
        if isinstance(exact, str) or "min" in text:
            continue
        wanted = exact * 100 if "%" in text else exact
        number = float(re.sub(r"[,\s%s]", "", text))
        assert number == pytest.approx(wanted, rel=6e-4, abs=0.0501 if "%" in text else 1e-9), (pointer, text)
    loose = shown.page.eval_on_selector_all(
        "td.n, dl.figures dd",
        "all => all.filter(each => !each.querySelector('data') && /[0-9]/.test(each.textContent))"
        ".map(each => each.outerHTML)",
    )
    assert loose == []


def test_the_charts_draw_report_jsons_numbers(shown: Shown) -> None:
    specs = json.loads(shown.page.locator("#charts").text_content())
    points = specs["search-objective"]["layer"][1]["data"]["values"]
    trials = [each for each in shown.content["trials"] if each["objective"] is not None]
    assert [each["objective"] for each in points] == [each["objective"] for each in trials]
    over_lr = specs["search-parameter-0"]["layer"][0]
    assert [each["value"] for each in over_lr["data"]["values"]] == [each["values"][0] for each in trials]
    assert over_lr["encoding"]["x"]["scale"]["type"] == "log"


def test_a_search_with_every_kind_of_training_is_drawn(browser: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """Parents', running and lost trainings, one list of one value, a metric below 0."""
    trials = [made_trial(number, objective=-1.0 + number / 10) for number in range(1, 7)]
    trials[0]["is_parents"] = True
    trials += [made_trial(7, status="Failed"), made_trial(8, status="InProgress", objective_status="Pending")]
    shown = open_page(browser, written(tmp_path, trials, status="Stopped"))
    try:
        assert shown.said == []
        assert shown.page.evaluate("document.documentElement.dataset.charts") == "drawn"
        legend = shown.page.locator("#chart-search-objective svg .role-legend-label text").all_text_contents()
        assert legend == ["completed", "failed", "in progress", "a parent's"]
    finally:
        shown.page.close()


@pytest.mark.parametrize("count", [0, 1])
def test_a_search_of_nothing_or_next_to_it_has_its_page(browser: Any, tmp_path: Path, count: int) -> None:  # noqa: ANN401
    shown = open_page(browser, written(tmp_path, made_trials(count), status="Failed" if count == 0 else "Completed"))
    try:
        assert shown.said == []
        assert shown.page.locator("ol.verdict > li").count() == 1
        assert shown.page.locator("figure.chart").count() == (0 if count == 0 else 6)
    finally:
        shown.page.close()


def test_the_trainings_sort_and_are_searched(shown: Shown) -> None:
    page = shown.page
    heading = page.locator("#trial-table th", has_text="validation:loss")
    heading.locator("button").click()
    heading.locator("button").click()
    shown_losses = [float(text) for text in column(page, "trial-table", 3) if text != "–"]
    assert shown_losses == sorted(shown_losses)
    page.locator("input[data-table=trial-table]").fill("failed")
    assert column(page, "trial-table", 1) == ["3"]
    assert page.locator("#trial-count").text_content() == "1 of 20"


def test_a_training_leads_to_its_log(shown: Shown) -> None:
    link = shown.page.locator("#trial-table a").first
    link.click()
    assert "valid_loss=0.5" in shown.page.content()


def test_pointing_at_a_training_tells_its_values(shown: Shown) -> None:
    shown.page.locator("#chart-search-parameter-0 svg .mark-symbol path").first.hover(force=True)
    tooltip = shown.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "batch-size" in tooltip.text_content()


def test_a_telephone_shows_it_without_scrolling_sideways(browser: Any, folder: Path) -> None:  # noqa: ANN401
    shown = open_page(browser, folder, viewport={"width": 360, "height": 780})
    try:
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
    finally:
        shown.page.close()


def test_headings_go_down_one_level_at_a_time_and_print_is_light(browser: Any, folder: Path) -> None:  # noqa: ANN401
    shown = open_page(browser, folder, color_scheme="dark")
    try:
        levels = shown.page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(each => Number(each.tagName[1]))")
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
        shown.page.emulate_media(media="print")
        assert shown.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    finally:
        shown.page.close()
