"""What one trial prints of its objective, and what it amounts to in the end."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kennel.local.log_file import LogReader
from kennel.local.metric_scan import MetricHistory
from kennel.local.tuning_trials import Trial
from kennel.local.validation import Json


class TrialWatch:
    """Reads a trial's log as it grows, for the metric that is the objective."""

    def __init__(self, log: Path, definitions: Sequence[Json], metric: str) -> None:
        self._log = log
        self._metric = metric
        self._reader = LogReader(log)
        self._history = MetricHistory(definitions, metric)

    @property
    def values(self) -> tuple[float, ...]:
        """Every value so far, in the order printed."""
        return tuple(self._history.values)

    def read(self) -> list[float]:
        """The values printed since the last call."""
        before = len(self._history.values)
        self._history.feed(self._reader.new_events())
        return self._history.values[before:]

    def ended(self, trial: Trial, job: Json) -> Trial:
        """The trial as it counts now that its training job has ended, whose description `job` is.

        The objective is the last value, also of a trial that was stopped; a failed one has none.
        """
        status = job["TrainingJobStatus"]
        trial = replace(
            trial,
            status=status,
            history=self.values,
            seconds=job.get("TrainingTimeInSeconds"),
            stopped_early=trial.stopped_early and status == "Stopped",
        )
        if status == "Failed":
            return replace(trial, objective_status="Failed", reason=job.get("FailureReason"))
        if not trial.history:
            return replace(trial, objective_status="Failed", reason=self._why_none(status))
        return replace(trial, objective_status="Succeeded", objective=trial.history[-1])

    def _why_none(self, status: str) -> str:
        if status == "Stopped" and not self._history.values:
            return f"The training job was stopped before it printed the objective metric '{self._metric}'"
        tried = " and ".join(f"'{regex}'" for regex in self._history.regexes)
        example = f", such as '{self._history.example}'" if self._history.example else ""
        return (
            f"ClientError: the objective metric '{self._metric}' was not found: its regex {tried} found no number in "
            f"the {self._history.lines} lines of {self._log}{example}. Print it, or correct the regex."
        )
