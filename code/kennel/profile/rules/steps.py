"""Rules on steps: StepOutlier and MaxInitializationTime."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from kennel.errors import UserError
from kennel.profile.readers import Event
from kennel.profile.rules.base import Check, Evidence, Finding, Judgement, Rule
from kennel.profile.rules.parameters import Common, parameter

_MODES: Final = ("TRAIN", "EVAL")
_STEPS_NEEDED: Final = 101


class StepOutlier(Rule):
    """Per mode: more than `n_outliers` steps longer than mean + `stddev` standard deviations.

    Beyond AWS's definition: what they took over the mean must come to `min_seconds` in all, for a step of two
    milliseconds has such outliers on any machine that does something else as well. 0 is AWS's definition.
    """

    name = "StepOutlier"
    meaning = "Some steps take far longer than the others: something stalls the training now and then."
    remedy = "See in the timeline which phase is long in these steps: checkpoints, data, or the machine's other work."

    @dataclass(frozen=True)
    class Parameters(Common):
        stddev: float = parameter(5.0, is_open=True)  # 3 / 5
        mode: str | None = parameter(None)
        n_outliers: int = parameter(10)
        min_seconds: float = parameter(1.0)

        def __post_init__(self) -> None:
            if self.mode is not None and _mode(self.mode) not in _MODES:
                raise UserError(
                    f"StepOutlier: parameter mode has the value '{self.mode}'. Expected TRAIN, EVAL or None (both)."
                )

    def judge(self, evidence: Evidence) -> Judgement:
        modes = [_mode(self.parameters.mode)] if self.parameters.mode else list(_MODES)
        found = {mode: evidence.steps(mode) for mode in modes}
        findings, checks, details = [], [], {}
        for mode, steps in found.items():
            finding, check, summary = self._of_mode(mode, steps)
            findings += finding
            checks.append(check)
            details[mode] = summary
        seen = max(map(len, found.values()))
        return Judgement(
            seen, _STEPS_NEEDED, "steps", findings, checks, sum(map(len, found.values())), {"step_details": details}
        )

    def _of_mode(self, mode: str, steps: list[Event]) -> tuple[list[Finding], Check, dict[str, float]]:
        if len(steps) < _STEPS_NEEDED:
            return [], Check(mode, "no data", f"{len(steps)} steps, needs {_STEPS_NEEDED}"), {"steps": len(steps)}
        taken = np.array([step.seconds for step in steps])
        mean, limit = float(taken.mean()), float(taken.mean() + self.parameters.stddev * taken.std())
        outliers = [step for step in steps if step.seconds > limit]
        excess = sum(step.seconds - mean for step in outliers)
        summary = {"steps": len(steps), "mean_s": mean, "limit_s": limit, "outliers": len(outliers)}
        said = f"{len(outliers)} of {len(steps)} steps over {limit * 1e3:.0f} ms, {excess:.1f} s over the mean in all"
        if len(outliers) <= self.parameters.n_outliers or excess < self.parameters.min_seconds:
            return [], Check(mode, "ok", said), summary
        findings = [
            Finding("step, s", step.seconds, limit, _said(step, mode, mean), step=step.step, mode=mode)
            for step in sorted(outliers, key=lambda step: -step.seconds)
        ]
        return findings, Check(mode, "fired", said), summary


class MaxInitializationTime(Rule):
    """Minutes from the start of the training to its first step, without the features of a frozen backbone: work."""

    name = "MaxInitializationTime"
    meaning = "It takes long until the training begins."
    remedy = (
        "See what phase `start` waits for: downloads of data or weights, a large container, slow checks of the data."
    )

    @dataclass(frozen=True)
    class Parameters(Common):
        threshold: float = parameter(20.0, is_open=True)

    def judge(self, evidence: Evidence) -> Judgement:
        times = [float(each.times[0]) for each in evidence.series if len(each.times)]
        started = evidence.timeline.get("started") or min(times, default=None)
        steps = [event.began for event in evidence.events if event.mode == "TRAIN"]
        first = evidence.timeline.get("first_step") or min(steps, default=None)
        end = first if first or evidence.is_over else evidence.now
        if not started or not end:
            return Judgement(0, 1, "steps", checks=[Check(self.name, "no data", "no step has begun")])
        features = float((evidence.timeline.get("phases") or {}).get("features", 0.0))
        minutes = round(
            (end - started - features) / 60, 4 if first else 1
        )  # what is pending need not change every time
        said = f"the first step began after {minutes:.1f} minutes" if first else f"no step after {minutes:.1f} minutes"
        said += f", without {features / 60:.1f} for features" if features >= 3 else ""
        findings = []
        if minutes > self.parameters.threshold:
            findings.append(Finding("initialization, minutes", minutes, self.parameters.threshold, said, step=0))
        check = Check(self.name, "fired" if findings else "ok", said)
        details = {"step_details": {"start": started, "first_step": first, "minutes": round(minutes, 1)}}
        return Judgement(int(bool(first)), 1, "steps", findings, [check], 1, details, "" if findings else said)


def _mode(text: str) -> str:
    return text.removeprefix("ModeKeys.").upper()


def _said(step: Event, mode: str, mean: float) -> str:
    times = step.seconds / max(mean, 1e-9)
    return f"{mode} step {step.step} took {step.seconds * 1e3:.0f} ms, {times:.0f} times the mean"
