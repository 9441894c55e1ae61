"""SageMaker's training job operations on this machine."""

import shutil
import sys
import threading
from collections.abc import Callable
from typing import Final

from kennel.errors import KennelError
from kennel.local.checkpoints import versions
from kennel.local.debug_checks import check_debugging, check_rules, check_update
from kennel.local.debug_layout import debug_layout, first_status, first_statuses, output_places
from kennel.local.faults import ApiError, invalid, not_found
from kennel.local.growing_output import GrowingOutput
from kennel.local.listing import list_page
from kennel.local.machine import Machine
from kennel.local.places import placed
from kennel.local.rule_jobs import RuleJobs
from kennel.local.run_folders import check_name_is_free
from kennel.local.runners import runner_of
from kennel.local.settings import arn
from kennel.local.storage import S3Address, read_address
from kennel.local.store import Record, Store, now
from kennel.local.training_rules import check_training_job
from kennel.local.training_run import Ending, TrainingRun, archive_name, enter, result_addresses
from kennel.local.validation import Json, Operation, service_model
from kennel.paths import MlPaths

_RUNNING: Final = ("InProgress", "Stopping")
# How the FailureReason of a job begins that did not end before its service was killed.
INTERRUPTED: Final = "InternalServerError: the local SageMaker ended while"
_SUMMARY: Final = (
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingEndTime",
    "LastModifiedTime",
    "TrainingJobStatus",
    "SecondaryStatus",
)


class TrainingJobs:
    """Every training job of a runs folder, finished ones included."""

    def __init__(self, machine: Machine) -> None:
        shape = service_model("sagemaker").operation_model("DescribeTrainingJob").output_shape
        self._machine = machine
        self._members = frozenset(shape.members)
        self.store = Store(shape, lambda name: machine.layout.job_dir(name) / "job.json")
        self._runs: dict[str, TrainingRun] = {}
        self._lock = threading.Lock()
        # The running tuning job that a job is a trial of; the tuning room, which knows it, sets this.
        self.searched_by: Callable[[str], str | None] = lambda name: None

    def load(self) -> None:
        """Finds the jobs of earlier services on disk. One that was running then has failed."""
        self.store.load("TrainingJobName", sorted(self._machine.layout.runs.glob("*/job.json")))
        for record in self.store.all():
            if record.description["TrainingJobStatus"] in _RUNNING:
                self._fail_interrupted(record)
            try:
                self._settle_rules(record)
                self._announce_results(record.request)
            except (KennelError, ApiError) as error:  # a request that an older version took
                print(f"{record.request.get('TrainingJobName')}: {error}", file=sys.stderr, flush=True)

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by SageMaker's names."""
        return {
            "CreateTrainingJob": self.create,
            "DescribeTrainingJob": self.describe,
            "ListTrainingJobs": self.list_page,
            "StopTrainingJob": self.stop,
            "UpdateTrainingJob": self.update,
            "DeleteTrainingJob": self.delete,
        }

    def create(self, request: Json) -> Json:
        name = request["TrainingJobName"]
        request = placed(request, self._machine.settings.on)
        if self.store.get(name):
            raise ApiError(
                "ResourceInUse",
                "Training job names must be unique within an AWS account and region, and a training job with this name "
                f"already exists ({arn('training-job', name)})",
            )
        self.check(request)
        check_name_is_free(self._machine.layout, name)
        return self.begin(request)

    def check(self, request: Json) -> None:
        """Raises ApiError for a request, its place in its tags, that cannot be done. Its name is not looked at."""
        check_training_job(request, self._machine.s3)
        runner_of(self._machine, request).check_training(request)
        check_debugging(request, self._machine.s3)
        check_rules(self._machine, request)

    def begin(self, request: Json, *, when_ended: Callable[[], None] = lambda: None) -> Json:
        """Starts the job of a request that was checked. Raises ApiError if the name has come into use since.

        when_ended: called once the job's last state is in the store.
        """
        name = request["TrainingJobName"]
        tags = tuple(request.get("Tags", []))
        if not self.store.add(name, Record(request, self._description(request), tags)):
            raise ApiError("ResourceInUse", f"The training job {arn('training-job', name)} has just been created.")
        run = TrainingRun(request, self._machine, self.store, when_ended=when_ended)
        with self._lock:
            self._runs[name] = run
        run.start()
        return {"TrainingJobArn": arn("training-job", name)}

    def end_early(self, name: str, message: str) -> None:
        """Stops a running job for a reason of this machine's own; nothing happens if it has ended."""
        with self._lock:
            run = self._runs.get(name)
        if run:
            run.stop(Ending("Stopped", "Stopped", message=message))

    def describe(self, request: Json) -> Json:
        return self._find(request["TrainingJobName"]).description

    def list_page(self, request: Json) -> Json:
        descriptions = [record.description for record in self.store.all()]
        return list_page(
            request, descriptions, key="TrainingJobSummaries", prefix="TrainingJob", members=_SUMMARY, descending=False
        )

    def stop(self, request: Json) -> Json:
        description = self._find(request["TrainingJobName"]).description
        if description["TrainingJobStatus"] not in _RUNNING:
            status = description["TrainingJobStatus"]
            raise invalid(f"The request was rejected because the training job is in status {status}.")
        self._runs[request["TrainingJobName"]].stop()
        return {}

    def update(self, request: Json) -> Json:
        """Switches the profiler of a running job, changes its interval, or adds profiler rules."""
        name = request["TrainingJobName"]
        description = self._find(name).description
        if description["TrainingJobStatus"] != "InProgress":
            status = description["TrainingJobStatus"]
            raise invalid(f"The request was rejected because the training job is in status {status}.")
        check_rules(self._machine, request)
        changes = _changes(request, description)
        check_update(request, {**description, **changes}, self._machine.s3)
        self._runs[name].rules.update(changes)
        return {"TrainingJobArn": arn("training-job", name)}

    def delete(self, request: Json) -> Json:
        """Removes the job and its folder. Unlike on AWS its results go too, unless they were asked for before."""
        name = request["TrainingJobName"]
        status = self._find(name).description["TrainingJobStatus"]
        if status in _RUNNING:
            raise ApiError("ResourceInUse", f"Training job {arn('training-job', name)} is in status {status}. Stop it.")
        if search := self.searched_by(name):
            raise ApiError(
                "ResourceInUse",
                f"Training job {arn('training-job', name)} is a trial of the tuning job '{search}', which is "
                "still running. Wait for it, or stop it.",
            )
        if run := self._runs.pop(name, None):
            run.join()
            run.rules.stop()
            run.rules.join()
        self._machine.objects.withdraw(self._machine.layout.job_dir(name))
        self.store.remove(name)
        shutil.rmtree(self._machine.layout.job_dir(name), ignore_errors=True)
        return {}

    @property
    def running(self) -> list[TrainingRun]:
        """The jobs that have not ended, or whose rules are still evaluated."""
        with self._lock:
            runs = list(self._runs.values())
        return [run for run in runs if self._is_running(run.name) or run.rules.is_running]

    def stop_all(self) -> None:
        """Stops every job, as the service itself ends, and waits for them."""
        runs = self.running
        for run in [each for each in runs if self._is_running(each.name)]:
            run.stop(Ending("Stopped", "Stopped", message="The local SageMaker was stopped, and the job with it"))
        for run in runs:
            run.join()
            run.rules.stop()
        for run in runs:
            run.rules.join()

    def kill_all(self) -> None:
        """Ends every job's program now; what it made is still kept."""
        for run in self.running:
            if self._is_running(run.name):
                run.kill()
            run.rules.kill()

    def _find(self, name: str) -> Record:
        record = self.store.get(name)
        if record is None:
            raise not_found()
        return record

    def _is_running(self, name: str) -> bool:
        record = self.store.get(name)
        return record is not None and record.description["TrainingJobStatus"] in _RUNNING

    def _description(self, request: Json) -> Json:
        at = now()
        known = {key: value for key, value in request.items() if key in self._members}
        return {
            **known,
            **first_statuses(request["TrainingJobName"], request, at),
            # The SDK's attach() reads these, whether or not they were given.
            "HyperParameters": request.get("HyperParameters", {}),
            "OutputDataConfig": {"KmsKeyId": "", "CompressionType": "GZIP", **request["OutputDataConfig"]},
            "TrainingJobArn": arn("training-job", request["TrainingJobName"]),
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
            "StoppingCondition": {"MaxRuntimeInSeconds": 86400, **request.get("StoppingCondition", {})},
            "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
            "EnableInterContainerTrafficEncryption": request.get("EnableInterContainerTrafficEncryption", False),
            "EnableManagedSpotTraining": request.get("EnableManagedSpotTraining", False),
            "CreationTime": at,
            "LastModifiedTime": at,
            "SecondaryStatusTransitions": [
                {"Status": "Starting", "StartTime": at, "StatusMessage": "Preparing the instances for training"}
            ],
        }

    def _fail_interrupted(self, record: Record) -> None:
        name = record.request["TrainingJobName"]
        ml = MlPaths(self._machine.layout.job_dir(name) / "ml")
        folder = runner_of(self._machine, record.request).checkpoint_folder(record.request, ml)
        enter(
            self.store,
            name,
            "Failed",
            TrainingJobStatus="Failed",
            TrainingEndTime=record.description["LastModifiedTime"],
            FailureReason=f"{INTERRUPTED} the job was in "
            f"{record.description['SecondaryStatus']}, and the job with it. What it checkpointed is in {folder}: "
            f"a job with CheckpointConfig S3Uri {folder.as_uri()} goes on from there.",
        )

    def _settle_rules(self, record: Record) -> None:
        """What the evaluators of a service that was killed have left is all there is."""
        name = record.request["TrainingJobName"]
        rules = RuleJobs(name, self._machine, self.store, stop_training=lambda reason: None)
        rules.settle("The local SageMaker ended, and the evaluation with it")

    def _announce_results(self, request: Json) -> None:
        """Lets the local S3 find again what the job left on disk."""
        objects, folder = self._machine.objects, self._machine.layout.job_dir(request["TrainingJobName"])
        for part, address in result_addresses(request).items():
            if isinstance(address, S3Address):
                objects.announce_bucket(address.bucket)
                if (folder / archive_name(part)).is_file():
                    objects.announce(address, folder / archive_name(part))
        self._announce_debugging(request["TrainingJobName"])
        if "CheckpointConfig" not in request:
            return
        checkpoints = read_address(request["CheckpointConfig"]["S3Uri"])
        if isinstance(checkpoints, S3Address):
            objects.announce_bucket(checkpoints.bucket)
            kept = runner_of(self._machine, request).checkpoint_folder(request, MlPaths(folder / "ml"))
            for name in versions(kept):
                objects.announce(checkpoints.below(name), kept / name)

    def _announce_debugging(self, name: str) -> None:
        """The same for tensors, samples and what rules left; those of file:// are where they were brought."""
        record = self._find(name)
        places = output_places(debug_layout(self._machine.layout.job_dir(name), record.description), record.description)
        in_s3 = [(folder, address) for folder, address in places if isinstance(address, S3Address)]
        for _, address in in_s3:
            self._machine.objects.announce_bucket(address.bucket)
        GrowingOutput(self._machine.objects).bring(in_s3)


def _changes(request: Json, description: Json) -> Json:
    """What an UpdateTrainingJob request changes in a description. Raises ApiError for what cannot be changed."""
    changes: Json = {}
    old = description.get("ProfilerConfig", {})
    if "ProfilerConfig" in request:
        new = request["ProfilerConfig"]
        path = old.get("S3OutputPath")
        if path and new.get("S3OutputPath", path) != path:
            raise invalid(
                f"ProfilerConfig.S3OutputPath '{new['S3OutputPath']}' cannot be used: a job's is not changed once it "
                f"is set, and this one's is '{path}'. Leave it out."
            )
        changes["ProfilerConfig"] = {**old, "DisableProfiler": False, **new}
        changes["ProfilingStatus"] = "Disabled" if changes["ProfilerConfig"]["DisableProfiler"] else "Enabled"
    if rules := request.get("ProfilerRuleConfigurations"):
        name, at = description["TrainingJobName"], now()
        statuses = description.get("ProfilerRuleEvaluationStatuses", [])
        changes["ProfilerRuleConfigurations"] = [*description.get("ProfilerRuleConfigurations", []), *rules]
        changes["ProfilerRuleEvaluationStatuses"] = [*statuses, *(first_status(name, rule, at) for rule in rules)]
    return changes
