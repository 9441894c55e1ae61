"""Rules on what GPUs wait for: CPUBottleneck and IOBottleneck.

A moment counts where some GPU is little used while some core is busy, or waits for a disk. The first `patience`
samples, in which a training starts up, are left out. Defaults are the guide's (source / guide in the comments).
"""

from dataclasses import dataclass

import numpy as np

from kennel.profile.readers import Series
from kennel.profile.rules.base import Evidence, Finding, Floats, Judgement, Rule, at, no_gpu
from kennel.profile.rules.parameters import Common, parameter


class CPUBottleneck(Rule):
    """Share of moments in which some GPU is little used and some core is busy."""

    name = "CPUBottleneck"
    is_about_gpus = True
    meaning = "GPUs wait while CPU cores are at their limit: reading and decoding pictures is what takes the time."
    remedy = "Take a machine with more cores per GPU, or store the pictures smaller than now."

    @dataclass(frozen=True)
    class Parameters(Common):
        threshold: float = parameter(50.0, high=100)
        gpu_threshold: float = parameter(10.0, high=100)
        cpu_threshold: float = parameter(90.0, high=100)
        patience: int = parameter(100, is_open=True)  # 1000 / 100

    def judge(self, evidence: Evidence) -> Judgement:
        gpus, parameters = evidence.gpus, self.parameters
        if not gpus:
            return no_gpu(self.name, evidence)
        times = gpus[0].times[parameters.patience :]
        is_idle, is_busy = _any_below(gpus, times, parameters.gpu_threshold), np.zeros(len(times), dtype=bool)
        for core in evidence.cpus:
            is_busy |= at(core, times) > parameters.cpu_threshold
        what = f"a GPU below {parameters.gpu_threshold:g} % and a core above {parameters.cpu_threshold:g} %"
        return _judged(self, len(gpus[0].times), is_idle & is_busy, what=what, idle=int(is_idle.sum()))


class IOBottleneck(Rule):
    """Share of moments in which some GPU is little used and some core waits for a disk.

    Without a GPU, the cores stand in its place: moments in which they are little used on average, and some core waits.
    """

    name = "IOBottleneck"
    meaning = "The training waits for disks."
    remedy = "Put the data on a faster disk, or in the machine's memory; use File mode rather than a network mount."

    @dataclass(frozen=True)
    class Parameters(Common):
        threshold: float = parameter(50.0, high=100)
        gpu_threshold: float = parameter(70.0, high=100)  # 10 / 70
        io_threshold: float = parameter(50.0, high=100)
        patience: int = parameter(100, is_open=True)  # 1000 / 100

    def judge(self, evidence: Evidence) -> Judgement:
        parameters, waits = self.parameters, evidence.metric("cpu", "I/OWaitPercentage")
        base = evidence.gpus or evidence.cpus
        if not base or not waits:
            return no_gpu(self.name, evidence)
        times = base[0].times[parameters.patience :]
        if evidence.gpus:
            is_idle, who = _any_below(evidence.gpus, times, parameters.gpu_threshold), "a GPU"
        else:
            is_idle = np.mean([at(core, times) for core in base], axis=0) < parameters.gpu_threshold
            who = "all cores together"
        is_waiting = np.zeros(len(times), dtype=bool)
        for core in waits:
            is_waiting |= at(core, times) > parameters.io_threshold
        what = f"{who} below {parameters.gpu_threshold:g} % and a core waiting over {parameters.io_threshold:g} %"
        return _judged(self, len(base[0].times), is_idle & is_waiting, what=what, idle=int(is_idle.sum()))


def _any_below(series: list[Series], times: Floats, threshold: float) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    found = np.zeros(len(times), dtype=bool)
    for each in series:
        found |= at(each, times) < threshold
    return found


def _judged(
    rule: CPUBottleneck | IOBottleneck,
    samples: int,
    is_found: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
    *,
    what: str,
    idle: int,
) -> Judgement:
    """Fires where the share of moments is above the threshold."""
    parameters, moments = rule.parameters, int(is_found.sum())
    share = 100 * moments / max(len(is_found), 1)
    findings = []
    if len(is_found) and share > parameters.threshold:
        message = f"{share:.0f} % of {len(is_found)} moments had {what}"
        findings.append(Finding("share of moments, %", share, parameters.threshold, message))
    details = {"bottlenecks": moments, "low_use": idle, "share": round(share, 3)}
    remark = f"{share:.1f} % of them had {what}" if len(is_found) else ""
    return Judgement(
        samples, parameters.patience + 1, "samples", findings, datapoints=samples, details=details, remark=remark
    )
