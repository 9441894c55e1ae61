"""What every chart of a report shares: a Vega-Lite specification made by Altair, its words, its colours.

Colours are CSS variables of the page (the charts are drawn as SVG), so that dark, light and print are the page's
business. Each chart stands in its box: `width: container`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import altair as alt

PALETTE: Final = tuple(f"var(--c{number})" for number in range(1, 8))
OTHER: Final = "var(--faint)"
_CONFIG: Final[Mapping[str, Any]] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--grid)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
    },
    "legend": {"labelColor": "var(--ink)", "title": None, "orient": "top", "labelFontSize": 11, "symbolStrokeWidth": 2},
    "text": {"color": "var(--ink)", "fontSize": 11},
    "point": {"filled": True, "size": 30},
    "line": {"strokeWidth": 1.8},
}


@dataclass(frozen=True)
class Chart:
    """A chart and what is said of it. alt: what a reader who does not see it is told."""

    name: str
    caption: str
    alt: str
    spec: dict[str, Any]


def draw(name: str, caption: str, description: str, chart: Any) -> Chart:  # noqa: ANN401  Altair's many classes
    spec = chart.properties(description=description).to_dict()
    return Chart(name, caption, description, {**spec, "config": dict(_CONFIG)})


def data(values: Sequence[Mapping[str, Any]]) -> alt.Data:
    return alt.Data(values=[dict(each) for each in values])  # type: ignore[no-untyped-call]


def zoom(*encodings: Literal["x", "y"]) -> alt.Parameter:
    """Drag moves, Shift and wheel zoom: a wheel alone scrolls the page."""
    return alt.selection_interval(bind="scales", encodings=[*encodings], zoom="wheel![event.shiftKey]")


def number(value: Any) -> float | None:  # noqa: ANN401  a report's numbers may be texts such as "NaN"
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def colours(names: Sequence[str]) -> alt.Scale:
    """One colour a name; what comes after the seventh is grey."""
    colours = [PALETTE[place] if place < len(PALETTE) else OTHER for place in range(len(names))]
    return alt.Scale(domain=list(names), range=colours)
