"""Rules that only describe: OverallSystemUsage and OverallFrameworkMetrics. They never fire."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kennel.profile.readers import Series
from kennel.profile.rules.base import Evidence, Judgement, Rule
from kennel.profile.rules.parameters import Common

_STATISTICS: Final = {"max": 100, "p99": 99, "p95": 95, "p50": 50, "min": 0}
# Metric and unit, as SageMaker's report names them: (kind, dimension, name) of the series.
_METRICS: Final = {
    "Network, received": ("bytes/s", ("network", "", "ReceiveBytesPerSecond")),
    "Network, sent": ("bytes/s", ("network", "", "TransmitBytesPerSecond")),
    "GPU": ("percentage", ("gpu", "GPUUtilization", "")),
    "CPU": ("percentage", ("cpu", "CPUUtilization", "")),
    "CPU memory": ("percentage", ("memory", "", "MemoryUsedPercent")),
    "GPU memory": ("percentage", ("gpu", "GPUMemoryUtilization", "")),
    "I/O wait": ("percentage", ("cpu", "I/OWaitPercentage", "")),
}


class OverallSystemUsage(Rule):
    """A table per machine: max, p99, p95, p50 and min of network, GPU, CPU, memories and I/O wait."""

    name = "OverallSystemUsage"
    meaning = "How much of the machine the training used."
    remedy = ""

    @dataclass(frozen=True)
    class Parameters(Common):
        pass

    def judge(self, evidence: Evidence) -> Judgement:
        seen = max((len(each.values) for each in evidence.series), default=0)
        nodes = sorted({each.node for each in evidence.series})
        details = {node: _table(evidence, node) for node in nodes}
        cpu = [f"{node}: CPU {table['CPU']['p50']:.0f} % (median)" for node, table in details.items() if "CPU" in table]
        return Judgement(seen, 1, "samples", datapoints=seen, details=details, remark="; ".join(cpu))


class OverallFrameworkMetrics(Rule):
    """Shares of the time: TRAIN steps, EVAL steps and the rest; forward and backward; the longest operators."""

    name = "OverallFrameworkMetrics"
    meaning = "What the training spent its time with."
    remedy = ""

    @dataclass(frozen=True)
    class Parameters(Common):
        pass

    def judge(self, evidence: Evidence) -> Judgement:
        timeline = evidence.timeline
        steps: dict[str, Any] = timeline.get("steps") or {}
        seconds = {mode: each["mean_ms"] * each["count"] / 1e3 for mode, each in steps.items()}
        if not steps and evidence.events:  # a training that is not ours, or has written no summary yet
            seconds = {mode: sum(step.seconds for step in evidence.steps(mode)) for mode in ("TRAIN", "EVAL")}
        seen = sum(int(each["count"]) for each in steps.values()) or len(evidence.events)
        phases: dict[str, float] = timeline.get("phases") or {}
        whole = _whole_s(evidence)
        shares = {mode: round(100 * value / whole, 2) for mode, value in seconds.items()} if whole else {}
        shares |= {"others": round(max(100 - sum(shares.values()), 0.0), 2)} if shares else {}
        both = phases.get("forward", 0.0) + phases.get("backward", 0.0)
        ratio = {name: round(100 * phases.get(name, 0.0) / both, 2) for name in ("forward", "backward")} if both else {}
        operators = [row for row in timeline.get("operators") or [] if isinstance(row, dict)]
        details = {
            "phase": shares,
            "ratio": ratio,
            "phases_s": phases,
            "CPU operators": _longest(operators, "self_cpu_ms"),
            "GPU operators": _longest(operators, "cuda_ms"),
        }
        remark = ", ".join(f"{mode} {share:.0f} %" for mode, share in shares.items())
        return Judgement(seen, 1, "steps", datapoints=seen, details=details, remark=remark)


def _table(evidence: Evidence, node: str) -> dict[str, dict[str, float | str]]:
    found: dict[str, dict[str, float | str]] = {}
    for metric, (unit, (kind, dimension, name)) in _METRICS.items():
        series = [each for each in evidence.metric(kind, dimension, name=name) if each.node == node]
        if series:
            found[metric] = {"unit": unit, **_described(series)}
    return found


def _described(series: list[Series]) -> dict[str, float]:
    values = np.percentile(np.concatenate([each.values for each in series]), list(_STATISTICS.values()))
    return {name: round(float(value), 3) for name, value in zip(_STATISTICS, values, strict=True)}


def _whole_s(evidence: Evidence) -> float:
    """From the start of the training to its end, or to the last of what is known."""
    timeline = evidence.timeline
    ends = [event.began + event.seconds for event in evidence.events]
    end = timeline.get("ended") or max(ends, default=0.0)
    start = timeline.get("started") or min((event.began for event in evidence.events), default=0.0)
    return max(float(end) - float(start), 0.0)


def _longest(operators: list[dict[str, Any]], key: str) -> dict[str, float]:
    totals: dict[str, float] = {}
    for row in operators:
        totals[row["name"]] = totals.get(row["name"], 0.0) + float(row.get(key) or 0.0)
    most = sorted(totals.items(), key=lambda item: -item[1])[:20]
    return {name: round(value, 4) for name, value in most if value > 0}
