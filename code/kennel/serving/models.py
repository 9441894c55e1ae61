"""The models of a multi-model server, as its gateway sees them: loaded, asked, unloaded, or lost.

A model is a process of its own (kennel.serving.keeper) with workers under it. What goes wrong in one costs that model:
a worker that is killed is replaced without loading anything and its request asked again; one that takes too long is
killed; when the model's own process is killed, by the kernel for want of memory, the model is no longer loaded, and
SageMaker loads it again when it is asked for. Exercise it: pytest tests/contract/test_multi_model_contract.py
"""

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from kennel.errors import KennelError
from kennel.serving import nursery
from kennel.serving.lifeline import summary
from kennel.serving.reply import Reply
from kennel.serving.resources import free_memory_bytes
from kennel.serving.settings import ServerSettings

# How long requests that are under way may take when a model or the server is to end; SageMaker kills after 30 s.
DRAIN_S: Final = 24.0
# Requests that may wait for a worker of a model: as many as multi-model-server lets wait.
_QUEUE: Final = 100
_HIRE_DEADLINE_S: Final = 10.0
_END_DEADLINE_S: Final = 10.0
# What loading takes at most, in sizes of the archive's largest file: 4.3 with ONNX Runtime, 2 with torch (resnet50,
# measured), and 64 MB for the pictures that go through it. A 507 too many costs a load, one too few a killed process.
_COPIES: Final = 4
_WORK_BYTES: Final = 64 * 2**20
_MEMORY: Final = "Unload another model, or use a larger instance."


class Refusal(KennelError):
    """Why something is not done: `status` is the HTTP status, `code` is for programs, the message for people."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Page:
    """Some of the loaded models in the order of their names, and where the next page goes on, if there is one."""

    models: tuple["Model", ...]
    next_token: str | None


class Models:
    """All models that are loaded. Every method may be called by several threads."""

    def __init__(self, folder: Path, settings: ServerSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._models: dict[str, Model] = {}
        self._numbers = count(1)
        # One at a time: what is free can only be judged while nobody else is taking it.
        self._loading = threading.Lock()

    def __len__(self) -> int:
        return len(self._models)

    def load(self, name: str, url: str) -> "Model":
        """The model in the folder `url`, proved on its golden predictions. Raises Refusal."""
        with self._loading:
            if name in self._models:
                raise Refusal(HTTPStatus.CONFLICT, "already_loaded", f"Model {name} is already loaded.")
            model_dir = _model_dir(url, self._settings.models_dir)
            _check_memory(model_dir)
            model = self._start(name, url, model_dir)
            self._models[name] = model
        threading.Thread(target=self._watch, args=(model,), daemon=True).start()
        _log(
            f"loaded: model={name} url={url} {summary(model.description, model.golden)} "
            f"load_s={model.load_s:.2f} models={len(self)}"
        )
        return model

    def get(self, name: str) -> "Model":
        """Raises Refusal (404)."""
        model = self._models.get(name)
        if model is None:
            raise _not_loaded(name)
        return model

    def unload(self, name: str) -> None:
        """Returns when requests under way were answered and the model's processes are gone. Raises Refusal (404)."""
        model = self._models.pop(name, None)
        if model is None:
            raise _not_loaded(name)
        model.end()
        _log(f"unloaded: model={name} models={len(self)}")

    def page(self, limit: int, token: str | None) -> Page:
        """At most `limit` models; the first page where there is no token."""
        models = dict(self._models)
        names = sorted(models)
        start = bisect_right(names, token) if token else 0
        chosen = names[start : start + limit]
        has_more = start + limit < len(names)
        return Page(tuple(models[name] for name in chosen), chosen[-1] if has_more else None)

    def _start(self, name: str, url: str, model_dir: Path) -> "Model":
        started = time.monotonic()
        address = self._folder / f"model-{next(self._numbers)}.sock"
        control = socket.socket(socket.AF_UNIX)
        control.settimeout(self._settings.startup_timeout_s)
        control.connect(str(self._folder / nursery.SOCKET))
        nursery.request(control, model_dir, address)
        pid, loaded = _until_loaded(control, self._settings.startup_timeout_s)
        control.settimeout(None)
        model = Model(
            name=name,
            url=url,
            description=loaded["model"],
            golden=loaded["golden"],
            load_s=time.monotonic() - started,
            pid=pid,
            control=control,
            address=address,
            timeout_s=self._settings.timeout_s,
            slots=threading.Semaphore(self._settings.workers),
        )
        model.hire(self._settings.workers)
        return model

    def _watch(self, model: "Model") -> None:
        """Forgets a model whose process ended without being asked to."""
        model.wait()
        if self._models.get(model.name) is model:
            self._models.pop(model.name, None)
            _log(f"WARNING lost: model={model.name}: its process was killed. If memory ran out: {_MEMORY}")
            model.end()


@dataclass(eq=False)
class Model:
    """A model that is loaded. `slots` has one place for each of its workers."""

    name: str
    url: str
    description: dict[str, Any]
    golden: int
    load_s: float
    pid: int
    control: socket.socket
    address: Path
    timeout_s: int
    slots: threading.Semaphore
    _idle: list["_Worker"] = field(default_factory=list)
    _asked: int = 0
    _is_ending: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def hire(self, workers: int) -> None:
        """Starts workers before anybody asks."""
        self._idle.extend([self._hire() for _ in range(workers)])

    def answer(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """What a worker makes of a request. Raises Refusal."""
        with self._changed:
            if self._is_ending:
                raise _not_loaded(self.name)
            if self._asked >= _QUEUE:
                raise Refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", f"{_QUEUE} requests wait for model {self.name}."
                )
            self._asked += 1
        try:
            if not self.slots.acquire(timeout=self.timeout_s):
                raise Refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "overloaded",
                    f"No worker of model {self.name} was free within {self.timeout_s} s.",
                )
            try:
                return self._ask(headers, body)
            finally:
                self.slots.release()
        finally:
            with self._changed:
                self._asked -= 1
                self._changed.notify_all()

    def wait(self) -> None:
        """Returns when the model's process has ended."""
        try:
            self.control.recv(1)
        except OSError:
            return

    def end(self) -> None:
        """Lets requests under way be answered, and returns when nothing of the model is left."""
        with self._changed:
            self._is_ending = True
            self._changed.wait_for(lambda: self._asked == 0, DRAIN_S)
        _end_group(self.pid)
        self.control.close()
        self.address.unlink(missing_ok=True)
        for worker in self._idle:
            worker.close()

    def _ask(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """One more try, with a new worker, where the first was killed: a request asks for nothing but an answer."""
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = self._hire()
        reply = self._try(worker, headers, body) or self._try(self._hire(), headers, body)
        if reply is None:
            message = "The worker was killed over this request, twice."
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "worker_killed", message)
        return reply

    def _try(self, worker: "_Worker", headers: Mapping[str, str], body: bytes) -> Reply | None:
        """None where the worker was killed. Raises Refusal where it took too long."""
        try:
            reply = worker.ask(headers, body, self.timeout_s)
        except TimeoutError as error:
            worker.kill()
            message = f"The answer took more than {self.timeout_s} s (SAGEMAKER_MODEL_SERVER_TIMEOUT)."
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "timeout", message) from error
        except (EOFError, OSError):
            worker.close()
            return None
        self._idle.append(worker)
        return reply

    def _hire(self) -> "_Worker":
        try:
            return _hire(self.address, self.timeout_s)
        except (EOFError, OSError) as error:
            _end_group(self.pid)  # what cannot make workers is of no use; `wait` returns by it
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "lost", f"Model {self.name} had to be unloaded. Load it again."
            ) from error


@dataclass(frozen=True)
class _Worker:
    """A process that answers one request at a time."""

    pid: int
    connection: Connection

    def ask(self, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Reply:
        """Raises TimeoutError, and EOFError or OSError where the worker is gone."""
        try:
            self.connection.send_bytes(json.dumps(dict(headers)).encode())
            self.connection.send_bytes(body)
        except BlockingIOError as error:
            raise TimeoutError from error
        if not self.connection.poll(timeout_s):
            raise TimeoutError
        status, content_type = json.loads(self.connection.recv_bytes())
        return Reply(status, self.connection.recv_bytes(), content_type)

    def kill(self) -> None:
        """Its id is its own as long as the connection is open."""
        os.kill(self.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        self.connection.close()


def _hire(address: Path, timeout_s: int) -> _Worker:
    """A new worker. Raises EOFError or OSError where there is nobody to make one."""
    client = socket.socket(socket.AF_UNIX)
    # A worker that hangs does not read either, and its socket holds less than a picture.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", timeout_s, 0))
    try:
        client.connect(str(address))
    except OSError:
        client.close()
        raise
    connection = Connection(client.detach())
    if not connection.poll(_HIRE_DEADLINE_S):
        connection.close()
        raise TimeoutError(f"no worker within {_HIRE_DEADLINE_S:.0f} s")
    return _Worker(int(connection.recv_bytes()), connection)


def _until_loaded(control: socket.socket, timeout_s: float) -> tuple[int, dict[str, Any]]:
    """The process id of a model and what it says of itself. Raises Refusal, with nothing left of it."""
    pid = 0
    try:
        with control.makefile("rb") as lines:
            pid = json.loads(lines.readline())["pid"]
            loaded = json.loads(lines.readline() or "{}")
    except (OSError, ValueError) as error:  # ValueError: it was killed before it said its id
        loaded = {"kind": "fault", "reason": f"The model was not loaded within {timeout_s:.0f} s ({error})."}
    if "model" in loaded:
        return pid, loaded
    control.close()
    if pid:
        _end_group(pid)
    if not loaded:
        loaded = {"kind": "memory", "reason": "The process that loaded the model was killed."}
    raise _load_refusal(**loaded)


def _load_refusal(kind: str, reason: str) -> Refusal:
    if kind == "memory":
        return Refusal(HTTPStatus.INSUFFICIENT_STORAGE, "out_of_memory", f"{reason} {_MEMORY}")
    if kind == "archive":
        return Refusal(HTTPStatus.BAD_REQUEST, "bad_archive", reason)
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "load_failed", reason)


def _model_dir(url: str, models_dir: Path) -> Path:
    """The folder of a model, which must be one of SageMaker's. Raises Refusal."""
    folder = Path(os.path.normpath(models_dir / url))
    if not folder.is_relative_to(models_dir) or folder == models_dir:
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad_url", f"url is {url!a:.200}. Expected a folder under {models_dir}/.")
    if not folder.is_dir():
        raise Refusal(
            HTTPStatus.NOT_FOUND,
            "no_such_folder",
            f"There is no model: {folder} is not a folder. Expected "
            "an unpacked model.tar.gz there (SAGEMAKER_BASE_DIR moves /opt/ml).",
        )
    return folder


def _check_memory(model_dir: Path) -> None:
    """Raises Refusal (507) before the kernel would have to kill somebody."""
    largest = max((path.stat().st_size for path in model_dir.rglob("*") if path.is_file()), default=0)
    needed, free = _COPIES * largest + _WORK_BYTES, free_memory_bytes()
    if needed > free:
        raise Refusal(
            HTTPStatus.INSUFFICIENT_STORAGE,
            "out_of_memory",
            f"Loading {model_dir} needs about {needed / 2**20:.0f} MB of memory, and {free / 2**20:.0f} MB are free. "
            f"{_MEMORY}",
        )


def _not_loaded(name: str) -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, "not_loaded", f"Model {name} is not loaded.")


def _end_group(pid: int) -> None:
    """Kills a model with its workers, and returns when the last of them is gone."""
    deadline = time.monotonic() + _END_DEADLINE_S
    try:
        os.killpg(pid, signal.SIGKILL)
        while time.monotonic() < deadline:
            os.killpg(pid, 0)
            time.sleep(0.002)
    except ProcessLookupError:
        return


def _log(line: str) -> None:
    print(line, file=sys.stderr if line.startswith("WARNING") else sys.stdout, flush=True)
