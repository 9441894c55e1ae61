"""Dataloader: are as many readers at work as there are cores, and how much of the time do steps wait for their data.

The second is Kennel's own, and what tells most: it needs no GPU. The share of waiting that is accepted is higher where
there is no GPU and the cores are busy all along, since decoding then competes with the network for the same cores, and
some waiting is what remains of that; a loader that sleeps or waits for a disk leaves them idle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kennel.profile.readers import Event
from kennel.profile.rules.base import Check, Evidence, Finding, Judgement, Rule
from kennel.profile.rules.parameters import Common, parameter

_STEPS_NEEDED: Final = 10
# Shorter waits say nothing of what the cores did meanwhile.
_SEEN_BY_SAMPLES_S: Final = 0.05
_BUSY: Final = 85.0
_BUSY_FACTOR: Final = 2
# Readers may be few where steps wait less than this, %.
_NO_MATTER: Final = 5.0
_WORKER: Final = "DataLoaderWorker"


class Dataloader(Rule):
    """Readers between `min_threshold` and `max_threshold` % of the cores; waits below `max_wait_share` % of the time.

    min_seconds: what waits must come to in all to matter. Few readers matter where steps wait for data at all.
    """

    name = "Dataloader"
    meaning = "The network waits for its pictures."
    remedy = (
        "If the cores are idle meanwhile, the data loader itself waits: for a slow disk or network, a sleep, a lock. "
        "If they are busy, decode less: store the pictures smaller, train the head only (its features are computed "
        "once), or take more cores."
    )

    @dataclass(frozen=True)
    class Parameters(Common):
        min_threshold: float = parameter(70.0, is_open=True)
        max_threshold: float = parameter(200.0, is_open=True)
        max_wait_share: float = parameter(30.0, high=100)
        min_seconds: float = parameter(1.0)

    def judge(self, evidence: Evidence) -> Judgement:
        steps = int((evidence.timeline.get("steps") or {}).get("TRAIN", {}).get("count", 0))
        waits = _waits(evidence)
        parts = [self._waiting(evidence, wait) for wait in waits]
        is_waiting = any(wait.share > _NO_MATTER and wait.seconds >= self.parameters.min_seconds for wait in waits)
        parts.append(self._readers(evidence, is_waiting=is_waiting or not waits))
        findings = [finding for finding, _ in parts if finding]
        details = {wait.where: {"share": round(wait.share, 3), "seconds": round(wait.seconds, 3)} for wait in waits}
        seen = max([steps, *(wait.batches for wait in waits)], default=0)
        return Judgement(seen, _STEPS_NEEDED, "steps", findings, [check for _, check in parts], seen, details)

    def _waiting(self, evidence: Evidence, wait: "_Wait") -> tuple[Finding | None, Check]:
        name = f"waiting for data in {wait.where}"
        limit = self.parameters.max_wait_share
        busy = _cpu_use(evidence, wait.events)
        if busy is not None and busy > _BUSY and not evidence.gpus:
            limit = min(limit * _BUSY_FACTOR, 100.0)
        said = f"{wait.share:.1f} % of the time ({wait.seconds:.1f} s of {wait.of_seconds:.1f} s) waited for data"
        if busy is not None:
            said += f"; the cores were {busy:.0f} % busy meanwhile"
        if wait.batches < _STEPS_NEEDED and not evidence.is_over:
            return None, Check(name, "no data", f"{said}; {wait.batches} batches so far")
        if wait.share <= limit or wait.seconds < self.parameters.min_seconds:
            return None, Check(name, "ok", said)
        mode = "TRAIN" if wait.where == "training" else None
        finding = Finding("waiting for data, % of the time", wait.share, limit, f"{wait.where}: {said}", mode=mode)
        return finding, Check(name, "fired", said)

    def _readers(self, evidence: Evidence, *, is_waiting: bool) -> tuple[Finding | None, Check]:
        """AWS's own check."""
        cores = _cores(evidence)
        readers = _median_workers(evidence.events) or evidence.timeline.get("readers") or 0
        if not cores or not readers:
            return None, Check("readers", "no data", "the number of readers or of cores is not known")
        share = 100 * float(readers) / cores
        low, high = self.parameters.min_threshold, self.parameters.max_threshold
        said = f"{readers:g} readers on {cores} cores: {share:.0f} %"
        if share > high:
            message = f"{said}, over {high:g} %"
            return Finding("readers, % of the cores", share, high, message), Check("readers", "fired", said)
        if share < low and is_waiting:
            message = f"{said}, below {low:g} %"
            return Finding("readers, % of the cores", share, low, message), Check("readers", "fired", said)
        return None, Check("readers", "ok", said)


@dataclass(frozen=True)
class _Wait:
    """where: `training` or `features`. share: of `of_seconds`, %. batches: that were waited for."""

    where: str
    seconds: float
    of_seconds: float
    batches: int
    events: Sequence[Event]

    @property
    def share(self) -> float:
        return 100 * self.seconds / self.of_seconds if self.of_seconds else 0.0


def _waits(evidence: Evidence) -> list[_Wait]:
    """Of the steps, and of the features of a frozen backbone, as far as there were any."""
    timeline = evidence.timeline
    phases: dict[str, float] = timeline.get("phases") or {}
    steps = (timeline.get("steps") or {}).get("TRAIN") or {}
    spans = [(event.began, event.began + event.seconds) for event in evidence.events if event.name == "features"]
    waits = [event for event in evidence.events if event.name == "data_wait"]
    of_features = [event for event in waits if any(first <= event.began <= last for first, last in spans)]
    found = []
    if steps.get("count"):
        seconds = steps["mean_ms"] * steps["count"] / 1e3
        # Waits that ended in no step (the last of an epoch) belong to the time of steps as well.
        waited = min(phases.get("data_wait", 0.0), seconds)
        apart = {id(event) for event in of_features}
        others = [event for event in waits if id(event) not in apart]
        found.append(_Wait("training", waited, seconds, int(steps["count"]), others))
    inside: dict[str, Any] = (timeline.get("within") or {}).get("features") or {}
    if "data_wait" in inside:
        batches = max(len(of_features) - 1, 0) or _STEPS_NEEDED  # the last wait was for the end
        found.append(_Wait("features", inside["data_wait"], phases.get("features", 0.0), batches, of_features))
    return found


def _cpu_use(evidence: Evidence, waits: Sequence[Event]) -> float | None:
    """How busy all cores were while the training waited, %; None where no sample tells."""
    spans = [(event.began, event.began + event.seconds) for event in waits if event.seconds >= _SEEN_BY_SAMPLES_S]
    if not spans or not evidence.cpus:
        return None
    firsts, lasts = (np.array(each) for each in zip(*sorted(spans), strict=True))
    found = []
    for core in evidence.cpus:
        index = np.searchsorted(firsts, core.times, side="right") - 1
        is_inside = (index >= 0) & (core.times <= lasts[np.clip(index, 0, None)])
        found.append(core.values[is_inside])
    values = np.concatenate(found)
    return float(values.mean()) if len(values) else None


def _cores(evidence: Evidence) -> int:
    """Of the machine that has most."""
    nodes = [core.node for core in evidence.cpus]
    return max((nodes.count(node) for node in set(nodes)), default=0)


def _median_workers(events: Sequence[Event]) -> float:
    """Of traces that have DataLoader's workers: how many run side by side, the median over their beginnings."""
    workers = [event for event in events if event.name == _WORKER]
    if not workers:
        return 0.0
    first = np.array([event.began for event in workers])
    last = first + np.array([event.seconds for event in workers])
    return float(np.median([((first <= moment) & (last > moment)).sum() for moment in first]))
