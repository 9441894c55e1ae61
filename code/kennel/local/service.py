"""The local SageMaker: one process, one loopback port, SageMaker's API and what belongs to it.

    kennel local start|stop|status           starts it in the background (kennel.local.daemon)
    python -m kennel.local.service --runs runs --port 0 --idle-minutes 15        runs it in the foreground

A request goes by its X-Amz-Target, its path, and the service its signature is for:
    SageMaker.*             json_protocol -> training_jobs, tuning_jobs, transform_jobs, models, endpoints, tags
    Logs_20140328.*         json_protocol -> logs
    /endpoints/*/invocations     runtime -> the endpoint's server process
    monitoring              cloudwatch: moto, in this process, with the metrics of trainings
    iam, sts                identity: moto, in this process; who asks is a role
    s3                      moto, in this process (restoring.py says what of it survives a restart)
    GET /kennel             {"pid", "runs"}: whether it is alive
"""

import argparse
import dataclasses
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from kennel.errors import KennelError, UserError
from kennel.local.checkout import remove_old_scratch
from kennel.local.cloudwatch import Metrics
from kennel.local.endpoints import Endpoints
from kennel.local.faults import ApiError
from kennel.local.gate import refusal
from kennel.local.identity import Identity
from kennel.local.json_protocol import JsonService, error_response, json_response
from kennel.local.logs import Logs
from kennel.local.machine import Machine
from kennel.local.models import EndpointConfigs, Models
from kennel.local.processes import Processes
from kennel.local.restoring import MotoApp, RestoringS3
from kennel.local.rule_processing import RuleProcessingJobs
from kennel.local.runtime import INVOCATIONS, Runtime
from kennel.local.settings import DEFAULT_BUCKET, HOST, Layout, Settings
from kennel.local.state import (
    ALIVE_PATH,
    STAY,
    ServiceState,
    absolute_runs,
    locked,
    read_choice,
    read_state,
    write_state,
)
from kennel.local.storage import LocalS3
from kennel.local.store import now
from kennel.local.tags import Tags
from kennel.local.training_jobs import TrainingJobs
from kennel.local.transform_jobs import TransformJobs
from kennel.local.tuning_jobs import TuningJobs
from kennel.local.validation import Operation, to_iso

_SIGNED_FOR: Final = re.compile(r"Credential=[^/]+/[^/]+/[^/]+/([^/]+)/aws4_request")
_LOCK_WAIT_S: Final = 3.0

_SDK_CONFIG: Final = f"""SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
      Session:
        DefaultS3Bucket: '{DEFAULT_BUCKET}'
"""


class Service:
    """Everything behind the port. `load` finds what earlier services left; `stop` ends all programs."""

    def __init__(self, layout: Layout, settings: Settings, url: str) -> None:
        self.moto_s3 = MotoApp("s3")
        self.objects = RestoringS3(self.moto_s3)
        self.processes = Processes(layout.runs, orphan_grace_s=settings.orphan_grace_s)
        self.layout = layout
        self.machine = machine = Machine(
            layout, settings, url, self.processes, LocalS3(url, self.objects), self.objects
        )
        self.jobs = TrainingJobs(machine)
        self.tuning = TuningJobs(machine, self.jobs)
        self.models = Models(machine)
        self.configs = EndpointConfigs(machine, self.models)
        self.endpoints = Endpoints(machine, self.configs, self.models)
        self.transforms = TransformJobs(machine, self.models)
        self.operations = {
            "sagemaker": self._operations(),
            "logs": Logs(layout, self.jobs.store, self.transforms.store, endpoints=self.endpoints.store).operations(),
        }
        self._json = {name: JsonService(name, operations) for name, operations in self.operations.items()}
        self._metrics = Metrics(layout, self.jobs.store)
        self._identity = Identity()
        self._runtime = Runtime(self.endpoints, limit_s=settings.invoke_limit_s)
        self._is_ending = False
        self._count_lock = threading.Lock()
        self._in_flight = 0
        self._last_request = time.monotonic()

    def load(self) -> None:
        """Ends what a killed service left running, and reads what is on disk."""
        if count := self.processes.end_remains_of_predecessor():
            print(f"ended {count} processes of a service that was killed", flush=True)
        remove_old_scratch(self.layout.runs)
        self.objects.announce_bucket(DEFAULT_BUCKET)
        for room in (self.jobs, self.tuning, self.models, self.configs, self.endpoints, self.transforms):
            room.load()

    def stop(self) -> None:
        """Stops jobs and servers within their grace times. New ones are refused from now on."""
        self._is_ending = True
        self.tuning.stop_all()
        others = [threading.Thread(target=each.stop_all) for each in (self.endpoints, self.transforms)]
        for other in others:
            other.start()
        self.jobs.stop_all()
        for other in others:
            other.join()
        self.tuning.join_all()

    def kill(self) -> None:
        """Ends jobs and servers now, while `stop` waits for them."""
        for room in (self.jobs, self.endpoints, self.transforms):
            room.kill_all()

    def touch(self) -> None:
        """Counts as work, against being idle."""
        self._last_request = time.monotonic()

    def idle_s(self) -> float:
        """For how long nothing ran and nobody asked."""
        is_busy = self.jobs.running or self.tuning.is_running or self.endpoints.alive or self.transforms.is_running
        if self._in_flight or is_busy:
            self.touch()
        return time.monotonic() - self._last_request

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        if reason := refusal(environ):
            return error_response(ApiError("AccessDeniedException", reason, status=403))(environ, start_response)
        if environ["PATH_INFO"] == ALIVE_PATH and "HTTP_AUTHORIZATION" not in environ:
            return self._alive(environ.get("QUERY_STRING", ""))(environ, start_response)
        with self._counted():
            return self._route(environ, start_response)

    def _route(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        request = Request(environ)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        signed = _SIGNED_FOR.search(environ.get("HTTP_AUTHORIZATION", "") or environ.get("QUERY_STRING", ""))
        name = signed[1] if signed else "s3"
        if self._is_ending and target.startswith(("SageMaker.Create", "SageMaker.Update")):
            ending = ApiError("ServiceUnavailable", "The local SageMaker is ending. Start it again.", status=503)
            return error_response(ending)(environ, start_response)
        if target.startswith("SageMaker."):
            return self._json["sagemaker"].answer(request)(environ, start_response)
        if target.startswith("Logs_"):
            return self._json["logs"].answer(request)(environ, start_response)
        if name == "sagemaker" or (INVOCATIONS.fullmatch(environ["PATH_INFO"]) and name != "s3"):
            return self._runtime.answer(request)(environ, start_response)
        if name == "s3":
            return self.objects(environ, start_response)
        if name == "sts":
            return self._identity.sts(environ, start_response)
        if name == "iam":
            return self._identity.iam(environ, start_response)
        if name == "monitoring":
            return self._metrics(environ, start_response)
        known = "sagemaker, logs, monitoring (CloudWatch), iam, s3 and sts"
        message = f"The local SageMaker does not answer the service '{name}'. It answers {known}."
        return error_response(ApiError("UnknownOperationException", message))(environ, start_response)

    def _operations(self) -> dict[str, Operation]:
        stores = {
            "training-job": self.jobs.store,
            "hyper-parameter-tuning-job": self.tuning.store,
            "transform-job": self.transforms.store,
            "model": self.models.store,
            "endpoint-config": self.configs.store,
            "endpoint": self.endpoints.store,
        }
        rules = RuleProcessingJobs(self.jobs.store)
        jobs = (self.jobs, rules, self.tuning, self.transforms)
        rooms = (*jobs, self.models, self.configs, self.endpoints, Tags(stores))
        return {name: operation for room in rooms for name, operation in room.operations().items()}

    def _alive(self, query: str) -> Response:
        if query == STAY:
            self.touch()
        return json_response({"pid": os.getpid(), "runs": str(self.layout.runs)})

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._count_lock:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._count_lock:
                self._in_flight -= 1
            self.touch()


class QuietHandler(WSGIRequestHandler):
    """Writes no line for each request; programs poll."""

    def log(self, type: str, message: str, *args: object) -> None:
        if type == "error":
            print(message % args if args else message, file=sys.stderr, flush=True)


def serve(runs: Path, *, port: int = 0, idle_s: float = 900) -> None:
    """Answers until SIGTERM or SIGINT, or until nothing ran and nobody asked for `idle_s` seconds.

    Must be called in the main thread of a process that has no other children. Raises UserError when the port is taken
    or another service has the runs folder.
    """
    runs = absolute_runs(runs)
    layout = Layout(runs)
    try:
        with locked(layout.lock_file, wait_s=_LOCK_WAIT_S):
            _serve_locked(layout, port, idle_s)
    except TimeoutError as error:
        state = read_state(runs)
        who = f" (process {state.pid}, {state.url})" if state else ""
        raise UserError(
            f"A local SageMaker already answers for {runs}{who}. Use it, or stop it first with: kennel local stop"
        ) from error


def _serve_locked(layout: Layout, port: int, idle_s: float) -> None:
    _forget_aws()
    layout.state_file.unlink(missing_ok=True)  # of a service that was killed
    listener = listen(port)
    url = f"http://{HOST}:{listener.getsockname()[1]}"
    settings = dataclasses.replace(Settings.from_environ(), on=read_choice(layout.runs))
    service = Service(layout, settings, url)
    service.processes.adopt()
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: _end(service, ending))
    signal.signal(signal.SIGINT, lambda number, frame: _end(service, ending))
    service.load()
    layout.sdk_config.write_text(_SDK_CONFIG)
    server = _http_server(listener, service)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True).start()
    threading.Thread(target=service.moto_s3.load, name="moto", daemon=True).start()
    write_state(ServiceState(os.getpid(), server.port, to_iso(now()), url, str(layout.runs), settings.on))
    print(f"{to_iso(now())} answering for {layout.runs} on {url}", flush=True)
    try:
        _wait(service, ending, idle_s)
    finally:
        layout.state_file.unlink(missing_ok=True)
        service.stop()  # while the port still answers: results go to the local S3 through it
        server.shutdown()
        print(f"{to_iso(now())} ended", flush=True)


def listen(port: int) -> socket.socket:
    """A loopback socket on `port`, or a free one for 0. Raises UserError naming who has the port."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(
            f"Port {port} cannot be used{_owner_of(port)}: {error}. "
            "Choose another with --port, or leave it out and a free one is taken."
        ) from error
    return listener


def _owner_of(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):  # not ours to see
        return ""
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            try:
                return f", process {connection.pid} ({psutil.Process(connection.pid).name()}) listens on it"
            except (psutil.Error, TypeError):
                return ", another program listens on it"
    return ""


def _forget_aws() -> None:
    """Takes this process away from the user's AWS: a profile, a proxy or an address set there must not lead outside."""
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        del os.environ[key]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


def _http_server(listener: socket.socket, service: Service) -> BaseWSGIServer:
    server = make_server(HOST, 0, service, threaded=True, request_handler=QuietHandler, fd=listener.fileno())
    listener.close()  # the server has its own copy
    return server


def _wait(service: Service, ending: threading.Event, idle_s: float) -> None:
    """Until somebody ends the service, or it has been idle."""
    service.touch()
    while not ending.wait(min(1.0, idle_s / 4)):
        if service.idle_s() > idle_s:
            print(f"{to_iso(now())} idle for {idle_s:g} s", flush=True)
            return


def _end(service: Service, ending: threading.Event) -> None:
    """On a signal: end; on the second: kill what is still ending. In a thread, since handlers must not wait."""
    if ending.is_set():
        threading.Thread(target=service.kill, daemon=True).start()
    ending.set()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the service in the foreground; the exit status says how it went."""
    parser = argparse.ArgumentParser(prog="kennel local", description="the local SageMaker, in the foreground")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept (default: runs)")
    parser.add_argument("--port", type=int, default=0, help="loopback port (default: a free one)")
    parser.add_argument("--idle-minutes", type=float, default=15.0, help="ends after so long without work (default 15)")
    options = parser.parse_args(argv)
    try:
        serve(options.runs, port=options.port, idle_s=options.idle_minutes * 60)
    except KennelError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
