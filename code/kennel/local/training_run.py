"""One training job's life: Starting, Downloading, Training, Uploading, and its end. Each in a thread of its own."""

import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.local.archives import has_files, pack
from kennel.local.checkpoints import Checkpoints
from kennel.local.log_file import LogReader, tail
from kennel.local.machine import Machine
from kennel.local.metric_scan import MetricScan
from kennel.local.processes import RunningProgram
from kennel.local.rule_jobs import RuleJobs
from kennel.local.runners import runner_of
from kennel.local.storage import STORAGE_ERRORS, S3Address, link_or_copy, read_address
from kennel.local.store import Store, now
from kennel.local.validation import Json
from kennel.paths import MlPaths

_POLL_S: Final = 0.2
_METRICS_EVERY_S: Final = 1.0
# The longest FailureReason the API has.
_REASON: Final = 1024

_MESSAGES: Final = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training in progress",
    "Stopping": "Stopping the training job",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job exceeded MaxRuntimeInSeconds provided",
}


@dataclass(frozen=True)
class Ending:
    """How a job ended. secondary: as SecondaryStatus; message: of the last transition."""

    status: str
    secondary: str
    reason: str | None = None
    message: str | None = None


class JobFailure(Exception):
    """A job cannot go on; the message is its FailureReason."""


class TrainingRun:
    """A job that runs. `start` returns at once; what happens is seen in the store."""

    def __init__(
        self, request: Json, machine: Machine, store: Store, *, when_ended: Callable[[], None] = lambda: None
    ) -> None:
        self._when_ended = when_ended
        self.name: str = request["TrainingJobName"]
        self._request = request
        self._machine = machine
        self._store = store
        self._runner = runner_of(machine, request)
        self._folder = machine.layout.job_dir(self.name)
        self._ml = MlPaths(self._folder / "ml")
        self._log = self._folder / "log.txt"
        self._metrics = MetricScan(request["AlgorithmSpecification"].get("MetricDefinitions", []))
        self._reader = LogReader(self._log)
        self._checkpoints = self._make_checkpoints()
        self.rules = RuleJobs(self.name, machine, store, stop_training=self._stop_by_rule)
        self._lock = threading.Lock()
        self._stop: Ending | None = None
        self._can_stop = True
        self._running: RunningProgram | None = None
        self._thread = threading.Thread(target=self._live, name=f"training {self.name}", daemon=True)

    def start(self) -> None:
        """Begins the job's life."""
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Waits until the job has ended; its rules may go on for a while."""
        self._thread.join(timeout_s)

    def stop(self, ending: Ending | None = None) -> None:
        """Asks the job to stop: SIGTERM, 120 s, SIGKILL; then what it made is kept. The first asking counts.

        Nothing happens when the program has ended and only its results are being stored.
        """
        with self._lock:
            if self._stop is not None or not self._can_stop:
                return
            self._stop = ending or Ending("Stopped", "Stopped")
            enter(self._store, self.name, "Stopping", message=self._stop.message, TrainingJobStatus="Stopping")
            if self._running:
                self._running.terminate()

    def kill(self) -> None:
        """Ends the program without waiting; for a service that was asked twice to end."""
        self.stop()
        if self._running:
            self._running.kill()

    def _stop_by_rule(self, reason: str) -> None:
        self.stop(Ending("Stopped", "Stopped", message=reason))

    def _live(self) -> None:
        try:
            ending = self._train()
        except JobFailure as failure:
            ending = Ending("Failed", "Failed", str(failure))
        except Exception as error:  # a fault of ours must end the job, not leave it InProgress for ever
            traceback.print_exc()
            ending = Ending("Failed", "Failed", f"InternalServerError: {error!r} in the local SageMaker; see its log")
        self._finish(ending)
        self._when_ended()

    def _train(self) -> Ending:
        enter(self._store, self.name, "Downloading", TrainingStartTime=now())
        self._bring_inputs()
        code = self._execute()
        ending = self._stop or self._ending_by(code)
        enter(self._store, self.name, "Uploading")
        try:
            self._keep_results()
        except STORAGE_ERRORS as error:
            print(f"{self.name}: {error!r}", file=sys.stderr, flush=True)
            if ending.status != "Failed":
                raise JobFailure(f"ClientError: Artifact upload failed: {error}") from error
        return ending

    def _bring_inputs(self) -> None:
        try:
            self._runner.lay_out(self._request, self._ml)
            for channel in self._request.get("InputDataConfig", []):
                if self._stop is None:
                    self._runner.bring_channel(channel, self._ml)
            if self._checkpoints:
                self._checkpoints.restore()
            self.rules.prepare()
        except STORAGE_ERRORS as error:
            raise JobFailure(f"ClientError: Data download failed: {error}") from error

    def _execute(self) -> int:
        """Runs the program to its end; returns its exit status, 0 if it was stopped before it began."""
        with self._lock:
            if self._stop is not None:
                self._can_stop = False
                return 0
            enter(self._store, self.name, "Training")
            program = self._runner.training(self._request, self._ml, self._log)
            running = self._running = self._machine.processes.start(program)
        try:
            self.rules.start()
            code = self._watch(running)
        finally:
            self._machine.processes.finish(running)
            self._runner.reclaim(self._request, self._ml)
            self.rules.program_ended()
        self._read_log(force=True)
        return code

    def _watch(self, running: RunningProgram) -> int:
        limit_s = self._request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 86400)
        began = written_back = read = time.monotonic()
        while (code := running.wait(_POLL_S)) is None:
            passed = time.monotonic()
            if passed - began > limit_s:
                self.stop(Ending("Stopped", "MaxRuntimeExceeded"))
            if passed - read > _METRICS_EVERY_S:
                self._read_log()
                read = passed
            if passed - written_back > self._machine.settings.checkpoint_every_s:
                self._write_checkpoints()
                written_back = passed
        with self._lock:
            self._can_stop = False
        return code

    def _read_log(self, *, force: bool = False) -> None:
        is_new = self._metrics.feed(self._reader.new_events())
        if is_new or (force and self._metrics.final_metrics()):
            self._store.update(self.name, {"FinalMetricDataList": self._metrics.final_metrics()})

    def _write_checkpoints(self) -> None:
        """Writes changed checkpoints back; a failure is told and tried again, and does not end the job."""
        try:
            if self._checkpoints:
                self._checkpoints.write_back()
        except STORAGE_ERRORS as error:
            print(f"{self.name}: checkpoints were not written back: {error}", file=sys.stderr, flush=True)

    def _keep_results(self) -> None:
        if self._checkpoints:
            self._checkpoints.write_back()
        for folder, address in result_addresses(self._request).items():
            source = self._ml.base / folder
            if not has_files(source):
                continue
            archive = self._folder / archive_name(folder)
            pack(source, archive)
            if isinstance(address, Path):
                link_or_copy(archive, address)
            else:
                self._machine.objects.announce(address, archive)
            if folder == "model":
                uri = address.as_uri() if isinstance(address, Path) else str(address)
                self._store.update(self.name, {"ModelArtifacts": {"S3ModelArtifacts": uri}})

    def _ending_by(self, code: int) -> Ending:
        if code == 0:
            return Ending("Completed", "Completed")
        if self._running and self._running.guard_was_killed:
            reason = "InternalServerError: the guard process of the job was killed, and the job with it"
            return Ending("Failed", "Failed", reason)
        return Ending("Failed", "Failed", failure_reason(self._ml, self._log, code))

    def _finish(self, ending: Ending) -> None:
        self.rules.program_ended()  # of a job that never came to run
        record, end = self._store.get(self.name), now()
        began = record.description.get("TrainingStartTime", end) if record else end
        seconds = max(1, round(end - began))
        enter(
            self._store,
            self.name,
            ending.secondary,
            message=ending.message,
            TrainingJobStatus=ending.status,
            TrainingEndTime=end,
            TrainingTimeInSeconds=seconds,
            BillableTimeInSeconds=seconds,
            **({"FailureReason": ending.reason[:_REASON]} if ending.reason else {}),
        )

    def _make_checkpoints(self) -> Checkpoints | None:
        config = self._request.get("CheckpointConfig")
        if not config:
            return None
        return Checkpoints(self._runner.checkpoint_folder(self._request, self._ml), config["S3Uri"], self._machine.s3)


def enter(store: Store, name: str, secondary: str, *, message: str | None = None, **changes: object) -> None:
    """Writes down a secondary status, and that the one before has ended; a final one ends at once."""

    def transition(description: Json) -> Json:
        at = now()
        before = [{"EndTime": at, **each} for each in description.get("SecondaryStatusTransitions", [])]
        new = {"Status": secondary, "StartTime": at, "StatusMessage": message or _MESSAGES[secondary]}
        ended = {"EndTime": at} if changes.get("TrainingJobStatus") in ("Completed", "Failed", "Stopped") else {}
        return {**changes, "SecondaryStatus": secondary, "SecondaryStatusTransitions": [*before, {**new, **ended}]}

    store.update(name, transition)


def failure_reason(ml: MlPaths, log: Path, code: int) -> str:
    """FailureReason, within the API's limit: the failure file's beginning, or what can be said without one."""
    ending = f", exit code: {code}"
    if ml.failure_file.is_file():
        text = ml.failure_file.read_text(errors="replace").strip()
    else:
        killed = f" (ended by signal {code - 128}; 9 is often a lack of memory)" if code > 128 else ""
        text = f"The training wrote no failure file{killed}. Last lines of its log: {tail(log) or 'none'}"
    return f"AlgorithmError: {text}"[: _REASON - len(ending)] + ending


def result_addresses(request: Json) -> dict[str, S3Address | Path]:
    """Where a job's results go, by the folder under /opt/ml they are packed from."""
    output = read_address(request["OutputDataConfig"]["S3OutputPath"])
    name = request["TrainingJobName"]
    addresses: dict[str, S3Address | Path] = {}
    for folder in ("model", "output/data"):
        path = f"{name}/output/{archive_name(folder)}"
        addresses[folder] = output / path if isinstance(output, Path) else output.below(path)
    return addresses


def archive_name(folder: str) -> str:
    """model.tar.gz or output.tar.gz, for the folder under /opt/ml."""
    return f"{folder.partition('/')[0]}.tar.gz"
