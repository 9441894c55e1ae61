"""What torch's profiler saw of a few steps, as a table of operators, a flame, and events for the trace files.

Operators on the thread of the phases belong to the phase around them. Of other threads, autograd's belong to
`backward` (where there is a GPU, it has a thread of its own), and all else to `readers`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

# What the phases are called among the operators.
PHASE: Final = "kennel."
_AUTOGRAD: Final = "autograd::"
_MOST_ROWS: Final = 100
_MOST_DEPTH: Final = 12
# A node of the flame is left out below this share of the whole.
_LEAST_SHARE: Final = 0.003
_MOST_EVENTS: Final = 6000


@dataclass(frozen=True)
class Unit:
    """The mean of `units` profiled steps (or batches of features); see kennel.profile.summary."""

    units: int
    operators: list[dict[str, Any]]
    flame: dict[str, Any]


def describe_unit(events: Sequence[Any], *, kind: str, units: int, wall_us: float) -> Unit:
    """Table and flame. events: torch's FunctionEvents. kind: TRAIN or features. wall_us: of all units together."""
    on_cpu = [event for event in events if _is_on_cpu(event)]
    phases = {event.thread for event in on_cpu if event.name.startswith(PHASE)}
    rows: dict[tuple[str, str], list[float]] = {}
    for event in on_cpu:
        if not event.name.startswith(PHASE):
            phase = "features" if kind == "features" else _phase_of(event, phases)
            row = rows.setdefault((event.name, phase), [0, 0, 0, 0, 0])
            times = (event.cpu_time_total, event.device_time_total, event.self_cpu_time_total)
            for index, value in enumerate((1, *times, event.self_device_time_total)):
                row[index] += value
    flame = _flame([event for event in on_cpu if event.cpu_parent is None], phases, units)
    name = "step" if kind == "TRAIN" else "batch of features"
    total = {"name": name, "value_ms": round(wall_us / units / 1e3, 3), "children": flame}
    return Unit(units, _table(rows, units), _pruned(total, wall_us / units / 1e3 * _LEAST_SHARE))


def trace_events(events: Iterable[Any], *, anchor_us: float) -> list[dict[str, Any]]:
    """The longest operators and kernels as events for TraceWriter, a row for the CPU and one for each GPU.

    anchor_us: since the epoch, when the first phase began.
    """
    known = [event for event in events if event.time_range.end > event.time_range.start]
    starts = [event.time_range.start for event in known if event.name.startswith(PHASE)]
    first = min(starts or [event.time_range.start for event in known], default=0.0)
    known = [event for event in known if not event.name.startswith(PHASE)]
    known.sort(key=lambda event: event.time_range.start - event.time_range.end)
    return [
        {
            "row": "cpu_functions" if _is_on_cpu(event) else f"gpu_functions-dev:{event.device_index}",
            "name": event.name,
            "tid": event.thread,
            "ts": round(anchor_us + event.time_range.start - first),
            "dur": round(event.time_range.end - event.time_range.start),
            "args": {},
        }
        for event in known[:_MOST_EVENTS]
    ]


def _is_on_cpu(event: Any) -> bool:  # noqa: ANN401  torch's FunctionEvent has no types
    return str(event.device_type) == "DeviceType.CPU" and not event.is_async


def _phase_of(event: Any, phases: set[int]) -> str:  # noqa: ANN401  as above
    """The innermost phase around an operator."""
    root = event
    while root is not None:
        if root.name.startswith(PHASE):
            return str(root.name.removeprefix(PHASE))
        last, root = root, root.cpu_parent
    return _apart(last, phases)


def _apart(root: Any, phases: set[int]) -> str:  # noqa: ANN401  as above
    """What an operator outside of all phases belongs to."""
    if root.name.startswith(_AUTOGRAD):
        return "backward"
    return "other" if root.thread in phases else "readers"


def _table(rows: dict[tuple[str, str], list[float]], units: int) -> list[dict[str, Any]]:
    """The operators that took most themselves."""
    most = sorted(rows.items(), key=lambda item: -(item[1][3] + item[1][4]))[:_MOST_ROWS]
    return [
        {
            "name": name,
            "phase": phase,
            "calls": round(calls / units, 1),
            "cpu_ms": round(cpu / units / 1e3, 4),
            "cuda_ms": round(cuda / units / 1e3, 4),
            "self_cpu_ms": round(self_cpu / units / 1e3, 4),
        }
        for (name, phase), (calls, cpu, cuda, self_cpu, _) in most
    ]


def _flame(roots: Iterable[Any], phases: set[int], units: int) -> list[dict[str, Any]]:
    """Nodes by phase. Operators outside of all phases hang below the phase they belong to."""
    groups: dict[str, list[Any]] = {}
    tops: list[Any] = []
    for root in roots:
        if root.name.startswith(PHASE):
            tops.append(root)
        else:
            groups.setdefault(_apart(root, phases), []).append(root)
    nodes = {node["name"]: node for node in _merged(tops, units, 1)}
    for phase, operators in groups.items():
        children = _merged(operators, units, 2)
        node = nodes.setdefault(phase, {"name": phase, "value_ms": 0.0, "children": []})
        node["children"] += children
        node["value_ms"] = max(node["value_ms"], sum(child["value_ms"] for child in node["children"]))
    return list(nodes.values())


def _merged(events: Iterable[Any], units: int, depth: int) -> list[dict[str, Any]]:
    """Events side by side under one name are one node."""
    groups: dict[str, list[Any]] = {}
    for event in events:
        groups.setdefault(event.name.removeprefix(PHASE), []).append(event)
    return [
        {
            "name": name,
            "value_ms": sum(event.time_range.end - event.time_range.start for event in group) / units / 1e3,
            "children": []
            if depth >= _MOST_DEPTH
            else _merged((child for event in group for child in event.cpu_children), units, depth + 1),
        }
        for name, group in groups.items()
    ]


def _pruned(node: dict[str, Any], least_ms: float) -> dict[str, Any]:
    """Without nodes too small to be seen, the largest first."""
    children = [_pruned(child, least_ms) for child in node["children"] if child["value_ms"] >= least_ms]
    children.sort(key=lambda child: -child["value_ms"])
    return {"name": node["name"], "value_ms": round(node["value_ms"], 4), "children": children}
