"""The trials of a running tuning job and the searches they come from: what to try next, and what became of it.

For one thread. Nothing here starts or stops a training job (tuning_run does); the trials' file is written before a
trial is handed out, so that none can be lost by a kill -9.
"""

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kennel.local.settings import Layout
from kennel.local.store import Store
from kennel.local.training_jobs import INTERRUPTED
from kennel.local.tuning_requests import Definition, definitions_of, most_jobs, trial_name
from kennel.local.tuning_search import Proposal, Search
from kennel.local.tuning_stopping import is_to_be_stopped
from kennel.local.tuning_trials import Trial, read_trials, write_trials
from kennel.local.tuning_watch import TrialWatch
from kennel.local.validation import Json


class Progress:
    """What has been tried and what comes next. `trials` may be read by any thread.

    request: of the tuning job, checked and seeded. jobs: the training jobs' records.
    """

    def __init__(self, request: Json, layout: Layout, jobs: Store) -> None:
        self.name: str = request["HyperParameterTuningJobName"]
        self.definitions = definitions_of(request)
        self.file = layout.job_dir(self.name) / "trials.json"
        self.trials: tuple[Trial, ...] = ()
        self._layout = layout
        self._jobs = jobs
        self._most = most_jobs(request)
        self._is_median_rule = request["HyperParameterTuningJobConfig"].get("TrainingJobEarlyStoppingType") == "Auto"
        self._searches: dict[str | None, Search] = {}
        self._watches: dict[str, TrialWatch] = {}
        self._again: deque[Trial] = deque()

    @property
    def own(self) -> list[Trial]:
        """The trials of this tuning job; the others are its parents'."""
        return [trial for trial in self.trials if not trial.is_parents]

    @property
    def running(self) -> list[Trial]:
        """The trials that have not ended."""
        return [trial for trial in self.own if not trial.has_ended]

    @property
    def minimize(self) -> bool:
        """Whether less is better; the same for all definitions."""
        return self.definitions[0].plan.minimize

    def definition_of(self, trial: Trial) -> Definition:
        """The definition that a trial is made from."""
        return next(each for each in self.definitions if each.name == trial.definition)

    def open(self, parents: Sequence[Trial]) -> None:
        """Begins the searches with what `parents` found; or goes on with what an earlier service left."""
        journal = self.file.with_name("search.log")
        is_new = not self.file.is_file()
        if is_new:  # a journal without trials is of a service that was killed at this very place
            journal.unlink(missing_ok=True)
        for definition in self.definitions:
            self._searches[definition.name] = Search(definition.plan, journal)
        self.trials = tuple(self._learned(parents) if is_new else read_trials(self.file))
        self.write()
        self._recover()

    def write(self) -> None:
        """Replaces trials.json."""
        write_trials(self.file, self.trials)

    def next_trial(self) -> Trial | None:
        """The next trial to begin, which counts as running from now on; None if there are enough."""
        if self._again:
            trial = self._again.popleft()
            return self._new(trial.definition, trial.draw, self._search_of(trial).again(trial.parameters))
        definition = self._next_definition()
        if definition is None:
            return None
        draw = self._next_draw(definition)
        tried = [trial.parameters for trial in (*self.own, *self._again) if trial.definition == definition.name]
        return self._new(definition.name, draw, self._searches[definition.name].ask(draw, tried=tried))

    def drop(self, trial: Trial) -> None:
        """Forgets a trial that was not begun after all."""
        self.trials = tuple(each for each in self.trials if each.name != trial.name)
        self.write()

    def observe(self, trial: Trial) -> bool:
        """Takes in what a running trial printed, and whether it has ended; true if it is to be stopped early."""
        record = self._jobs.get(trial.name)
        if record is None:
            self._take_end(replace(trial, status="Failed", objective_status="Failed", reason="Its record is gone"))
            return False
        job = record.description  # read before the log: what has ended prints no more
        watch = self._watch(trial)
        new = watch.read()
        seen = replace(trial, status=job["TrainingJobStatus"], history=watch.values if new else trial.history)
        if seen.has_ended:
            self._take_end(watch.ended(seen, job))
            return False
        is_enough = bool(new) and seen.status == "InProgress" and self._is_to_be_stopped(seen, new)
        if is_enough or seen != trial:
            self._set(replace(seen, stopped_early=seen.stopped_early or is_enough))
        return is_enough

    def close(self, trial: Trial) -> None:
        """Takes in the end of a trial without telling the search; for when that cannot go on."""
        record = self._jobs.get(trial.name)
        if record is not None:
            watch = self._watch(trial)
            watch.read()
            self._set(watch.ended(trial, record.description))

    def say(self, text: str) -> None:
        """A line in the service's log."""
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def _learned(self, parents: Sequence[Trial]) -> Iterable[Trial]:
        kept = [
            trial
            for trial in parents
            if trial.definition in self._searches
            and self._search_of(trial).learn(trial.parameters, trial.objective or 0)
        ]
        if left := len(parents) - len(kept):
            self.say(f"{left} of {len(parents)} trials of the parent tuning jobs are outside the ranges and left out")
        return kept

    def _recover(self) -> None:
        """Settles what was running when an earlier service was killed: it is tried again, under new names."""
        for trial in self.running:
            record = self._jobs.get(trial.name)
            if record is None:  # killed before its training job was there
                self._search_of(trial).tell(trial.in_study, (), status="Failed")
                self._again.append(trial)
                self.drop(trial)
            elif record.description.get("FailureReason", "").startswith(INTERRUPTED):
                self._again.append(trial)
                self._set(replace(trial, is_interrupted=True))
        for trial in self.running:
            if self._jobs.get(trial.name) is not None:
                self.observe(trial)
        for definition in self.definitions:
            self._recover_proposals(definition)

    def _recover_proposals(self, definition: Definition) -> None:
        """The search may have proposed what never became a trial."""
        known = {trial.in_study for trial in self.own if trial.definition == definition.name}
        draw = self._next_draw(definition)
        for parameters in self._searches[definition.name].forget_running(known):
            self._again.append(Trial(0, "", parameters, definition=definition.name, draw=draw))

    def _next_definition(self) -> Definition | None:
        """The one whose turn it is; None when there are trials enough."""
        if len([trial for trial in self.own if not trial.is_interrupted]) >= self._most:
            return None
        left = [each for each in self.definitions if self._next_draw(each) < each.plan.draws]
        return min(left, key=self._next_draw, default=None)

    def _next_draw(self, definition: Definition) -> int:
        draws = [trial.draw for trial in (*self.own, *self._again) if trial.definition == definition.name]
        return max(draws, default=-1) + 1

    def _new(self, definition: str | None, draw: int, proposal: Proposal) -> Trial:
        number = max((trial.number for trial in self.own), default=0) + 1
        trial = Trial(
            number=number,
            name=trial_name(self.name, number),
            parameters=proposal.parameters,
            definition=definition,
            draw=draw,
            in_study=proposal.number,
        )
        self.trials = (*self.trials, trial)
        self.write()
        return trial

    def _set(self, trial: Trial) -> None:
        self.trials = tuple(trial if each.name == trial.name else each for each in self.trials)

    def _take_end(self, trial: Trial) -> None:
        self._set(trial)
        self._watches.pop(trial.name, None)
        self._search_of(trial).tell(trial.in_study, trial.history, status=trial.status)
        if trial.reason:
            self.say(f"{trial.name}: {trial.reason}")

    def _is_to_be_stopped(self, trial: Trial, new: Sequence[float]) -> bool:
        first = len(trial.history) - len(new) + 1
        if not self._is_median_rule:
            return self._search_of(trial).is_to_be_stopped(trial.in_study, new, epoch=first)
        earlier = [
            each.history for each in self.own if each.status == "Completed" and each.definition == trial.definition
        ]
        epochs = range(first, len(trial.history) + 1)
        return any(is_to_be_stopped(trial.history[:epoch], earlier, minimize=self.minimize) for epoch in epochs)

    def _search_of(self, trial: Trial) -> Search:
        return self._searches[trial.definition]

    def _watch(self, trial: Trial) -> TrialWatch:
        if trial.name not in self._watches:
            definition = self.definition_of(trial)
            metrics = definition.content["AlgorithmSpecification"].get("MetricDefinitions", [])
            log = self._layout.job_dir(trial.name) / "log.txt"
            self._watches[trial.name] = TrialWatch(log, metrics, definition.metric)
        return self._watches[trial.name]
