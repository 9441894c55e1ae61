"""All hyperparameters of a search together: an axis each, a line a training, coloured by its objective."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt

from kennel.report.drawing import Chart, data, draw
from kennel.report.search_effects import position
from kennel.report.search_record import SearchRange

Json = Mapping[str, Any]
_BANDS: Final = ("best fifth", "second", "third", "fourth", "worst fifth")
_COLOURS: Final = (
    "var(--c2)",
    "var(--c1)",
    "color-mix(in srgb, var(--c1) 60%, var(--paper))",
    "color-mix(in srgb, var(--c1) 38%, var(--paper))",
    "color-mix(in srgb, var(--c1) 22%, var(--paper))",
)
_LINES: Final = 300
_LOG_RATIO: Final = 5


def parallel_chart(content: Json) -> list[Chart]:
    """None for fewer than two hyperparameters or three results."""
    parameters = content["parameters"]
    found = [each for each in content["trials"] if each["objective"] is not None and None not in each["values"]]
    if len(parameters) < 2 or len(found) < 3:
        return []
    is_minimized = content["objective"]["type"] == "Minimize"
    ordered = sorted(found, key=lambda each: each["objective"], reverse=not is_minimized)
    lines = list(reversed(ordered[:_LINES]))  # the best is drawn last, over the others
    points = [
        point for rank, each in enumerate(lines) for point in _points(each, len(lines) - 1 - rank, len(lines), content)
    ]
    names = [each["name"] for each in parameters] + ["objective"]
    x = alt.X(
        "axis:O", sort=list(range(len(names))), title=None, axis=_names_axis(names), scale=alt.Scale(padding=0.25)
    )
    y = alt.Y("at:Q", axis=None, scale=alt.Scale(domain=[-0.04, 1.04]))
    shown = [band for band in _BANDS if any(point["band"] == band for point in points)]
    colours = [_COLOURS[_BANDS.index(band)] for band in shown]
    curves = (
        alt.Chart(data(points))
        .mark_line(strokeWidth=1.6)
        .encode(
            x=x,
            y=y,
            detail="order:O",
            color=alt.Color("band:N", scale=alt.Scale(domain=shown, range=colours), legend=alt.Legend()),
            tooltip=["name:N", alt.Tooltip("said:N", title="values")],
        )
    )
    best = alt.Chart(data([point for point in points if point["is_best"]])).mark_line(
        strokeWidth=3.5, color="var(--c2)"
    )
    rules = alt.Chart(data([{"axis": place, "from": 0, "to": 1} for place in range(len(names))])).mark_rule(
        color="var(--line)"
    )
    words = alt.Chart(data(_ticks(content))).encode(x=x, y=y, text="text:N")
    halo = words.mark_text(align="left", dx=5, fontSize=10, stroke="var(--paper)", strokeWidth=4, opacity=0.85)
    ends = words.mark_text(align="left", dx=5, fontSize=10, color="var(--ink)")
    chart = alt.layer(
        rules.encode(x=x, y=alt.Y("from:Q", axis=None), y2="to:Q"),
        curves,
        best.encode(x=x, y=y, detail="order:O"),
        halo,
        ends,
    ).properties(width="container", height=280)
    said = f"A line a training through {', '.join(names)}; {len(lines)} trainings, coloured by the objective."
    return [draw("search-parallel", "Coloured by the objective; the best is thick", said, chart)]


def _names_axis(names: Sequence[str]) -> alt.Axis:
    """The axes' names over them; numbers are their keys, since two may have one name."""
    spelled = ", ".join(f"'{_in_quotes(name)}'" for name in names)
    return alt.Axis(
        orient="top",
        labelAngle=0,
        labelLimit=100,
        domain=False,
        ticks=False,
        labelColor="var(--ink)",
        labelExpr=f"[{spelled}][datum.value]",
    )


def _in_quotes(name: str) -> str:
    """A name inside a Vega expression's quotes: nothing in it ends them."""
    return name.replace("\\", "\\\\").replace("'", "\\'").replace("\n", " ")


def _points(trial: Json, rank: int, trials: int, content: Json) -> list[dict[str, Any]]:
    """Where a training's line crosses each axis, 0 (below) to 1."""
    places = [position(_range(each), value) for each, value in zip(content["parameters"], trial["values"], strict=True)]
    band = _BANDS[min(len(_BANDS) - 1, rank * len(_BANDS) // trials)]
    places.append(_objective_position(content["results"], trial["objective"]))
    said = ", ".join(
        f"{each['name']}={value if isinstance(value, str) else f'{value:.4g}'}"
        for each, value in zip(content["parameters"], trial["values"], strict=True)
    )
    return [
        {
            "axis": axis,
            "at": at,
            "order": trials - rank,
            "band": band,
            "is_best": trial["is_best"],
            "name": trial["name"],
            "said": f"{said}: {trial['objective']:.4g}",
        }
        for axis, at in enumerate(places)
        if at is not None
    ]


def spans_magnitudes(least: float, most: float) -> bool:
    """Whether only a logarithmic axis tells the small objectives apart: one training that went astray is enough."""
    return least > 0 and most / least > _LOG_RATIO


def _objective_position(results: Json, value: float) -> float:
    least, most = results["least"], results["most"]
    if spans_magnitudes(least, most):
        least, most, value = math.log(least), math.log(most), math.log(value)
    return 0.5 if most == least else (value - least) / (most - least)


def _ticks(content: Json) -> list[dict[str, Any]]:
    """What the ends of each axis mean, or its values."""
    ticks = []
    for axis, parameter in enumerate(content["parameters"]):
        of = _range(parameter)
        values = parameter["values"] or [parameter["low"], parameter["high"]]
        for value in values:
            text = value if isinstance(value, str) else f"{value:.4g}"
            ticks.append({"axis": axis, "at": position(of, value), "text": text})
    axis, results = len(content["parameters"]), content["results"]
    ticks += [{"axis": axis, "at": at, "text": f"{results[key]:.4g}"} for at, key in ((0, "least"), (1, "most"))]
    return ticks


def _range(parameter: Json) -> SearchRange:
    """The range again, out of the report's own content."""
    return SearchRange(
        name=parameter["name"],
        kind=parameter["kind"],
        low=parameter["low"],
        high=parameter["high"],
        values=tuple(str(value) for value in parameter["values"]),
        scaling=parameter["scaling"],
    )
