"""Where the local SageMaker keeps its files, what it runs, and how long things may take."""

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.errors import UserError

ACCOUNT: Final = "123456789012"  # moto's
ACCESS_KEY: Final = "KENNELLOCALSAGEMAKER"  # as many capitals as AWS gives an id: moto knows no other
REGION: Final = "us-east-1"
DEFAULT_BUCKET: Final = f"sagemaker-{REGION}-{ACCOUNT}"  # the SDK's own name for it
HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class Layout:
    """The files of one runs folder."""

    runs: Path

    def job_dir(self, name: str) -> Path:
        return self.runs / name

    @property
    def local_dir(self) -> Path:
        """Everything that is not a run. Job names cannot begin with a dot."""
        return self.runs / ".local"

    @property
    def state_file(self) -> Path:
        return self.local_dir / "service.json"

    @property
    def lock_file(self) -> Path:
        """Locked for as long as a service lives."""
        return self.local_dir / "service.lock"

    @property
    def start_lock_file(self) -> Path:
        """Locked while somebody starts or stops the service."""
        return self.local_dir / "start.lock"

    @property
    def service_log(self) -> Path:
        return self.local_dir / "service.log"

    @property
    def sdk_config(self) -> Path:
        """What SAGEMAKER_USER_CONFIG_OVERRIDE names."""
        return self.local_dir / "sagemaker-config.yaml"

    @property
    def docker_mark(self) -> Path:
        """There once anything here ran in a container."""
        return self.local_dir / "docker"

    @property
    def choices_file(self) -> Path:
        """What was chosen for every service of this runs folder, and stays chosen when one ends."""
        return self.local_dir / "choices.json"

    def tuning_file(self, name: str) -> Path:
        return self.job_dir(name) / "tuning.json"

    def shared_dir(self, name: str) -> Path:
        """What the trials of a tuning job share; gone when it ends."""
        return self.job_dir(name) / "shared"

    def transform_file(self, name: str) -> Path:
        return self.job_dir(name) / "transform.json"

    def model_file(self, name: str) -> Path:
        return self.local_dir / "models" / f"{name}.json"

    def endpoint_config_file(self, name: str) -> Path:
        return self.local_dir / "endpoint-configs" / f"{name}.json"

    def endpoint_dir(self, name: str) -> Path:
        return self.local_dir / "endpoints" / name


@dataclass(frozen=True)
class Settings:
    """What can be set of a service; each by KENNEL_LOCAL_<NAME> too, which is how tests make it impatient.

    train_command, serve_command: the programs behind the images `kennel-train` and `kennel-serve`
    (KENNEL_TRAIN_COMMAND, KENNEL_SERVE_COMMAND). companion_command: runs the module named after it, beside a job
    (KENNEL_COMPANION_COMMAND). on: the place of jobs and models that name none
    (`kennel local start --on`). The times are SageMaker's own, but for:
    orphan_grace_s: between SIGTERM and SIGKILL when the service itself was killed.
    checkpoint_every_s: how often changed checkpoints and debugging output are written back while a job runs.
    rules_settle_s: how long rules may go on when the training has ended. rules_grace_s: between SIGTERM and SIGKILL.
    """

    train_command: tuple[str, ...] = (str(Path(sys.executable).parent / "train"),)
    serve_command: tuple[str, ...] = (str(Path(sys.executable).parent / "serve"),)
    companion_command: tuple[str, ...] = (sys.executable, "-P", "-m")
    stop_grace_s: float = 120.0
    serve_grace_s: float = 30.0
    orphan_grace_s: float = 15.0
    ping_limit_s: float = 240.0
    ping_every_s: float = 0.2
    invoke_limit_s: float = 60.0
    checkpoint_every_s: float = 5.0
    rules_settle_s: float = 60.0
    rules_grace_s: float = 10.0
    on: str = "local"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """The settings with what the environment changes. Raises UserError for a value that is no number of seconds."""
        changes: dict[str, object] = {}
        for field in dataclasses.fields(cls):
            if field.type is float and (text := environ.get(f"KENNEL_LOCAL_{field.name.upper()}")):
                changes[field.name] = _seconds(f"KENNEL_LOCAL_{field.name.upper()}", text)
        for name in ("train_command", "serve_command", "companion_command"):
            if text := environ.get(f"KENNEL_{name.upper()}"):
                changes[name] = tuple(shlex.split(text))
        return dataclasses.replace(cls(), **changes)  # type: ignore[arg-type]  # as named


def arn(kind: str, name: str) -> str:
    """`arn:aws:sagemaker:us-east-1:123456789012:<kind>/<name>`."""
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind}/{name}"


def client_environment(url: str) -> dict[str, str]:
    """The variables that point boto3 and the SDK at the service on `url`."""
    services = ("SAGEMAKER", "SAGEMAKER_RUNTIME", "CLOUDWATCH", "CLOUDWATCH_LOGS", "IAM", "S3", "STS")
    return {
        **{f"AWS_ENDPOINT_URL_{service}": url for service in services},
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_DEFAULT_REGION": REGION,
        **_past_the_proxy(os.environ),
    }


def _past_the_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """Keeps boto3 from asking a proxy for this machine."""
    if not any(key.lower() in ("http_proxy", "all_proxy") for key in environ):
        return {}
    hosts = [environ.get("no_proxy") or environ.get("NO_PROXY") or "", HOST]
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(host for host in hosts if host))


def _seconds(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UserError(f"{key} has value '{text}'. Expected a number of seconds.")
    return value
