"""Training that waits for its pictures: how long, and for what.

Measured: see `share_waited`. Where a backbone is frozen its features lie in memory, and no step has a reason to wait.
"""

from typing import Any, Final

from kennel.report.advice import Advice
from kennel.report.verdict.case import Case
from kennel.report.verdict.diagnosis import FAULT, IMPROVEMENT, Diagnosis, percent

# Of the training loop's time. Below a few milliseconds a step it is not worth a word, whatever its share.
_MUCH: Final = 0.5
_SOME: Final = 0.2
_WAIT_MS: Final = 5.0
_BUSY_CPU: Final = 70.0
_OUTSIDE_LOOP: Final = ("start", "features", "results")
_WORTH_SECONDS: Final = 5.0
_ASLEEP: Final = "The data loader sleeps: training waits for its data"
_WAKE: Final = (
    "Look in the loader for a sleep, a lock, or files read over a network or from a slow disk; copy the pictures to "
    "this machine first."
)
_EXPLAINS: Final = ("Dataloader", "IOBottleneck", "CPUBottleneck", "LowGPUUtilization", "BatchSize", "StepOutlier")


def loop_phases(case: Case) -> dict[str, float]:
    """Seconds of each phase inside of epochs."""
    phases: dict[str, float] = {}
    for epoch in case.run.timeline.get("epochs") or []:
        for name, seconds in (epoch.get("phases") or {}).items():
            phases[name] = phases.get(name, 0.0) + float(seconds)
    if phases:
        return phases
    found = case.run.timeline.get("phases") or {}
    return {name: float(seconds) for name, seconds in found.items() if name not in _OUTSIDE_LOOP}


def share_waited(case: Case) -> tuple[float, float, float]:
    """Of the training loop: (share of its time that it waited for data, seconds, milliseconds a step)."""
    phases = loop_phases(case)
    whole, waited = sum(phases.values()), phases.get("data_wait", 0.0)
    steps = ((case.run.timeline.get("steps") or {}).get("TRAIN") or {}).get("count") or 0
    return (waited / whole if whole else 0.0), waited, 1000 * waited / steps if steps else 0.0


def median_cpu(case: Case) -> float | None:
    """Median use of all cores, percent; None where it was not sampled."""
    return metric(case, "CPU").get("p50")


def metric(case: Case, name: str) -> dict[str, Any]:
    """A metric of the whole machine, as kennel.report.machine gives it."""
    metrics = case.run.system.get("metrics") or []
    return next((each for each in metrics if each.get("name") == name and not each.get("part")), {})


def loader_sleeps(case: Case) -> Diagnosis | None:
    """More than half of the loop is spent waiting, and not for this machine's cores."""
    share, seconds, wait_ms = share_waited(case)
    if share < _MUCH or wait_ms < _WAIT_MS or _is_decoding(case):
        return None
    return _waiting(case, share, seconds, wait_ms, severity=FAULT)


def features_wait(case: Case) -> Diagnosis | None:
    """Before the first epoch: the frozen backbone waits for the pictures whose features it computes."""
    phases = {name: float(seconds) for name, seconds in (case.run.timeline.get("phases") or {}).items()}
    within = (case.run.timeline.get("within") or {}).get("features") or {}
    seconds, whole = float(within.get("data_wait") or 0.0), sum(phases.values())
    if seconds < _WORTH_SECONDS or seconds < _SOME * whole:
        return None
    cpu = median_cpu(case)
    is_asleep = cpu is not None and cpu <= _BUSY_CPU and seconds > _MUCH * phases["features"]
    evidence = [
        f"The features took {phases['features']:.1f} s, of which the network waited {seconds:.1f} s for pictures: "
        f"{percent(seconds / whole)} of the whole training."
    ]
    evidence += [f"The cores were busy to {cpu:.0f} % (median)."] if cpu is not None else []
    return Diagnosis(
        Advice(
            title=_ASLEEP if is_asleep else "Reading the pictures takes longer than looking at them",
            change=_WAKE if is_asleep else "Take a machine with more cores, or shrink the picture files once.",
            gain=f"Up to {seconds:.0f} s of this run. No accuracy.",
            evidence=evidence,
            severity=FAULT if is_asleep else IMPROVEMENT,
            source="data_wait",
        ),
        worth=seconds / whole,
        explains=_EXPLAINS,
    )


def data_is_slow(case: Case) -> Diagnosis | None:
    """A good part of the loop is spent waiting: more cores, smaller files or cached features would help."""
    share, seconds, wait_ms = share_waited(case)
    if share < _SOME or wait_ms < _WAIT_MS or loader_sleeps(case):
        return None
    return _waiting(case, share, seconds, wait_ms, severity=IMPROVEMENT)


def _is_decoding(case: Case) -> bool:
    """Whether the cores were busy with pictures. With features in memory there is nothing to decode."""
    cpu = median_cpu(case)
    return not case.run.facts.get("uses_features") and not _had_features(case) and cpu is not None and cpu > _BUSY_CPU


def _had_features(case: Case) -> bool:
    return bool((case.run.timeline.get("phases") or {}).get("features"))


def _waiting(case: Case, share: float, seconds: float, wait_ms: float, *, severity: str) -> Diagnosis:
    cpu, readers = median_cpu(case), case.run.timeline.get("readers")
    evidence = [f"{seconds:.1f} s of {seconds / share:.1f} s of the epochs went by waiting for data: {percent(share)}."]
    evidence.append(f"Every step waited {wait_ms:.0f} ms for its images (with {readers} readers).")
    if _had_features(case):
        evidence.append("The backbone is frozen, its features lie in memory: no picture is read in a step.")
    elif cpu is not None:
        evidence.append(f"The cores were busy to {cpu:.0f} % meanwhile (median).")
    if severity == FAULT:
        title, change = _ASLEEP, _WAKE
    else:
        title = "Training waits for pictures to be read"
        change = (
            "Take a machine with more cores, shrink the picture files once to about the size the network sees, "
            "or keep the backbone frozen (-p trainable=head), whose features are computed once."
        )
    return Diagnosis(
        Advice(
            title=title,
            change=change,
            gain=f"Epochs in {percent(1 - share)} of their time: {seconds:.1f} s of this run. No accuracy.",
            evidence=evidence,
            severity=severity,
            source="data_wait",
        ),
        worth=share,
        explains=_EXPLAINS,
    )
