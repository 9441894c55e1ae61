"""What a profiler rule is: it judges what a profiler folder holds so far, as a whole, and says what it saw.

rule = build_rule("StepOutlier", {"stddev": "3"})
judgement = rule.judge(evidence)
judgement.findings, judgement.checks, judgement.account
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kennel.profile.readers import Event, Series
from kennel.profile.trace_files import STEP

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What is known of a training. timeline: kennel-timeline.json. is_over: it has ended. now: epoch seconds."""

    series: Sequence[Series] = ()
    events: Sequence[Event] = ()
    timeline: dict[str, Any] = field(default_factory=dict)
    is_over: bool = True
    now: float = 0.0

    def metric(self, kind: str, dimension: str = "", *, name: str = "") -> list[Series]:
        """The series of a kind and dimension (or, of those without one, a name), on all machines."""
        return [
            each
            for each in self.series
            if each.kind == kind and (each.name == name if name else each.dimension == dimension)
        ]

    @property
    def gpus(self) -> list[Series]:
        """GPUUtilization of every GPU."""
        return self.metric("gpu", "GPUUtilization")

    @property
    def cpus(self) -> list[Series]:
        """CPUUtilization of every core."""
        return self.metric("cpu", "CPUUtilization")

    def steps(self, mode: str) -> list[Event]:
        """mode: TRAIN or EVAL."""
        return [event for event in self.events if event.name == STEP + mode]


@dataclass(frozen=True)
class Finding:
    """One thing a rule found. subject: a GPU, a machine, or None."""

    measure: str
    value: float
    threshold: float
    message: str
    step: int | None = None
    mode: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class Check:
    """One of the checks that a rule consists of. outcome: "ok", "fired", "moot" or "no data"."""

    name: str
    outcome: str
    detail: str


@dataclass(frozen=True)
class Judgement:
    """What a rule says of the evidence.

    seen, needed: `unit`s (samples, steps...) looked at, and below how many nothing can be said. details: the Details of
    SageMaker's result file.
    """

    seen: int
    needed: int
    unit: str
    findings: Sequence[Finding] = ()
    checks: Sequence[Check] = ()
    datapoints: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    remark: str = ""

    @property
    def has_fired(self) -> bool:
        return bool(self.findings)

    @property
    def too_few(self) -> bool:
        """Whether too little was seen for "no issue" to mean anything."""
        return not self.findings and self.seen < self.needed

    @property
    def account(self) -> str:
        """How much was looked at, in a sentence."""
        if not self.seen and self.remark:
            return f"{self.remark}: nothing can be said"
        looked = f"looked at {self.seen} {self.unit if self.seen != 1 else self.unit.removesuffix('s')}"
        if self.too_few:
            looked += f", needs {self.needed}: nothing can be said"
        return f"{looked}; {self.remark}" if self.remark else looked


class Rule:
    """A rule with its parameters. It holds nothing of what it saw."""

    name: ClassVar[str]
    Parameters: ClassVar[type]
    meaning: ClassVar[str]
    remedy: ClassVar[str]
    is_about_gpus: ClassVar[bool] = False

    def __init__(self, parameters: Any) -> None:  # noqa: ANN401  the dataclass of the subclass
        self.parameters = parameters

    def judge(self, evidence: Evidence) -> Judgement:
        """What the evidence says."""
        raise NotImplementedError


def no_gpu(name: str, evidence: Evidence) -> Judgement:
    """What a rule on GPUs says where none was sampled; how busy the CPU was it says as well."""
    remark = "no GPU was sampled"
    if evidence.cpus:
        values = np.concatenate([each.values for each in evidence.cpus])
        remark += f" (the CPU cores were {np.median(values):.0f} % busy, median), and this rule is about GPUs"
    return Judgement(0, 1, "samples", checks=[Check(name, "no data", remark)], remark=remark)


def at(series: Series, times: Floats) -> Floats:
    """The series' values nearest to the times; of an empty series, zeros."""
    if not len(series.times):
        return np.zeros(len(times))
    right = np.clip(np.searchsorted(series.times, times), 0, len(series.times) - 1)
    left = np.clip(right - 1, 0, None)
    is_left = np.abs(series.times[left] - times) <= np.abs(series.times[right] - times)
    return series.values[np.where(is_left, left, right)]


def windows(count: int, *, patience: int, window: int) -> list[slice]:
    """Windows of samples that follow on each other, the first one ending where `patience` samples are there."""
    ends = range(max(patience, window), count + 1, window)
    return [slice(end - window, end) for end in ends]
