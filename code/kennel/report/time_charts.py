"""Where the time went, and what the machine did meanwhile."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import altair as alt

from kennel.report.drawing import OTHER, PALETTE, Chart, colours, data, draw, zoom

# A phase has one colour in every chart; those of a job's beginning and end are greys.
_PHASES: Final = ("forward", "backward", "optimizer", "data_wait", "eval", "hook", "features")
_CORES: Final = 16
_BOX_LETTERS: Final = 150  # that fit on the whole width of a flame


def part_chart(parts: Sequence[Mapping[str, Any]]) -> list[Chart]:
    if not parts:
        return []
    names = [each["part"] for each in parts]
    chart = (
        alt.Chart(data([{**each, "order": place} for place, each in enumerate(parts)]))
        .mark_bar(height=20)
        .encode(
            x=alt.X("seconds:Q", title="seconds", axis=alt.Axis(grid=False, tickCount=8), scale=alt.Scale(nice=False)),
            color=alt.Color("part:N", scale=colours(names)),
            order=alt.Order("order:O"),
            tooltip=["part:N", alt.Tooltip("seconds:Q", format=",.2f"), alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(width="container", height=26)
    )
    said = ", ".join(f"{each['part'].lower()} {each['share']:.0%}" for each in parts)
    return [draw("job-parts", "The job", f"The job's time by part: {said}.", chart)]


def time_charts(time: Mapping[str, Any]) -> list[Chart]:
    if not time:
        return []
    names = [each["phase"] for each in time["phases"]]
    return [
        *_phase_chart(time["phases"], names),
        *_epoch_chart(time["epochs"], names),
        *_step_chart(time),
        *_flame(time),
    ]


def _phase_chart(phases: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Chart]:
    if not phases:
        return []
    base = alt.Chart(data(phases)).encode(
        y=alt.Y(
            "phase:N", sort=list(names), title=None, axis=alt.Axis(ticks=False, domain=False, labelColor="var(--ink)")
        ),
        x=alt.X("seconds:Q", title="seconds", axis=alt.Axis(tickCount=5)),
        tooltip=["phase:N", alt.Tooltip("seconds:Q", format=",.3f"), alt.Tooltip("share:Q", format=".1%")],
    )
    bars = base.mark_bar(height={"band": 0.7}).encode(
        color=alt.Color("phase:N", scale=_phase_colours(names), legend=None)
    )
    texts = base.mark_text(align="left", dx=4).encode(text=alt.Text("share:Q", format=".1%"))
    chart = alt.layer(bars, texts).properties(width="container", height=max(60, 21 * len(phases)))
    said = ", ".join(f"{each['phase']} {each['seconds']:.3g} s" for each in phases[:3])
    return [draw("time-phases", "By phase, the whole job", f"Seconds by phase; most of it: {said}.", chart)]


def _epoch_chart(epochs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Chart]:
    parts = [
        {
            "epoch": epoch["epoch"],
            "phase": phase,
            "seconds": seconds,
            "order": names.index(phase) if phase in names else 99,
        }
        for epoch in epochs
        for phase, seconds in (epoch.get("phases") or {}).items()
        if seconds
    ]
    if not parts:
        return []
    shown = [name for name in names if any(each["phase"] == name for each in parts)]
    scale = _phase_colours(names)
    chart = (
        alt.Chart(data(parts))
        .mark_bar()
        .encode(
            x=alt.X("epoch:O", axis=alt.Axis(labelAngle=0, labelOverlap=True), title="epoch"),
            y=alt.Y("seconds:Q", title="seconds"),
            color=alt.Color("phase:N", scale=scale, legend=alt.Legend(values=shown, columns=4)),
            order=alt.Order("order:Q"),
            tooltip=["epoch:O", "phase:N", alt.Tooltip("seconds:Q", format=",.3f")],
        )
        .properties(width="container", height=190)
    )
    said = f"Seconds of each of {len(epochs)} epochs, by phase."
    return [draw("time-epochs", "By epoch", said, chart)]


def _phase_colours(names: Iterable[str]) -> alt.Scale:
    others = sorted(set(names) - set(_PHASES))
    greys = ["var(--muted)", OTHER, "var(--line)"]
    colours_of_others = [greys[place % len(greys)] for place in range(len(others))]
    return alt.Scale(domain=[*_PHASES, *others], range=[*PALETTE, *colours_of_others])


def _step_chart(time: Mapping[str, Any]) -> list[Chart]:
    spans = time["spans"] or []
    if not spans:
        return []
    chart = (
        alt.Chart(data(spans))
        .mark_rect(stroke="var(--paper)", strokeWidth=0.5)
        .encode(
            x=alt.X("from_ms:Q", title="ms since the first of them began", scale=alt.Scale(nice=False)),
            x2="to_ms:Q",
            y=alt.Y("lane:N", title=None, sort=None, axis=alt.Axis(labelColor="var(--ink)", labelLimit=110)),
            color=alt.Color("lane:N", scale=_phase_colours({each["lane"] for each in spans}), legend=None),
            tooltip=[
                "name:N",
                "step:Q",
                alt.Tooltip("from_ms:Q", format=",.3f"),
                alt.Tooltip("duration_ms:Q", format=",.3f"),
            ],
        )
        .add_params(zoom("x"))
        .properties(width="container", height=max(60, 22 * len({each["lane"] for each in spans})))
    )
    steps = len({each["step"] for each in spans})
    return [draw("time-steps", "Step by step", f"What was done when, in {steps} consecutive training steps.", chart)]


def _flame(time: Mapping[str, Any]) -> list[Chart]:
    boxes = [
        {**box, "label": _fitting(box["name"], box["share"]), "ms": box["to_ms"] - box["from_ms"]}
        for box in time["flame"]
    ]
    if not boxes:
        return []
    base = alt.Chart(data(boxes)).encode(
        x=alt.X("from_ms:Q", title="ms", axis=alt.Axis(grid=False, tickCount=10), scale=alt.Scale(nice=False)),
        y=alt.Y("depth:O", axis=None),
        tooltip=["name:N", alt.Tooltip("ms:Q", format=",.3f"), alt.Tooltip("share:Q", format=".1%")],
    )
    rects = base.mark_rect(stroke="var(--paper)", strokeWidth=1, fillOpacity=0.55).encode(
        x2="to_ms:Q", color=alt.Color("depth:O", scale=alt.Scale(range=[*PALETTE]), legend=None)
    )
    texts = base.mark_text(align="left", dx=3, fontSize=10).encode(text="label:N").add_params(zoom("x"))
    depth = 1 + max(box["depth"] for box in boxes)
    chart = alt.layer(rects, texts).properties(width="container", height=20 * depth)
    widest = max((box for box in boxes if box["depth"] == depth - 1), key=lambda box: box["share"])
    said = f"Flame of operators, {depth} calls deep; widest of the innermost: {widest['name']}, {widest['share']:.0%}."
    return [draw("time-flame", "Flame of operators", said, chart)]


def _fitting(name: str, share: float) -> str:
    room = int(share * _BOX_LETTERS)
    return name if len(name) <= room else f"{name[: room - 1]}…" if room > 3 else ""


def system_charts(system: Mapping[str, Any]) -> list[Chart]:
    names = list(dict.fromkeys(each["name"] for each in system.get("metrics") or []))
    return [_system_chart(name, [each for each in system["metrics"] if each["name"] == name]) for name in names]


def _system_chart(name: str, metrics: Sequence[Mapping[str, Any]]) -> Chart:
    """All together in colour, cores and GPUs one by one in grey behind it."""
    nodes = list(dict.fromkeys(each["node"] for each in metrics))
    parts = [each for each in metrics if each["part"]][:_CORES]
    whole = [each for each in metrics if not each["part"]]
    legend = alt.Legend() if len(nodes) > 1 else None
    node = alt.Color("node:N", scale=colours(nodes), legend=legend)
    layers = [_lines(parts).mark_line(strokeWidth=0.8, opacity=0.6, color=OTHER)] if parts else []
    layers.append(_lines(whole).mark_line().encode(color=node).add_params(zoom("x")))
    chart = alt.layer(*layers).properties(width="container", height=120)
    said = "; ".join(f"{each['node']} p95 {each['p95']:.4g}, p50 {each['p50']:.4g}" for each in whole)
    return draw(f"system-{_slug(name)}", name, f"{name}, {metrics[0]['unit']}, over time: {said}.", chart)


def _lines(metrics: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """Curves of one unit, without their mark."""
    points = [
        {"s": at, "value": value, "node": each["node"], "part": each["part"] or "all"}
        for each in metrics
        for at, value in each["curve"]
    ]
    is_share = metrics[0]["unit"] == "percent"
    top = 100 if is_share else None if any(each["value"] for each in points) else 1
    scale = alt.Scale(domain=[0, top]) if top else alt.Scale(zero=True)
    return alt.Chart(data(points)).encode(
        x=alt.X("s:Q", title="seconds", axis=alt.Axis(grid=False), scale=alt.Scale(nice=False)),
        y=alt.Y(
            "value:Q",
            title=metrics[0]["unit"],
            axis=alt.Axis(format="~f" if is_share else "~s", tickCount=4),
            scale=scale,
        ),
        detail=["node:N", "part:N"],
        tooltip=["node:N", "part:N", alt.Tooltip("s:Q", format=".1f"), alt.Tooltip("value:Q", format=",.4~g")],
    )


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())
