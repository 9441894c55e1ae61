"""How the server is set up: SageMaker's environment variables, checked, with their defaults.

    SAGEMAKER_BASE_DIR                     the folder that stands for /opt/ml (its model/ is what is served)
    SAGEMAKER_BIND_TO_PORT                 8080; at most 32766, above which multi-model-server takes none
    SAGEMAKER_MULTI_MODEL                  true: many models, loaded and unloaded while serving (kennel.serving.gateway)
    SAGEMAKER_MODEL_SERVER_WORKERS         the cores there are, fewer where memory is short, at least 1; with
                                           SAGEMAKER_MULTI_MODEL 1, and it is the number for each model
    SAGEMAKER_MODEL_SERVER_TIMEOUT         60: SECONDS that a request may take in a worker
    SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS the same, and wins
    SAGEMAKER_STARTUP_TIMEOUT              600: seconds that loading the model may take
    SAGEMAKER_MAX_PAYLOAD_IN_MB            multi-model-server's own limit, 6,553,500 bytes, when not set; 0, which batch
                                           transform means by "no limit", is 100, the most it ever sends
    SAGEMAKER_MODEL_SERVER_VMARGS          Java's options, instead of the two below
    SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT   application/json: what a client without an Accept header gets
    KENNEL_LOOPBACK                        1: answer this machine only
    KENNEL_ENGINE                          torch or onnxruntime: what computes; torch where it is installed

What an archive's script is told by, SAGEMAKER_PROGRAM and the like: kennel.serving.source_dir. Variables of torchserve
and multi-model-server (TS_*, SAGEMAKER_TS_*, MMS_*) are named in the log and do nothing.

SAGEMAKER_BATCH, SAGEMAKER_BATCH_STRATEGY and SAGEMAKER_MAX_CONCURRENT_TRANSFORMS tell a container of a batch transform
what is coming; there is nothing to set by them. SAGEMAKER_SAFE_PORT_RANGE offers further ports; none is taken, because
the processes of a server talk over Unix sockets in a folder of its own.

The toolkit hands its timeout to multi-model-server, which takes it for minutes: "60" was an hour. Here it is what it
says.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sagemaker_inference import parameters

from kennel.errors import UserError
from kennel.paths import ml_paths
from kennel.serving.engine_choice import choose_engine
from kennel.serving.resources import CGROUP, cores, memory_bytes

# Serial collection and the quick compiler: 0.4 s less of Java's time at the start, and less memory (measured).
DEFAULT_VMARGS: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# What one more worker needs of its own (it shares the model with the others), and what Java, torch and one model need.
_WORKER_BYTES: Final = 512 * 2**20
_BASE_BYTES: Final = 1024 * 2**20
# multi-model-server 1.1.11 compares with Java's largest short integer and calls any port from there on invalid.
HIGHEST_PORT: Final = 32766
# multi-model-server's limit on a body, and what "0" stands for.
DEFAULT_REQUEST_BYTES: Final = 6_553_500
_UNLIMITED_MB: Final = 100
# torchserve's, which AWS's images for PyTorch run, and multi-model-server's own.
_OF_OTHERS: Final = ("TS_", "SAGEMAKER_TS_", "MMS_")


@dataclass(frozen=True)
class ServerSettings:
    """Everything that can be set about a server."""

    is_multi_model: bool
    model_dir: Path
    models_dir: Path
    address: str
    port: int
    workers: int
    timeout_s: int
    startup_timeout_s: int
    max_request_bytes: int
    vmargs: tuple[str, ...]
    engine: str


def read_settings(environ: Mapping[str, str] = os.environ) -> ServerSettings:
    """The settings an environment asks for. Raises UserError that names the variable, its value and its range."""
    seconds = _whole(environ, parameters.MODEL_SERVER_TIMEOUT_ENV, 60, 1, 3600)
    multi_model = _is_true(environ, parameters.MULTI_MODEL_ENV)
    workers = 1 if multi_model else default_workers()
    vmargs = environ.get(parameters.MODEL_SERVER_VMARGS)
    return ServerSettings(
        is_multi_model=multi_model,
        model_dir=ml_paths(environ).model_dir,
        models_dir=ml_paths(environ).base / "models",
        address="127.0.0.1" if environ.get("KENNEL_LOOPBACK") == "1" else "0.0.0.0",  # noqa: S104  a container's duty
        port=_whole(environ, parameters.BIND_TO_PORT_ENV, 8080, 1, HIGHEST_PORT),
        workers=_whole(environ, parameters.MODEL_SERVER_WORKERS_ENV, workers, 1, 1024),
        timeout_s=_whole(environ, parameters.MODEL_SERVER_TIMEOUT_SECONDS_ENV, seconds, 1, 3600),
        startup_timeout_s=_whole(environ, parameters.STARTUP_TIMEOUT_ENV, 600, 1, 3600),
        max_request_bytes=payload_bytes(environ),
        vmargs=DEFAULT_VMARGS if vmargs is None else tuple(vmargs.split()),
        engine=choose_engine(environ),
    )


def unused_settings(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The variables that set up other servers, or this one past us, and mean nothing here."""
    return sorted(name for name in environ if name.startswith(_OF_OTHERS))


def default_workers(cgroup: Path = CGROUP) -> int:
    """One worker for each core, as far as memory goes; at least one."""
    return max(1, min(cores(cgroup), (memory_bytes(cgroup) - _BASE_BYTES) // _WORKER_BYTES))


def payload_bytes(environ: Mapping[str, str] = os.environ) -> int:
    """The longest body of a request, and of an answer. Raises UserError."""
    name = parameters.MAX_REQUEST_SIZE
    if not environ.get(name, "").strip():
        return DEFAULT_REQUEST_BYTES
    return (_whole(environ, name, 0, 0, 1000) or _UNLIMITED_MB) * 2**20


def _is_true(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").strip().lower()
    if text not in ("", "true", "false"):
        raise UserError(f"{name} is {environ[name]!r}. Expected true or false.")
    return text == "true"


def _whole(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise UserError(f"{name} is {text!r}. Expected a whole number from {low} to {high}.")
    return value
