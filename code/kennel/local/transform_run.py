"""One batch transform's life: its server comes up, every object goes through it, and its end. A thread of its own.

runs/<job>/  transform.json, log.txt (the server's), data-log.txt (SageMaker's own lines), output/ (what went to S3)
"""

import shutil
import sys
import threading
import traceback
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.local.faults import ApiError
from kennel.local.log_file import LogWriter
from kennel.local.machine import Machine
from kennel.local.models import container_of
from kennel.local.runners import Hosted, Place
from kennel.local.servers import Server, ServerFailure
from kennel.local.settings import Layout
from kennel.local.storage import STORAGE_ERRORS, read_address
from kennel.local.store import Store, now
from kennel.local.transform_client import Ended, TransformClient, ask_parameters
from kennel.local.transform_feed import Feed, say
from kennel.local.transform_inputs import sources
from kennel.local.transform_join import read_processing
from kennel.local.transform_outputs import Outputs
from kennel.local.transform_plan import batch_environ, make_plan
from kennel.local.transform_requests import Requests
from kennel.local.validation import Json

_REASON: Final = 1024
_KIND: Final = "transform-jobs"


@dataclass(frozen=True)
class Ending:
    """How a job ended."""

    status: str
    reason: str | None = None


class TransformRun:
    """A job that runs. `start` returns at once; what happens is seen in the store."""

    def __init__(self, request: Json, model: Json, machine: Machine, store: Store) -> None:
        """model: CreateModel's request."""
        self.name: str = request["TransformJobName"]
        self._request = request
        self._machine = machine
        self._store = store
        self._folder = work_folder(machine.layout, self.name)
        self._server = Server(_hosted(request, model), Place(self._folder, 1), machine)
        self._is_stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._live, name=f"transform {self.name}", daemon=True)

    def start(self) -> None:
        """Begins the job's life."""
        self._thread.start()

    def join(self) -> None:
        """Waits until the job has ended."""
        self._thread.join()

    def stop(self) -> None:
        """Asks the job to stop: nothing more is sent, and the server has its grace time. What is written stays."""
        with self._lock:
            record = self._store.get(self.name)
            if record and record.description["TransformJobStatus"] == "InProgress":
                self._store.update(self.name, {"TransformJobStatus": "Stopping"})
                self._is_stopped.set()

    def kill(self) -> None:
        """Ends the server without its grace time."""
        self.stop()
        self._server.kill()

    def _live(self) -> None:
        try:
            ending = self._run()
        except Ended:
            ending = Ending("Stopped")
        except ServerFailure as failure:
            ending = Ending("Failed", f"AlgorithmError: {failure}")
        except (ApiError, *STORAGE_ERRORS) as error:
            ending = Ending("Failed", f"ClientError: {error}")
        except Exception as error:  # a fault of ours must end the job, not leave it InProgress for ever
            traceback.print_exc()
            ending = Ending("Failed", f"InternalServerError: {error!r} in the local SageMaker; see its log")
        ended = now()
        self._server.stop()
        clear(self._folder)
        self._finish(ending, ended)

    def _run(self) -> Ending:
        self._store.update(self.name, {"TransformStartTime": now()})
        self._server.bring_model()
        self._check()
        self._server.start()
        limit_s = self._machine.settings.ping_limit_s
        self._server.wait_until_healthy(limit_s, lambda: not self._is_stopped.is_set())
        self._check()
        with closing(LogWriter(data_log(self._folder))) as log:
            return _ending(self._transform(log))

    def _transform(self, log: LogWriter) -> Feed:
        address = self._server.address
        assert address is not None, "a healthy server has an address"  # noqa: S101  for the type
        plan = make_plan(self._request, ask_parameters(address))
        say(log, str(plan))
        if (count := self._request["TransformResources"]["InstanceCount"]) > 1:
            say(log, f"InstanceCount={count}: on this one machine one server takes the place of all")
        with closing(TransformClient(address, plan, _headers(self._request), self._is_ended)) as client:
            split_type = self._request["TransformInput"].get("SplitType", "None")
            requests = Requests(client, plan, read_processing(self._request), split_type)
            assembly = self._request["TransformOutput"].get("AssembleWith", "None")
            feed = Feed(requests, outputs_of(self._request, self._machine), log, self._check, assembly)
            feed.send(sources(self._request, self._machine.s3), concurrent=plan.concurrent)
        return feed

    def _is_ended(self) -> bool:
        return self._is_stopped.is_set() or self._server.exit_status(0) is not None

    def _check(self) -> None:
        """Raises Ended when the job is being stopped, ServerFailure when its server has ended by itself."""
        if self._is_stopped.is_set():
            raise Ended
        if self._server.address is not None and (code := self._server.exit_status(0)) is not None:
            raise self._server.died(code)

    def _finish(self, ending: Ending, ended: float) -> None:
        """ended: when the last output was written; a server takes a while to stop."""
        with self._lock:
            if self._is_stopped.is_set() and not (ending.reason or "").startswith("Internal"):
                ending = Ending("Stopped")
            if ending.reason:
                print(f"transform job {self.name}: {ending.reason}", file=sys.stderr, flush=True)
            reason = {"FailureReason": ending.reason[:_REASON]} if ending.reason else {}
            self._store.update(self.name, {"TransformJobStatus": ending.status, "TransformEndTime": ended, **reason})


def work_folder(layout: Layout, name: str) -> Path:
    """Where a job's files are: its run folder, or one in there when a training of the same name has that."""
    folder = layout.job_dir(name)
    is_taken = any((folder / each).exists() for each in ("job.json", "tuning.json"))
    return folder / "transform" if is_taken else folder


def data_log(folder: Path) -> Path:
    """What SageMaker itself says of the data, beside log.txt, which is the server's."""
    return folder / "data-log.txt"


def outputs_of(request: Json, machine: Machine) -> Outputs:
    """Where a job's outputs are, and go."""
    address = read_address(request["TransformOutput"]["S3OutputPath"])
    return Outputs(address, work_folder(machine.layout, request["TransformJobName"]), machine.objects)


def clear(folder: Path) -> None:
    """Removes what only a running job needs."""
    shutil.rmtree(folder / "ml", ignore_errors=True)
    (folder / "part").unlink(missing_ok=True)


def _ending(feed: Feed) -> Ending:
    if not feed.faults:
        return Ending("Completed")
    failed, total = len(feed.faults), len(feed.faults) + feed.finished
    which = f"{failed} of {total} objects failed, the first: " if total > 1 else ""
    return Ending("Failed", f"ClientError: See job logs for more information. {which}{feed.faults[0]}")


def _hosted(request: Json, model: Json) -> Hosted:
    container = container_of(model)
    environ = {**container.get("Environment", {}), **request.get("Environment", {}), **batch_environ(request)}
    resources = {"InstanceType": request["TransformResources"]["InstanceType"]}
    return Hosted(request["TransformJobName"], model, {**container, "Environment": environ}, resources, kind=_KIND)


def _headers(request: Json) -> dict[str, str]:
    headers = {
        "Content-Type": request["TransformInput"].get("ContentType"),
        "Accept": request["TransformOutput"].get("Accept"),
    }
    return {key: value for key, value in headers.items() if value}
