"""Loss and accuracy by epoch, with the epoch that was kept and where the training should have stopped."""

from collections.abc import Mapping
from typing import Any, Final

import altair as alt

from kennel.report.drawing import Chart, colours, data, draw, number, zoom

# Between the largest and the smallest loss: above it, only a logarithmic axis shows both.
_LOG_RATIO: Final = 40


def learning_charts(learning: Mapping[str, Any]) -> list[Chart]:
    kinds = (("loss", "Loss", ".4g"), ("accuracy", "Accuracy", ".1%"))
    return [chart for kind, title, form in kinds for chart in _curves(learning, kind, title, form)]


def _curves(learning: Mapping[str, Any], kind: str, title: str, form: str) -> list[Chart]:
    names = {f"train_{kind}": "training", f"valid_{kind}": "validation"}
    points = [
        {"epoch": row["epoch"], "split": split, "value": value}
        for row in learning["epochs"]
        for key, split in names.items()
        if (value := number(row.get(key))) is not None
    ]
    if not points:
        return []
    values = [each["value"] for each in points]
    is_log = kind == "loss" and min(values) > 0 and max(values) / min(values) > _LOG_RATIO
    scale = alt.Scale(type="log") if is_log else alt.Scale(zero=False, nice=True)
    axis = alt.Axis(format="%" if kind == "accuracy" else "~f", tickCount=6)
    lines = (
        alt.Chart(data(points))
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "epoch:Q",
                axis=alt.Axis(tickMinStep=1, format="d", grid=False),
                title="epoch",
                scale=alt.Scale(nice=False, padding=10),
            ),
            y=alt.Y("value:Q", title=None, scale=scale, axis=axis),
            color=alt.Color(
                "split:N",
                scale=colours(["training", "validation"]),
                legend=alt.Legend(offset=30 if learning["kept_epoch"] else 8),
            ),
            tooltip=[alt.Tooltip("epoch:Q"), alt.Tooltip("split:N"), alt.Tooltip("value:Q", title=kind, format=form)],
        )
        .add_params(zoom("x"))
    )
    marks = _epoch_marks(learning)
    last = learning["epochs"][-1]
    said = ", ".join(
        f"{split} {last.get(key):.4g}" for key, split in names.items() if number(last.get(key)) is not None
    )
    return [
        draw(
            f"learning-{kind}",
            title,
            f"{title} by epoch, {len(learning['epochs'])} epochs; in the last: {said}.",
            alt.layer(lines, *marks).properties(width="container", height=230),
        )
    ]


def _epoch_marks(learning: Mapping[str, Any]) -> list[Any]:
    """Vertical lines: the epoch that was kept, and where it should have stopped."""
    kept, stop = learning["kept_epoch"], learning["stop_epoch"]
    marks = [{"epoch": kept, "what": "kept"}] if kept else []
    if stop and stop != kept:
        marks.append({"epoch": stop, "what": "could have stopped"})
    elif stop:
        marks[0]["what"] = "kept; could have stopped"
    if not marks:
        return []
    middle = (learning["epochs"][0]["epoch"] + learning["epochs"][-1]["epoch"]) / 2
    rule = (
        alt.Chart(data(marks)).mark_rule(strokeDash=[4, 3], color="var(--muted)").encode(x="epoch:Q", tooltip="what:N")
    )
    texts = []
    for place, mark in enumerate(marks):
        is_left = mark["epoch"] > middle
        texts.append(
            alt.Chart(data([mark]))
            .mark_text(
                align="right" if is_left else "left",
                dx=3 if is_left else -3,
                baseline="bottom",
                clip=False,
                color="var(--muted)",
            )
            .encode(x="epoch:Q", y=alt.value(-3 - 12 * place), text="what:N")
        )
    return [rule, *texts]
