"""How the server is set up: SageMaker's environment variables, checked, with their defaults.

    SAGEMAKER_BASE_DIR                     the folder that stands for /opt/ml (its model/ is what is served)
    SAGEMAKER_BIND_TO_PORT                 8080; at most 32766, above which multi-model-server takes none
    SAGEMAKER_MODEL_SERVER_WORKERS         the cores there are, fewer where memory is short, at least 1
    SAGEMAKER_MODEL_SERVER_TIMEOUT         60: SECONDS that a request may take in a worker
    SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS the same, and wins
    SAGEMAKER_STARTUP_TIMEOUT              600: seconds that loading the model may take
    SAGEMAKER_MAX_PAYLOAD_IN_MB            multi-model-server's own limit, 6,553,500 bytes, when not set
    SAGEMAKER_MODEL_SERVER_VMARGS          Java's options, instead of the two below
    SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT   application/json: what a client without an Accept header gets
    KENNEL_LOOPBACK                        1: answer this machine only
    KENNEL_ENGINE                          torch or onnxruntime: what computes; torch where it is installed

The toolkit hands its timeout to multi-model-server, which takes it for minutes: "60" was an hour. Here it is what it
says.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sagemaker_inference import parameters

from kennel.errors import UserError
from kennel.paths import ml_paths
from kennel.serving.engine_choice import choose_engine

# Serial collection and the quick compiler: 0.4 s less of Java's time at the start, and less memory (measured).
DEFAULT_VMARGS: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# What one more worker needs of its own (it shares the model with the others), and what Java, torch and one model need.
_WORKER_BYTES: Final = 512 * 2**20
_BASE_BYTES: Final = 1024 * 2**20
# multi-model-server 1.1.11 compares with Java's largest short integer and calls any port from there on invalid.
HIGHEST_PORT: Final = 32766
_CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class ServerSettings:
    """Everything that can be set about a server."""

    model_dir: Path
    address: str
    port: int
    workers: int
    timeout_s: int
    startup_timeout_s: int
    max_request_bytes: int | None
    vmargs: tuple[str, ...]
    engine: str


def read_settings(environ: Mapping[str, str] = os.environ) -> ServerSettings:
    """The settings an environment asks for. Raises UserError that names the variable, its value and its range."""
    seconds = _whole(environ, parameters.MODEL_SERVER_TIMEOUT_ENV, 60, 1, 3600)
    payload_mb = _whole(environ, parameters.MAX_REQUEST_SIZE, 0, 0, 1000)
    vmargs = environ.get(parameters.MODEL_SERVER_VMARGS)
    return ServerSettings(
        model_dir=ml_paths(environ).model_dir,
        address="127.0.0.1" if environ.get("KENNEL_LOOPBACK") == "1" else "0.0.0.0",  # noqa: S104  a container's duty
        port=_whole(environ, parameters.BIND_TO_PORT_ENV, 8080, 1, HIGHEST_PORT),
        workers=_whole(environ, parameters.MODEL_SERVER_WORKERS_ENV, default_workers(), 1, 1024),
        timeout_s=_whole(environ, parameters.MODEL_SERVER_TIMEOUT_SECONDS_ENV, seconds, 1, 3600),
        startup_timeout_s=_whole(environ, parameters.STARTUP_TIMEOUT_ENV, 600, 1, 3600),
        max_request_bytes=payload_mb * 2**20 or None,
        vmargs=DEFAULT_VMARGS if vmargs is None else tuple(vmargs.split()),
        engine=choose_engine(environ),
    )


def default_workers(cgroup: Path = _CGROUP) -> int:
    """One worker for each core, as far as memory goes; at least one."""
    return max(1, min(_cores(cgroup), (_memory_bytes(cgroup) - _BASE_BYTES) // _WORKER_BYTES))


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


def _cores(cgroup: Path) -> int:
    """The cores this process may run on, or its container's share of them (rounded up)."""
    cores = len(os.sched_getaffinity(0))
    quota, _, period = _first_line(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, math.ceil(int(quota) / int(period)))
    return cores


def _memory_bytes(cgroup: Path) -> int:
    """The machine's memory, or its container's limit (of control groups version 2, or 1)."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _first_line(cgroup / name)
        if limit.isdigit():
            limits.append(int(limit))
    return min(limits)


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # another version of control groups, or none
