"""SageMaker's training job operations on this machine."""

import shutil
import sys
import threading
from typing import Final

from kennel.errors import KennelError
from kennel.local.checkpoints import versions
from kennel.local.faults import ApiError, invalid, not_found
from kennel.local.listing import list_page
from kennel.local.machine import Machine
from kennel.local.places import placed
from kennel.local.runners import runner_of
from kennel.local.settings import arn
from kennel.local.storage import S3Address, read_address
from kennel.local.store import Record, Store, now
from kennel.local.training_rules import check_training_job
from kennel.local.training_run import Ending, TrainingRun, archive_name, enter, result_addresses
from kennel.local.validation import Json, Operation, service_model
from kennel.paths import MlPaths

_RUNNING: Final = ("InProgress", "Stopping")
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

    def load(self) -> None:
        """Finds the jobs of earlier services on disk. One that was running then has failed."""
        self.store.load("TrainingJobName", sorted(self._machine.layout.runs.glob("*/job.json")))
        for record in self.store.all():
            if record.description["TrainingJobStatus"] in _RUNNING:
                self._fail_interrupted(record)
            try:
                self._announce_results(record.request)
            except KennelError as error:  # a request that an older version took
                print(f"{record.request.get('TrainingJobName')}: {error}", file=sys.stderr, flush=True)

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by SageMaker's names."""
        return {
            "CreateTrainingJob": self.create,
            "DescribeTrainingJob": self.describe,
            "ListTrainingJobs": self.list_page,
            "StopTrainingJob": self.stop,
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
        check_training_job(request, self._machine.s3)
        runner_of(self._machine, request).check_training(request)
        folder = self._machine.layout.job_dir(name)
        if folder.exists():
            raise invalid(f"{folder} is there already and holds no run. Move it away, or choose another job name.")
        tags = tuple(request.get("Tags", []))
        if not self.store.add(name, Record(request, self._description(request), tags)):
            raise ApiError("ResourceInUse", f"The training job {arn('training-job', name)} has just been created.")
        run = TrainingRun(request, self._machine, self.store)
        with self._lock:
            self._runs[name] = run
        run.start()
        return {"TrainingJobArn": arn("training-job", name)}

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

    def delete(self, request: Json) -> Json:
        """Removes the job and its folder. Unlike on AWS its results go too, unless they were asked for before."""
        name = request["TrainingJobName"]
        status = self._find(name).description["TrainingJobStatus"]
        if status in _RUNNING:
            raise ApiError("ResourceInUse", f"Training job {arn('training-job', name)} is in status {status}. Stop it.")
        if run := self._runs.pop(name, None):
            run.join()
        self._machine.objects.withdraw(self._machine.layout.job_dir(name))
        self.store.remove(name)
        shutil.rmtree(self._machine.layout.job_dir(name), ignore_errors=True)
        return {}

    @property
    def running(self) -> list[TrainingRun]:
        """The jobs that have not ended."""
        with self._lock:
            runs = list(self._runs.values())
        return [run for run in runs if self._is_running(run.name)]

    def stop_all(self) -> None:
        """Stops every job, as the service itself ends, and waits for them."""
        runs = self.running
        for run in runs:
            run.stop(Ending("Stopped", "Stopped", message="The local SageMaker was stopped, and the job with it"))
        for run in runs:
            run.join()

    def kill_all(self) -> None:
        """Ends every job's program now; what it made is still kept."""
        for run in self.running:
            run.kill()

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
            **_unevaluated_rules(request, at),
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
            FailureReason=f"InternalServerError: the local SageMaker ended while the job was in "
            f"{record.description['SecondaryStatus']}, and the job with it. What it checkpointed is in {folder}: "
            f"a job with CheckpointConfig S3Uri {folder.as_uri()} goes on from there.",
        )

    def _announce_results(self, request: Json) -> None:
        """Lets the local S3 find again what the job left on disk."""
        objects, folder = self._machine.objects, self._machine.layout.job_dir(request["TrainingJobName"])
        for part, address in result_addresses(request).items():
            if isinstance(address, S3Address):
                objects.announce_bucket(address.bucket)
                if (folder / archive_name(part)).is_file():
                    objects.announce(address, folder / archive_name(part))
        if "CheckpointConfig" not in request:
            return
        checkpoints = read_address(request["CheckpointConfig"]["S3Uri"])
        if isinstance(checkpoints, S3Address):
            objects.announce_bucket(checkpoints.bucket)
            kept = runner_of(self._machine, request).checkpoint_folder(request, MlPaths(folder / "ml"))
            for name in versions(kept):
                objects.announce(checkpoints.below(name), kept / name)


def _unevaluated_rules(request: Json, at: float) -> Json:
    """Debugger and profiler rules are not evaluated yet, and the job says so."""
    statuses = {}
    for kind in ("DebugRule", "ProfilerRule"):
        rules = request.get(f"{kind}Configurations")
        if rules:
            statuses[f"{kind}EvaluationStatuses"] = [
                {
                    "RuleConfigurationName": rule["RuleConfigurationName"],
                    "RuleEvaluationStatus": "Stopped",
                    "StatusDetails": "The local SageMaker does not evaluate rules",
                    "LastModifiedTime": at,
                }
                for rule in rules
            ]
    return statuses
