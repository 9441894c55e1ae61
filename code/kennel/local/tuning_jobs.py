"""SageMaker's hyperparameter tuning operations on this machine."""

import shutil
import sys
from collections.abc import Sequence
from typing import Final

from kennel.local.faults import ApiError, invalid
from kennel.local.listing import list_page, page_of
from kennel.local.machine import Machine
from kennel.local.places import placed
from kennel.local.run_folders import check_name_is_free
from kennel.local.settings import arn
from kennel.local.store import Record, Store
from kennel.local.training_jobs import TrainingJobs
from kennel.local.tuning_checks import check_tuning_job
from kennel.local.tuning_parents import parents_trials
from kennel.local.tuning_requests import (
    definitions_of,
    first_description,
    least_parameters,
    seeded,
    trial_name,
    trial_request,
)
from kennel.local.tuning_run import SearchEnd, TuningRun
from kennel.local.tuning_summaries import Summaries
from kennel.local.tuning_trials import Trial, read_trials
from kennel.local.validation import Json, Operation, service_model
from kennel.local.warm_start_checks import with_parents_metrics

_RUNNING: Final = ("InProgress", "Stopping")
_KIND: Final = "hyper-parameter-tuning-job"
_SUMMARY: Final = (
    "HyperParameterTuningJobName",
    "HyperParameterTuningJobArn",
    "HyperParameterTuningJobStatus",
    "Strategy",
    "CreationTime",
    "HyperParameterTuningEndTime",
    "LastModifiedTime",
    "TrainingJobStatusCounters",
    "ObjectiveStatusCounters",
    "ResourceLimits",
)
_SERVICE_STOPPED: Final = SearchEnd(
    "Stopped",
    "The local SageMaker was stopped, and the job with it",
    "The local SageMaker was stopped, and the search with it. A tuning job with a WarmStartConfig goes on.",
)


class TuningJobs:
    """Every tuning job of a runs folder, finished ones included."""

    def __init__(self, machine: Machine, jobs: TrainingJobs) -> None:
        shape = service_model("sagemaker").operation_model("DescribeHyperParameterTuningJob").output_shape
        self._machine = machine
        self._jobs = jobs
        self._runs: dict[str, TuningRun] = {}
        self.store = Store(shape, machine.layout.tuning_file)
        jobs.searched_by = self._searched_by

    def load(self) -> None:
        """Finds the tuning jobs of earlier services on disk, and goes on with those that were cut short."""
        self.store.load("HyperParameterTuningJobName", sorted(self._machine.layout.runs.glob("*/tuning.json")))
        for record in self.store.all():
            name, status = (record.description[f"HyperParameterTuningJob{part}"] for part in ("Name", "Status"))
            if status not in _RUNNING:
                shutil.rmtree(self._machine.layout.shared_dir(name), ignore_errors=True)
                continue
            try:
                self._go_on(record)
            except (ApiError, KeyError, ValueError, OSError) as error:  # of an older version, or damaged
                print(f"{name}: the search cannot go on: {error!r}", file=sys.stderr, flush=True)
                self.store.update(
                    name,
                    {
                        "HyperParameterTuningJobStatus": "Failed",
                        "FailureReason": f"InternalServerError: the search cannot go on after a restart: {error!r}"[
                            :1024
                        ],
                    },
                )

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by SageMaker's names."""
        return {
            "CreateHyperParameterTuningJob": self.create,
            "DescribeHyperParameterTuningJob": self.describe,
            "ListHyperParameterTuningJobs": self.list_page,
            "ListTrainingJobsForHyperParameterTuningJob": self.list_trials,
            "StopHyperParameterTuningJob": self.stop,
            "DeleteHyperParameterTuningJob": self.delete,
        }

    def create(self, request: Json) -> Json:
        name = request["HyperParameterTuningJobName"]
        request = placed(request, self._machine.settings.on)
        request = with_parents_metrics(request, find_parent=self._find_parent)
        if self.store.get(name):
            raise ApiError(
                "ResourceInUse",
                "Hyperparameter tuning job names must be unique within an AWS account and region, and a hyperparameter "
                f"tuning job with this name already exists ({arn(_KIND, name)})",
            )
        check_tuning_job(request, find_parent=self._find_parent)
        check_name_is_free(self._machine.layout, name)
        has_seed = "RandomSeed" in request["HyperParameterTuningJobConfig"]
        request = seeded(request)
        for definition in definitions_of(request):
            first = trial_request(request, definition, trial_name(name, 1), least_parameters(definition))
            self._jobs.check(first)
        record = Record(request, first_description(request, with_seed=has_seed), tuple(request.get("Tags", [])))
        run, parents = TuningRun(request, self._machine, self._jobs, self.store), self._parents(request)
        if not self.store.add(name, record):
            raise ApiError("ResourceInUse", f"The tuning job {arn(_KIND, name)} has just been created.")
        self._runs[name] = run
        run.keep_inputs()
        run.start(parents=parents)
        return {"HyperParameterTuningJobArn": arn(_KIND, name)}

    def describe(self, request: Json) -> Json:
        return self._find(request["HyperParameterTuningJobName"]).description

    def list_page(self, request: Json) -> Json:
        shown = [
            {**each, **{key: each["HyperParameterTuningJobConfig"][key] for key in ("Strategy", "ResourceLimits")}}
            for each in (record.description for record in self.store.all())
        ]
        return list_page(
            {"SortBy": "Name", **request},
            shown,
            key="HyperParameterTuningJobSummaries",
            prefix="HyperParameterTuningJob",
            members=_SUMMARY,
            descending=False,
        )

    def list_trials(self, request: Json) -> Json:
        record = self._find(request["HyperParameterTuningJobName"])
        trials = [trial for trial in self.trials(request["HyperParameterTuningJobName"]) if not trial.is_parents]
        summaries = Summaries(self._jobs.store, definitions_of(record.request)).of(trials)
        if request.get("SortBy") == "FinalObjectiveMetricValue":
            return _page_by_objective(request, summaries)
        return list_page(
            {"SortBy": "Name", **request},
            summaries,
            key="TrainingJobSummaries",
            prefix="TrainingJob",
            members=tuple(service_model("sagemaker").shape_for("HyperParameterTrainingJobSummary").members),
            descending=False,
        )

    def stop(self, request: Json) -> Json:
        name = request["HyperParameterTuningJobName"]
        status = self._find(name).description["HyperParameterTuningJobStatus"]
        if status not in _RUNNING:
            raise invalid(f"The request was rejected because the hyperparameter tuning job is in status {status}.")
        self._runs[name].stop()
        return {}

    def delete(self, request: Json) -> Json:
        """Removes the tuning job and its folder. Its training jobs stay, as on AWS."""
        name = request["HyperParameterTuningJobName"]
        status = self._find(name).description["HyperParameterTuningJobStatus"]
        if status in _RUNNING:
            raise ApiError("ResourceInUse", f"Tuning job {arn(_KIND, name)} is in status {status}. Stop it first.")
        if run := self._runs.pop(name, None):
            run.join()
        self.store.remove(name)
        shutil.rmtree(self._machine.layout.job_dir(name), ignore_errors=True)
        return {}

    def trials(self, name: str) -> Sequence[Trial]:
        """The trials of a tuning job, its parents' first. Raises OSError or ValueError for an unreadable file."""
        run = self._runs.get(name)
        if run is not None and run.trials:  # none yet: it has just begun, or goes on and is still reading the file
            return run.trials
        return read_trials(self._machine.layout.tuning_file(name).with_name("trials.json"))

    @property
    def is_running(self) -> bool:
        """Whether a tuning job has not ended."""
        return any(self._is_running(name) for name in list(self._runs))

    def stop_all(self) -> None:
        """Ends every search, as the service itself ends, before the trials are stopped."""
        for name, run in list(self._runs.items()):
            if self._is_running(name):
                run.stop(_SERVICE_STOPPED)

    def join_all(self) -> None:
        """Waits for the searches that were stopped; when their trials have ended."""
        for run in list(self._runs.values()):
            run.join()

    def _go_on(self, record: Record) -> None:
        name = record.description["HyperParameterTuningJobName"]
        run = self._runs[name] = TuningRun(record.request, self._machine, self._jobs, self.store)
        if record.description["HyperParameterTuningJobStatus"] == "Stopping":
            run.stop()
        consumed = record.description.get("ConsumedResources", {}).get("RuntimeInSeconds", 0)
        run.start(parents=self._parents(record.request), earlier_s=consumed)

    def _parents(self, request: Json) -> list[Trial]:
        """What the parent tuning jobs of a warm start found, with the values that the new ranges are about."""
        parents = request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", [])
        names = [each["HyperParameterTuningJobName"] for each in parents]
        heirs = definitions_of(request)
        return [
            trial
            for name in names
            if (record := self.store.get(name))
            for trial in parents_trials(record.request, self.trials(name), heirs)
        ]

    def _find(self, name: str) -> Record:
        record = self.store.get(name)
        if record is None:
            raise ApiError(
                "ResourceNotFound",
                f"Amazon SageMaker can't find a tuning job with the name {name}. Check the name and try again.",
            )
        return record

    def _find_parent(self, name: str) -> Json | None:
        record = self.store.get(name)
        return None if record is None else record.description

    def _is_running(self, name: str) -> bool:
        record = self.store.get(name)
        return record is not None and record.description["HyperParameterTuningJobStatus"] in _RUNNING

    def _searched_by(self, job: str) -> str | None:
        """The running tuning job that has a training job among its trials."""
        for name in list(self._runs):
            if self._is_running(name) and any(trial.name == job for trial in self.trials(name)):
                return name
        return None


def _page_by_objective(request: Json, summaries: Sequence[Json]) -> Json:
    """Those that have an objective, as on AWS."""
    member = "FinalHyperParameterTuningJobObjectiveMetric"
    status = request.get("StatusEquals")
    found = [each for each in summaries if member in each and status in (None, each["TrainingJobStatus"])]
    is_descending = request.get("SortOrder") == "Descending"
    found.sort(key=lambda each: (each[member]["Value"], each["TrainingJobName"]), reverse=is_descending)
    return page_of(request, found, key="TrainingJobSummaries")
