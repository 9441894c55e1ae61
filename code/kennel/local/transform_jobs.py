"""SageMaker's batch transform operations on this machine."""

import sys
import threading
from typing import Final

from kennel.errors import KennelError
from kennel.local.faults import ApiError, invalid, not_found
from kennel.local.listing import list_page
from kennel.local.machine import Machine
from kennel.local.models import Models, check_container, container_of
from kennel.local.places import ON, runs_on, tag_value, with_place
from kennel.local.settings import arn
from kennel.local.store import Record, Store, now
from kennel.local.transform_checks import check_transform_job
from kennel.local.transform_run import TransformRun, clear, outputs_of, work_folder
from kennel.local.validation import Json, Operation, service_model

_RUNNING: Final = ("InProgress", "Stopping")
_SUMMARY: Final = (
    "TransformJobName",
    "TransformJobArn",
    "CreationTime",
    "TransformEndTime",
    "LastModifiedTime",
    "TransformJobStatus",
    "FailureReason",
)


class TransformJobs:
    """Every batch transform job of a runs folder, finished ones included."""

    def __init__(self, machine: Machine, models: Models) -> None:
        shape = service_model("sagemaker").operation_model("DescribeTransformJob").output_shape
        self._machine = machine
        self._models = models
        self._members = frozenset(shape.members)
        self.store = Store(shape, machine.layout.transform_file)
        self._runs: dict[str, TransformRun] = {}
        self._lock = threading.Lock()

    def load(self) -> None:
        """Finds the transform jobs of earlier services on disk. One that was running then has failed."""
        self.store.load("TransformJobName", sorted(self._machine.layout.runs.glob("*/transform.json")))
        for record in self.store.all():
            name = record.request["TransformJobName"]
            if record.description["TransformJobStatus"] in _RUNNING:
                self._fail_interrupted(name)
            try:
                outputs_of(record.request, self._machine).announce_all()
            except (KennelError, OSError) as error:  # a request that an older version took
                print(f"{name}: {error}", file=sys.stderr, flush=True)

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by SageMaker's names."""
        return {
            "CreateTransformJob": self.create,
            "DescribeTransformJob": self.describe,
            "ListTransformJobs": self.list_page,
            "StopTransformJob": self.stop,
        }

    def create(self, request: Json) -> Json:
        name = request["TransformJobName"]
        exists = ApiError(
            "ResourceInUse",
            "Job name must be unique within an AWS account and region, and a job with this name already exists "
            f"({arn('transform-job', name)})",
        )
        if self.store.get(name):
            raise exists
        model = self._models.request_of(request["ModelName"])
        check_container(container_of(model), self._machine.s3)
        check_transform_job(request, self._machine.s3)
        folder = work_folder(self._machine.layout, name)
        if folder.exists():
            raise invalid(f"{folder} is there already and holds no run. Move it away, or choose another job name.")
        if not self.store.add(name, Record(request, self._description(request), _tags(request, model))):
            raise exists
        run = TransformRun(request, model, self._machine, self.store)
        with self._lock:
            self._runs[name] = run
        run.start()
        return {"TransformJobArn": arn("transform-job", name)}

    def describe(self, request: Json) -> Json:
        return self._find(request["TransformJobName"]).description

    def list_page(self, request: Json) -> Json:
        descriptions = [_with_change(record.description) for record in self.store.all()]
        return list_page(request, descriptions, key="TransformJobSummaries", prefix="TransformJob", members=_SUMMARY)

    def stop(self, request: Json) -> Json:
        status = self._find(request["TransformJobName"]).description["TransformJobStatus"]
        if status not in _RUNNING:
            raise invalid(f"The request was rejected because the transform job is in status {status}.")
        self._runs[request["TransformJobName"]].stop()
        return {}

    @property
    def is_running(self) -> bool:
        """Whether a transform job has not ended."""
        return bool(self._running())

    def stop_all(self) -> None:
        """Stops every job and its server, as the service itself ends, and waits for that."""
        runs = self._running()
        for run in runs:
            run.stop()
        for run in runs:
            run.join()

    def kill_all(self) -> None:
        """Ends every server without its grace time."""
        for run in self._running():
            run.kill()

    def _running(self) -> list[TransformRun]:
        with self._lock:
            runs = list(self._runs.values())
        return [run for run in runs if self._find(run.name).description["TransformJobStatus"] in _RUNNING]

    def _find(self, name: str) -> Record:
        record = self.store.get(name)
        if record is None:
            raise not_found()
        return record

    def _fail_interrupted(self, name: str) -> None:
        clear(work_folder(self._machine.layout, name))
        reason = (
            "InternalServerError: the local SageMaker ended while the job was in progress, and the job with it. The "
            "outputs of the objects that were finished are there. Create the job again under another name."
        )
        self.store.update(name, {"TransformJobStatus": "Failed", "TransformEndTime": now(), "FailureReason": reason})

    def _description(self, request: Json) -> Json:
        known = {key: value for key, value in request.items() if key in self._members}
        return {
            **known,
            "TransformInput": {"CompressionType": "None", "SplitType": "None", **request["TransformInput"]},
            "TransformOutput": {"AssembleWith": "None", "KmsKeyId": "", **request["TransformOutput"]},
            "DataProcessing": {
                "InputFilter": "$",
                "OutputFilter": "$",
                "JoinSource": "None",
                **request.get("DataProcessing", {}),
            },
            "TransformJobArn": arn("transform-job", request["TransformJobName"]),
            "TransformJobStatus": "InProgress",
            "CreationTime": now(),
        }


def _with_change(description: Json) -> Json:
    """With LastModifiedTime, which summaries have and descriptions on disk have not."""
    return {"LastModifiedTime": description.get("TransformEndTime", description["CreationTime"]), **description}


def _tags(request: Json, model: Json) -> tuple[Json, ...]:
    """The job's tags; where it runs is its model's to say."""
    tagged = with_place(request, runs_on(model)) if tag_value(request, ON) or tag_value(model, ON) else request
    return tuple(tagged.get("Tags", []))
