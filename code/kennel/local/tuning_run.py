"""One tuning job's life, in a thread of its own: trials begin, are watched, and end, until the search has found enough.

A service that was killed is followed by one that goes on where it was: trials that had ended are kept, and those that
were interrupted are tried again under new names.
"""

import math
import shutil
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kennel.local.faults import ApiError
from kennel.local.machine import Machine
from kennel.local.nursery import Nursery
from kennel.local.storage import STORAGE_ERRORS
from kennel.local.store import Store, now
from kennel.local.training_jobs import TrainingJobs
from kennel.local.tuning_completion import Completion
from kennel.local.tuning_inputs import TuningInputs
from kennel.local.tuning_progress import Progress
from kennel.local.tuning_requests import trial_request
from kennel.local.tuning_summaries import Summaries
from kennel.local.tuning_trials import ENDED, Trial, objective_counters, status_counters
from kennel.local.validation import Json

_POLL_S: Final = 0.2
# The histories grow with every epoch of every trial; alone they are not written more often.
_HISTORIES_EVERY_S: Final = 1.0
_REASON: Final = 1024


@dataclass(frozen=True)
class SearchEnd:
    """How a search ends. message: what its running trials are told when they are stopped. reason: FailureReason."""

    status: str
    message: str
    reason: str | None = None


STOPPED: Final = SearchEnd("Stopped", "The hyperparameter tuning job was stopped, and its training jobs with it")


class TuningRun:
    """A search that runs. `start` returns at once; what happens is seen in the store and in `trials`."""

    def __init__(self, request: Json, machine: Machine, jobs: TrainingJobs, store: Store) -> None:
        """request: checked, seeded, its place in its tags. Its record is in the store."""
        self.name: str = request["HyperParameterTuningJobName"]
        self._request = request
        self._config: Json = request["HyperParameterTuningJobConfig"]
        self._shared = machine.layout.shared_dir(self.name)
        self._inputs = TuningInputs(machine.layout.job_dir(self.name) / "inputs", machine.s3, machine.objects)
        self._nursery = Nursery(request, machine)
        self._jobs = jobs
        self._store = store
        self._progress = Progress(request, machine.layout, jobs.store)
        self._summaries = Summaries(jobs.store, self._progress.definitions)
        self._completion = Completion(self._config, minimize=self._progress.minimize)
        self._parents: tuple[Trial, ...] = ()
        self._lock = threading.Lock()
        self._stop: SearchEnd | None = None
        self._wake = threading.Event()
        self._began = self._written = time.monotonic()
        self._earlier_s = 0.0
        self._published: Json = {}
        self._kept: tuple[Trial, ...] = ()
        self._thread = threading.Thread(target=self._live, name=f"tuning {self.name}", daemon=True)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The trials as they are now, the parents' first."""
        return self._progress.trials

    def keep_inputs(self) -> None:
        """Before a new search begins: what it reads from the local S3 is there after a kill -9, too."""
        try:
            self._inputs.keep([each.content for each in self._progress.definitions])
        except STORAGE_ERRORS as error:
            self._progress.say(f"its inputs could not be kept for a restart of the service: {error}")

    def start(self, *, parents: Sequence[Trial] = (), earlier_s: float = 0.0) -> None:
        """Begins the search, with what `parents` found; or goes on with one that ran for `earlier_s` before."""
        self._parents, self._earlier_s = tuple(parents), earlier_s
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Waits until the search has ended."""
        self._thread.join(timeout_s)

    def stop(self, end: SearchEnd = STOPPED) -> None:
        """No trial begins after this returns, and running ones are stopped. The first asking counts."""
        with self._lock:
            if self._stop is None:
                self._stop = end
                self._store.update(self.name, {"HyperParameterTuningJobStatus": "Stopping"})
        self._wake.set()

    def _live(self) -> None:
        try:
            self._shared.mkdir(parents=True, exist_ok=True)
            self._inputs.announce([each.content for each in self._progress.definitions])
            self._progress.open(self._parents)
            self._nursery.start()
            end = self._search()
        except ApiError as error:
            end = self._abandon(f"ClientError: a training job could not be started: {error.message}")
        except Exception as error:  # a fault of ours must end the job, not leave it InProgress for ever
            traceback.print_exc()
            end = self._abandon(f"InternalServerError: {error!r} in the local SageMaker; see its log")
        self._finish(end)

    def _search(self) -> SearchEnd:
        while True:
            for trial in self._progress.running:
                if self._progress.observe(trial):
                    self._jobs.end_early(trial.name, "Stopped early: its objective is worse than others' were by then")
            if self._stop is None:
                self._complete()
            if self._stop is None:
                self._begin_trials()
            else:
                self._end_trials(self._stop.message)
            self._publish()
            if not self._progress.running:
                return self._stop or SearchEnd("Completed", "")
            self._wake.wait(_POLL_S)
            self._wake.clear()

    def _complete(self) -> None:
        """Lets the search end if one of its criteria is met."""
        reason = self._completion.reached(self._progress.own, runtime_s=self._runtime_s())
        if reason:
            self._progress.say(f"complete: {reason}")
            with self._lock:
                self._stop = self._stop or SearchEnd("Completed", f"The tuning job is complete: {reason}")

    def _begin_trials(self) -> None:
        parallel = self._config["ResourceLimits"]["MaxParallelTrainingJobs"]
        while len(self._progress.running) < parallel and self._stop is None:
            trial = self._progress.next_trial()
            if trial is None:
                return
            self._begin(trial)

    def _begin(self, trial: Trial) -> None:
        definition = self._progress.definition_of(trial)
        request = trial_request(self._request, definition, trial.name, trial.parameters)
        try:
            self._jobs.check(request)
            with self._lock:
                is_begun = self._stop is None
                if is_begun:
                    self._jobs.begin(request, when_ended=self._wake.set)
        except ApiError:
            self._progress.drop(trial)
            raise
        if not is_begun:
            self._progress.drop(trial)

    def _end_trials(self, message: str) -> None:
        for trial in self._progress.running:
            self._jobs.end_early(trial.name, message)

    def _abandon(self, reason: str) -> SearchEnd:
        """Ends every trial without asking the search, which cannot go on."""
        end = SearchEnd("Failed", reason, reason)
        with self._lock:
            self._stop = self._stop or end
        self._progress.say(reason)
        self._end_trials(reason)
        for trial in self._progress.running:
            while (record := self._jobs.store.get(trial.name)) and record.description["TrainingJobStatus"] not in ENDED:
                time.sleep(_POLL_S)
            self._progress.close(trial)
        return end

    def _finish(self, end: SearchEnd) -> None:
        with self._lock:  # from here on it is too late to stop it
            self._stop = self._stop or end
        self._nursery.stop()
        shutil.rmtree(self._shared, ignore_errors=True)
        self._inputs.remove()
        own = self._progress.own
        if end.status == "Completed" and not any(trial.objective_status == "Succeeded" for trial in own):
            end = SearchEnd("Failed", end.message, _why_none_succeeded(own))
        try:
            self._publish(is_last=True)
        except OSError as error:  # a full disk must not leave the job InProgress for ever
            self._progress.say(f"what became of its trials could not be written: {error}")
        self._store.update(
            self.name,
            {
                "HyperParameterTuningJobStatus": end.status,
                "HyperParameterTuningEndTime": now(),
                "ConsumedResources": {"RuntimeInSeconds": math.ceil(self._runtime_s())},
                **({"FailureReason": end.reason[:_REASON]} if end.reason else {}),
            },
        )

    def _publish(self, *, is_last: bool = False) -> None:
        """Writes down what has changed: the trials' file, and what Describe answers."""
        changes, passed = self._changes(), time.monotonic()
        is_news = changes != self._published
        if is_last or is_news or passed - self._written > _HISTORIES_EVERY_S:
            if self.trials != self._kept:
                self._progress.write()
            self._kept, self._written = self.trials, passed
        if is_news:
            self._published = changes
            consumed = {"ConsumedResources": {"RuntimeInSeconds": math.ceil(self._runtime_s())}}
            self._store.update(self.name, {**changes, **consumed})

    def _changes(self) -> Json:
        own = self._progress.own
        changes: Json = {
            "TrainingJobStatusCounters": status_counters(own),
            "ObjectiveStatusCounters": objective_counters(own),
            "TuningJobCompletionDetails": self._completion.details(own),
        }
        if best := self._summaries.best(own):
            changes["BestTrainingJob"] = best
        if self._request.get("WarmStartConfig", {}).get("WarmStartType") == "IdenticalDataAndAlgorithm":
            if overall := self._summaries.best([*self._parents, *own]):
                changes["OverallBestTrainingJob"] = {"TuningJobName": self.name, **overall}
        return changes

    def _runtime_s(self) -> float:
        """For how long the search has run, without the time in which no service did."""
        return self._earlier_s + time.monotonic() - self._began


def _why_none_succeeded(trials: Sequence[Trial]) -> str:
    text = (
        f"No training job succeeded after {len(trials)} attempts. Please take a look at the training job failures to "
        "get more details."
    )
    first = next((trial for trial in trials if trial.reason and not trial.is_interrupted), None)
    return f"{text} The first, {first.name}: {first.reason}" if first else text
