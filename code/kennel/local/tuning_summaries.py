"""How the tuning operations show a trial: HyperParameterTrainingJobSummary."""

from collections.abc import Sequence
from typing import Final

from kennel.local.store import Store
from kennel.local.tuning_requests import Definition
from kennel.local.tuning_trials import Trial, best_of
from kennel.local.validation import Json

_FROM_THE_JOB: Final = (
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingStartTime",
    "TrainingEndTime",
    "TrainingJobStatus",
)


class Summaries:
    """Summaries of the trials of one tuning job. jobs: the training jobs' records, the parents' among them."""

    def __init__(self, jobs: Store, definitions: Sequence[Definition]) -> None:
        self._jobs = jobs
        self._definitions = {each.name: each for each in definitions}

    def of(self, trials: Sequence[Trial]) -> list[Json]:
        """One summary for each trial whose training job is still there."""
        return [summary for trial in trials if (summary := self._summary(trial)) is not None]

    def best(self, trials: Sequence[Trial]) -> Json | None:
        """Of the best trial, as BestTrainingJob and OverallBestTrainingJob are. All trials have one direction."""
        there = [trial for trial in trials if self._jobs.get(trial.name) is not None]
        best = best_of(there, minimize=next(iter(self._definitions.values())).plan.minimize)
        return None if best is None else self._summary(best)

    def _summary(self, trial: Trial) -> Json | None:
        record = self._jobs.get(trial.name)
        if record is None:
            return None
        job = record.description
        reason = trial.reason or job.get("FailureReason")
        return {
            **{member: job[member] for member in _FROM_THE_JOB if member in job},
            "TunedHyperParameters": trial.parameters,
            "ObjectiveStatus": trial.objective_status,
            **self._objective(trial),
            **({"FailureReason": reason} if reason else {}),
            **({"TrainingJobDefinitionName": trial.definition} if trial.definition else {}),
            **({"TuningJobName": job["TuningJobArn"].rpartition("/")[2]} if trial.is_parents else {}),
        }

    def _objective(self, trial: Trial) -> Json:
        definition = self._definitions.get(trial.definition)
        if trial.objective is None or definition is None:
            return {}
        kind = "Minimize" if definition.plan.minimize else "Maximize"
        value = {"Type": kind, "MetricName": definition.metric, "Value": trial.objective}
        return {"FinalHyperParameterTuningJobObjectiveMetric": value}
