"""What multi-model-server is given: its files, its command, its environment; and the one question it is asked.

It is started as its own launcher starts it (mms.model_server), but not by it and not by
sagemaker_inference.model_server: those leave java behind when they are stopped, refuse to run twice on a machine,
write to /etc, wait ten minutes for a Java that is not there, and put the management API on the public port
(sagemaker-inference 1.10.1, multi-model-server 1.1.11).

Everything is in one private folder, so that two servers never meet and a read-only machine is enough:

    mms.properties, log4j2.xml    the settings; the log goes to stderr and is silent about requests that went well
    home/mms/                     multi-model-server's home, with our script for a worker (see kennel.serving.standin)
    models/model/                 empty: multi-model-server wants a folder for a model, and must not touch the real one
    management.sock               the management API: a socket in this folder, so no port and nobody else
    .mms.sock.9000, *-stdout, ... its sockets and pipes to the workers
"""

import http.client
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kennel.errors import ContractError
from kennel.serving import native
from kennel.serving.java import Java
from kennel.serving.settings import ServerSettings

MODEL: Final = "model"
WORKER_LIFELINE: Final = "worker.lifeline"
STANDIN_LIFELINE: Final = "standin.lifeline"
NURSERY_LIFELINE: Final = "nursery.lifeline"
GATEWAY_LIFELINE: Final = "gateway.lifeline"
PULSE: Final = "pulse"
# Java's name for the socket of its first backend, which is the only one.
WORKER_SOCKET: Final = ".mms.sock.9000"
_MANAGEMENT: Final = "management.sock"
_HANDLER: Final = "kennel.serving.handler"
# The longest path a Unix socket may have is 107 bytes; the longest name in the folder is "/management.sock".
_LONGEST_FOLDER: Final = 107 - len(f"/{_MANAGEMENT}")
_NAME_PREFIX: Final = "kennel-serve-"

# What workers write to stderr is logged as warnings; attachIOStreams is multi-model-server's own chatter among them.
_LOG4J2: Final = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <Console name="worker" target="SYSTEM_ERR"><PatternLayout pattern="%m%n"/></Console>
    <Console name="server" target="SYSTEM_ERR">
      <PatternLayout pattern="%p multi-model-server %c{1}: %m %ex{short}%n"/>
    </Console>
  </Appenders>
  <Loggers>
    <Logger name="com.amazonaws.ml.mms.wlm.WorkerLifeCycle" level="warn" additivity="false">
      <RegexFilter regex="(attach|terminate)IOStreams.*" onMatch="DENY" onMismatch="NEUTRAL"/>
      <AppenderRef ref="worker"/>
    </Logger>
    <Logger name="com.amazonaws.ml.mms.metrics" level="off"/>
    <Logger name="io.netty" level="error"/>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="MMS_METRICS" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Root level="warn"><AppenderRef ref="server"/></Root>
  </Loggers>
</Configuration>
"""
# It imports from where this process does, and from nowhere else.
_SCRIPT: Final = """import sys
from pathlib import Path

sys.path[:] = {path!r}
from kennel.serving.standin import main

main(Path({lifeline!r}))
"""


@contextmanager
def private_folder(*, is_for_java: bool = True) -> Iterator[Path]:
    """A new folder that this server alone uses, removed at the end. Raises ContractError where none can be had."""
    must_run = is_for_java and not native.is_unpacked()
    folder = Path(tempfile.mkdtemp(prefix=_NAME_PREFIX, dir=_parent_folder(must_run=must_run)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_files(folder: Path, settings: ServerSettings) -> None:
    """Everything multi-model-server reads, into `folder`."""
    properties = "".join(f"{key}={value}\n" for key, value in _properties(folder, settings).items())
    (folder / "mms.properties").write_text(properties)
    (folder / "log4j2.xml").write_text(_LOG4J2)
    (folder / "models" / MODEL).mkdir(parents=True)
    metrics = folder / "home" / "mms" / "metrics"
    metrics.mkdir(parents=True)
    (metrics / "metric_collector.py").write_text(
        "# multi-model-server runs this once. Nobody reads what it would measure.\n"
    )
    script = _SCRIPT.format(path=sys.path, lifeline=str(folder / STANDIN_LIFELINE))
    (folder / "home" / "mms" / "model_service_worker.py").write_text(script, encoding="utf-8")


def worker_command(folder: Path) -> list[str]:
    """What starts the process that loads the model and has the workers as its forks."""
    return [sys.executable, "-P", "-m", "kennel.serving.worker", str(folder)]


def nursery_command(folder: Path) -> list[str]:
    """What starts the process that models are forked from."""
    return [sys.executable, "-P", "-m", "kennel.serving.nursery", str(folder)]


def gateway_command(folder: Path) -> list[str]:
    """What starts the HTTP side of a server of many models."""
    return [sys.executable, "-P", "-m", "kennel.serving.gateway", str(folder)]


def java_command(folder: Path, settings: ServerSettings, java: Java) -> list[str]:
    """What starts multi-model-server on `write_files`' folder, where the worker's socket is by then."""
    return [
        str(java.executable),
        f"-Dmodel_server_home={folder / 'home'}",
        f"-Djava.io.tmpdir={folder}",
        f"-Dlog4j.configurationFile={(folder / 'log4j2.xml').as_uri()}",
        *([f"-Djava.library.path={native.library_folder()}"] if native.is_unpacked() else []),
        *_quiet_java(java),
        *settings.vmargs,
        "-cp",
        str(native.jar()),
        "com.amazonaws.ml.mms.ModelServer",
        *("--python", sys.executable, "-f", str(folder / "mms.properties")),
        *("-s", str(folder / "models"), "-m", f"{MODEL}={MODEL}"),
    ]


def environment(folder: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of java and of the workers."""
    ours = {name: value for name, value in environ.items() if name not in ("MMS_CONFIG_FILE", "MODEL_SERVER_HOME")}
    return ours | {
        "TMPDIR": str(folder),
        # One thread for each worker: more only cost, on these models and with a worker for each core (measured).
        "OMP_NUM_THREADS": "1",
        # Else multi-model-server parses JSON itself, and a body that is none takes the worker down.
        "MMS_DECODE_INPUT_REQUEST": "false",
    }


def ready_workers(folder: Path) -> int:
    """How many workers have the model, by multi-model-server's own account; 0 while it does not answer."""
    connection = _UnixConnection(folder / _MANAGEMENT)
    try:
        connection.request("GET", f"/models/{MODEL}")
        description = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
    return sum(worker["status"] == "READY" for worker in description.get("workers", ()))


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _properties(folder: Path, settings: ServerSettings) -> dict[str, str | int]:
    return {
        "inference_address": f"http://{settings.address}:{settings.port}",
        "management_address": f"unix:{folder / _MANAGEMENT}",
        "default_service_handler": _HANDLER,
        "default_workers_per_model": settings.workers,
        "default_response_timeout_seconds": settings.timeout_s,
        "number_of_gpu": 0,
        "number_of_netty_threads": 1,
        "netty_client_threads": 1,
        "decode_input_request": "false",
        # It would put the model's folder before the standard library: an archive could then replace any module.
        "blacklist_env_vars": "PYTHONPATH",
        "metric_time_interval": 2**31 - 1,
        "enable_envvars_config": "false",
        "max_request_size": settings.max_request_bytes,
        "max_response_size": settings.max_request_bytes,
    }


def _quiet_java(java: Java) -> list[str]:
    """Newer Javas warn at every start of what netty 4.1 does; these say that it is known."""
    options = ["--enable-native-access=ALL-UNNAMED"] if java.version >= 17 else []
    return options + (["--sun-misc-unsafe-memory-access=allow"] if java.version >= 23 else [])


def _parent_folder(*, must_run: bool) -> Path:
    """Where a private folder can be: writable, and its path short enough for a socket's.

    must_run: Java unpacks a library there, and cannot load it from a place mounted with noexec (kennel.serving.native).
    """
    refused = []
    for parent in dict.fromkeys(Path(name) for name in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")):  # noqa: S108
        reason = _objection(parent, must_run=must_run)
        if reason is None:
            return parent
        refused.append(f"{parent} ({reason})")
    raise ContractError(
        f"The server has no place for its sockets: {', '.join(refused)}. Set TMPDIR to one that will do."
    )


def _objection(parent: Path, *, must_run: bool) -> str | None:
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        return "not a folder that can be written to"
    if must_run and os.statvfs(parent).f_flag & os.ST_NOEXEC:
        return "mounted with noexec"
    path = str(parent / f"{_NAME_PREFIX}12345678")
    if len(path) > _LONGEST_FOLDER or not path.isascii():
        return "its path is too long for a socket, or not plain ASCII"
    return None
