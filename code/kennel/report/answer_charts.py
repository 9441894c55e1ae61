"""The confusion matrix and the reliability curve."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt

from kennel.report.drawing import Chart, data, draw, zoom

_MANY: Final = 25  # classes: too many to write the images into the cells; grid lines help instead


def confusion_chart(answers: Mapping[str, Any]) -> list[Chart]:
    """Cells of the matrix that are not empty. Classes are named where there is room, which zooming makes."""
    if not answers:
        return []
    confusion = answers["confusion"]
    classes = confusion["classes"]
    images = [0] * len(classes)
    for row, _, count in confusion["cells"]:
        images[row] += count
    cells = [
        {
            "target": classes[row], "answer": classes[column], "images": count, "share": count / images[row],
            "x": column - 0.5, "x2": column + 0.5, "y": row - 0.5, "y2": row + 0.5,
            "kind": "right" if row == column else "wrong",
        }
        for row, column, count in confusion["cells"]
    ]  # fmt: skip
    ends, side = [-0.5, len(classes) - 0.5], max(280, min(1250, 26 + 15 * len(classes) if len(classes) < 60 else 1150))
    names = alt.param(name="names", value=[_short(name) for name in classes])
    axis: dict[str, Any] = {
        "tickMinStep": 1, "tickCount": len(classes), "labelExpr": "names[datum.value] || ''", "title": None,
        "grid": len(classes) >= _MANY, "labelFontSize": 11 if len(classes) < 60 else 8, "labelLimit": 130,
        "labelOverlap": "greedy",
        "domain": False, "ticks": False,
    }  # fmt: skip
    rects = (
        alt.Chart(data(cells))
        .mark_rect(clip=True, stroke="var(--paper)", strokeWidth=0.6)
        .encode(
            x=alt.X(
                "x:Q", scale=alt.Scale(domain=ends, nice=False), axis=alt.Axis(**axis, labelAngle=-90, orient="bottom")
            ),
            x2="x2:Q",
            y=alt.Y("y:Q", scale=alt.Scale(domain=ends, reverse=True, nice=False), axis=alt.Axis(**axis)),
            y2="y2:Q",
            color=alt.Color("kind:N", scale=alt.Scale(domain=["right", "wrong"], range=["var(--c1)", "var(--c2)"])),
            opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.2, 1]), legend=None),
            tooltip=[
                alt.Tooltip("target:N", title="is"),
                alt.Tooltip("answer:N", title="answered"),
                alt.Tooltip("images:Q"),
                alt.Tooltip("share:Q", format=".1%", title="of the class"),
            ],
        )
        .add_params(zoom("x", "y"))
    )
    counts = [] if len(classes) >= _MANY else [_counts(cells)]
    chart = (
        alt.layer(rects, *counts)
        .resolve_scale(color="independent")
        .add_params(names)
        .properties(width="container", height=side)
    )
    wrong = confusion["images"] - answers["right"]
    said = f"Confusion matrix: {len(classes)} classes, {confusion['images']} images, {wrong} of them off the diagonal."
    return [draw("confusion", "Rows are what a picture is, columns what was answered", said, chart)]


def _counts(cells: Sequence[Mapping[str, Any]]) -> Any:  # noqa: ANN401  a chart
    """The images of each cell, in its middle, in the colour that stands out from the cell's."""
    middles = [
        {
            "x": each["x"] + 0.5,
            "y": each["y"] + 0.5,
            "images": each["images"],
            "on": "full" if each["share"] > 0.55 else "pale",
        }
        for each in cells
    ]
    colour = alt.Color(
        "on:N", scale=alt.Scale(domain=["full", "pale"], range=["var(--paper)", "var(--ink)"]), legend=None
    )
    return alt.Chart(data(middles)).mark_text(clip=True).encode(x="x:Q", y="y:Q", text="images:Q", color=colour)


def _short(name: str) -> str:
    """`001.Affenpinscher` without its number."""
    number, dot, rest = name.partition(".")
    return rest if dot and number.isdigit() and rest else name


def reliability_charts(calibration: Mapping[str, Any]) -> list[Chart]:
    return [_reliability(split, found) for split, found in (calibration.get("splits") or {}).items()]


def _reliability(split: str, found: Mapping[str, Any]) -> Chart:
    axis = alt.Axis(format="%", tickCount=5)
    whole = alt.Scale(domain=[0, 1])
    diagonal = alt.Chart(data([{"x": 0, "y": 0}, {"x": 1, "y": 1}])).mark_line(
        strokeDash=[4, 3], color="var(--muted)", strokeWidth=1
    )
    ends = {"x": alt.X("x:Q", scale=whole), "y": alt.Y("y:Q", scale=whole)}
    tips = [
        alt.Tooltip("images:Q"),
        alt.Tooltip("confidence:Q", format=".1%"),
        alt.Tooltip("accuracy:Q", format=".1%"),
    ]
    bins = alt.Chart(data(found["bins"]))
    bars = bins.mark_bar(fillOpacity=0.25, color="var(--c1)", clip=True).encode(
        x=alt.X("from:Q", scale=whole, axis=axis, title="confidence"), x2="to:Q", y2=alt.datum(0),
        y=alt.Y("accuracy:Q", scale=whole, axis=axis, title="accuracy"), tooltip=tips,
    )  # fmt: skip
    points = bins.mark_point(color="var(--c2)", opacity=1).encode(
        x=alt.X("confidence:Q", scale=whole), y=alt.Y("accuracy:Q", scale=whole),
        size=alt.Size("images:Q", scale=alt.Scale(range=[15, 250], zero=True), legend=None), tooltip=tips,
    )  # fmt: skip
    chart = alt.layer(bars, diagonal.encode(**ends), points).properties(width="container", height=260)
    said = f"Reliability on the {split} images: calibration error {found['ece']:.4f} over {found['images']} images."
    return draw(f"reliability-{split}", f"{'Test' if split == 'test' else 'Validation'} images", said, chart)
