"""The charts of a search: the objective over its trainings, each hyperparameter, all of them together, the curves."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt

from kennel.report.drawing import OTHER, Chart, data, draw, number, zoom
from kennel.report.search_parallel import parallel_chart, spans_magnitudes

Json = Mapping[str, Any]
OUTCOMES: Final = {
    "completed": "var(--c1)",
    "stopped early": "var(--c4)",
    "stopped": "var(--muted)",
    "failed": "var(--fault)",
    "no objective": "var(--fault)",
    "in progress": "var(--faint)",
    "interrupted": "var(--faint)",
    "a parent's": "var(--c3)",
}
_EVERY_TICK: Final = 15  # whole numbers that are all written on an axis
BEST: Final = "var(--c2)"


def search_charts(content: Json) -> dict[str, Chart]:
    """Every chart that the content has something for, by name."""
    if content["best"] is None:
        return {}
    parameters = [
        chart
        for place, parameter in enumerate(content["parameters"])
        for chart in parameter_chart(content, parameter, place)
    ]
    made = [objective_chart(content), *parameters, *parallel_chart(content), *curve_chart(content)]
    return {chart.name: chart for chart in made}


def objective_chart(content: Json) -> Chart:
    """A point a training in the order they were started, and the best so far as a line."""
    rows = [_row(each, place) for place, each in enumerate(content["trials"])]
    found = [row for row in rows if row["objective"] is not None]
    x = alt.X(
        "place:Q",
        title="training",
        axis=_counted([row["place"] for row in rows]),
        scale=alt.Scale(nice=False, padding=12),
    )
    scale = _scale([row["objective"] for row in found])
    y = _objective_axis(scale)
    steps = [
        {"place": row["place"], "best": each["best_so_far"]} for row, each in zip(rows, content["trials"], strict=True)
    ]
    line = (
        alt.Chart(data([step for step in steps if step["best"] is not None]))
        .mark_line(interpolate="step-after", color=BEST)
        .encode(x=x, y=alt.Y("best:Q", title=None, scale=scale))
    )
    points = (
        alt.Chart(data(found)).mark_point(size=45).encode(x=x, y=y, color=_colour(rows), tooltip=_tooltips(content))
    )
    layers = [line, points.add_params(zoom("x")), *_failures(rows, x, content), *_best_ring(rows, x, y)]
    chart = alt.layer(*layers).properties(width="container", height=250)
    name = content["objective"]["name"]
    best = content["best"]
    return draw(
        "search-objective",
        f"{name} of each training; the line is the best so far",
        f"{name} of {len(found)} trainings; best {best['objective']:.4g} in training {best['place'] + 1}.",
        chart,
    )


def parameter_chart(content: Json, parameter: Json, place: int) -> list[Chart]:
    """The objective over the values of one hyperparameter."""
    rows = [
        {**_row(each, at), "value": each["values"][place]}
        for at, each in enumerate(content["trials"])
        if each["objective"] is not None and each["values"][place] is not None
    ]
    if not rows:
        return []
    x, y = _value_axis(parameter), _objective_axis(_scale([row["objective"] for row in rows]))
    points = (
        alt.Chart(data(rows))
        .mark_point(size=40)
        .encode(x=x, y=y, color=_colour(rows, has_legend=False), tooltip=_tooltips(content))
    )
    chart = alt.layer(points, *_best_ring(rows, x, y)).properties(width="container", height=170)
    said = f"{content['objective']['name']} over {parameter['name']}, {len(rows)} trainings."
    return [draw(f"search-parameter-{place}", _caption(parameter), f"{said} {parameter['effect']['sentence']}", chart)]


def curve_chart(content: Json) -> list[Chart]:
    """The values of the objective in each training's log, as they came."""
    trials = content["trials"]
    rows = [
        {"at": at, "value": value, "trial": trials[place]["name"], "outcome": _of_curve(trials[place])}
        for place in content["curves"]
        for at, value in enumerate(trials[place]["history"], start=1)
        if number(value) is not None
    ]
    if not rows:
        return []
    shown = [each for each in ("best", "stopped early", "others") if any(row["outcome"] == each for row in rows)]
    colours = {"best": BEST, "stopped early": OUTCOMES["stopped early"], "others": OTHER}
    chart = (
        alt.Chart(data(rows))
        .mark_line(point={"size": 12}, strokeWidth=1.4)
        .encode(
            x=alt.X(
                "at:Q",
                title="value in the log",
                axis=_counted([row["at"] for row in rows]),
                scale=alt.Scale(nice=False, padding=8),
            ),
            y=alt.Y("value:Q", title=None, scale=_scale([row["value"] for row in rows]), axis=alt.Axis(format="~g")),
            detail="trial:N",
            color=alt.Color("outcome:N", scale=alt.Scale(domain=shown, range=[colours[each] for each in shown])),
            tooltip=["trial:N", alt.Tooltip("at:Q", title="value"), alt.Tooltip("value:Q", format=".4~g")],
        )
        .add_params(zoom("x"))
        .properties(width="container", height=250)
    )
    name = content["objective"]["name"]
    said = f"{name} as it came in the logs of {len(content['curves'])} trainings."
    return [draw("search-curves", f"{name} in the logs", said, chart)]


def _row(trial: Json, place: int) -> dict[str, Any]:
    return {
        "place": place + 1,
        "name": trial["name"],
        "objective": trial["objective"],
        "outcome": "a parent's" if trial["is_parents"] else trial["outcome"],
        "is_best": trial["is_best"],
        "reason": trial["reason"] or "",
        **{f"value_{at}": value for at, value in enumerate(trial["values"])},
    }


def _tooltips(content: Json) -> list[Any]:
    values = [alt.Tooltip(f"value_{place}:N", title=each["name"]) for place, each in enumerate(content["parameters"])]
    objective = alt.Tooltip("objective:Q", title=content["objective"]["name"], format=".5~g")
    return [alt.Tooltip("name:N", title="training"), objective, *values, alt.Tooltip("outcome:N")]


def _colour(rows: Sequence[Json], *, has_legend: bool = True) -> alt.Color:
    shown = [each for each in OUTCOMES if any(row["outcome"] == each for row in rows)]
    scale = alt.Scale(domain=shown, range=[OUTCOMES[each] for each in shown])
    return alt.Color("outcome:N", scale=scale, legend=alt.Legend() if has_legend and len(shown) > 1 else None)


def _best_ring(rows: Sequence[Json], x: alt.X, y: alt.Y) -> list[Any]:
    """A ring around the best."""
    best = [row for row in rows if row["is_best"]]
    ring = alt.Chart(data(best)).mark_point(filled=False, size=150, color=BEST, strokeWidth=2).encode(x=x, y=y)
    return [ring] if best else []


def _failures(rows: Sequence[Json], x: alt.X, content: Json) -> list[Any]:
    """Crosses at the top of the chart: what has no objective stands nowhere on its axis."""
    lost = [row for row in rows if row["objective"] is None and row["outcome"] != "in progress"]
    if not lost:
        return []
    tooltips = [each for each in _tooltips(content) if each.to_dict().get("field") != "objective"]
    marks = alt.Chart(data(lost)).mark_point(shape="cross", angle=45, size=60, color="var(--fault)")
    return [marks.encode(x=x, y=alt.value(6), tooltip=[*tooltips, alt.Tooltip("reason:N")])]


def _counted(numbers: Sequence[int]) -> alt.Axis:
    """An axis of whole numbers. Vega would write those of a short one twice, for its ticks between them."""
    last = max(numbers, default=1)
    ticks = {"values": list(range(1, last + 1))} if last <= _EVERY_TICK else {"tickMinStep": 1}
    return alt.Axis(format="d", grid=False, **ticks)


def _objective_axis(scale: alt.Scale) -> alt.Y:
    return alt.Y("objective:Q", title=None, scale=scale, axis=alt.Axis(format="~g", tickCount=6))


def _scale(values: Sequence[float]) -> alt.Scale:
    if spans_magnitudes(min(values), max(values)):
        return alt.Scale(type="log", nice=False, padding=8)
    return alt.Scale(zero=False, nice=True, padding=8)


def _value_axis(parameter: Json) -> alt.X:
    """The range that was searched, on the scale it was searched on."""
    if parameter["kind"] == "categorical":
        return alt.X(
            "value:O",
            sort=parameter["values"],
            title=None,
            axis=alt.Axis(labelAngle=0, labelLimit=90),
            scale=alt.Scale(domain=parameter["values"]),
        )
    ends = [parameter["low"], parameter["high"]]
    if parameter["is_log"]:
        scale = alt.Scale(type="log", domain=ends, nice=False, padding=8)
    else:
        scale = alt.Scale(domain=ends, nice=False, zero=False, padding=8)
    return alt.X("value:Q", title=None, scale=scale, axis=alt.Axis(format="~g", tickCount=5, labelOverlap=True))


def _caption(parameter: Json) -> str:
    return f"{parameter['name']}{', logarithmic' if parameter['is_log'] else ''}"


def _of_curve(trial: Json) -> str:
    return "best" if trial["is_best"] else "stopped early" if trial["outcome"] == "stopped early" else "others"
