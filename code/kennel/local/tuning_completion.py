"""When a search has found enough: TuningJobCompletionCriteria and MaxRuntimeInSeconds, and what Describe says of them.

What AWS leaves open: a tuning job that ends by MaxRuntimeInSeconds is Completed here as with every other criterion,
since AWS lists it among them; trials that still run are then stopped, and count by the last objective they printed.
"""

from collections.abc import Sequence

from kennel.local.store import now
from kennel.local.tuning_stopping import has_converged, has_reached, not_improving
from kennel.local.tuning_trials import Trial, objectives_of
from kennel.local.validation import Json


class Completion:
    """The criteria of one tuning job. config: HyperParameterTuningJobConfig."""

    def __init__(self, config: Json, *, minimize: bool) -> None:
        self._criteria: Json = config.get("TuningJobCompletionCriteria", {})
        self._most_s: int | None = config["ResourceLimits"].get("MaxRuntimeInSeconds")
        self._minimize = minimize
        self._converged_at: float | None = None

    def reached(self, trials: Sequence[Trial], *, runtime_s: float) -> str | None:
        """Which criterion is met, in words; None if the search goes on."""
        objectives = objectives_of(trials)
        target = self._criteria.get("TargetObjectiveMetricValue")
        if target is not None and has_reached(target, objectives, minimize=self._minimize):
            return f"a training job has reached TargetObjectiveMetricValue {target}"
        most = self._criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
        if most is not None and self._not_improving(objectives) >= most:
            return f"{most} training jobs did not improve the best objective by more than 1 %"
        wanted = self._criteria.get("ConvergenceDetected", {}).get("CompleteOnConvergence")
        if wanted == "Enabled" and has_converged(objectives, minimize=self._minimize):
            return "the search has converged"
        if self._most_s is not None and runtime_s > self._most_s:
            return f"MaxRuntimeInSeconds {self._most_s} has passed"
        return None

    def details(self, trials: Sequence[Trial]) -> Json:
        """TuningJobCompletionDetails."""
        objectives = objectives_of(trials)
        if self._converged_at is None and has_converged(objectives, minimize=self._minimize):
            self._converged_at = now()
        converged = {} if self._converged_at is None else {"ConvergenceDetectedTime": self._converged_at}
        return {"NumberOfTrainingJobsObjectiveNotImproving": self._not_improving(objectives), **converged}

    def _not_improving(self, objectives: Sequence[float]) -> int:
        return not_improving(objectives, minimize=self._minimize)
