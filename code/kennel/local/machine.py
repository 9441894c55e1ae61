"""What the operations of the local SageMaker stand on: files, processes, the local S3; and what programs are told."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.local.images import is_aws_image
from kennel.local.processes import Processes
from kennel.local.remains import MARKER
from kennel.local.restoring import RestoringS3
from kennel.local.settings import REGION, Layout, Settings, client_environment
from kennel.local.storage import LocalS3
from kennel.local.validation import Json
from kennel.stand_in import STANDS_IN_FOR

# What the service's own environment must not pass on: another job's settings, an AWS account, our own switches.
_NOT_INHERITED: Final = ("SM_", "SAGEMAKER_", "TRAINING_JOB_", "AWS_", "KENNEL_LOCAL_", "PYTEST_", MARKER)
# Read by kennel.training; the same name there.
SHARED_DIR: Final = "KENNEL_SHARED_DIR"
_COMMANDS: Final = ("KENNEL_TRAIN_COMMAND", "KENNEL_SERVE_COMMAND", "KENNEL_COMPANION_COMMAND")


@dataclass(frozen=True)
class Machine:
    """This machine, as the service uses it. url: the service's own address."""

    layout: Layout
    settings: Settings
    url: str
    processes: Processes
    s3: LocalS3
    objects: RestoringS3


def program_environ(
    machine: Machine, *, image: Mapping[str, str], user: Mapping[str, str], platform: Mapping[str, str]
) -> dict[str, str]:
    """A program's environment, later ones winning: this machine's, the image's ENV, the request's, the platform's."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith((*_NOT_INHERITED, *_COMMANDS))}
    program = (machine.settings.train_command or ("train",))[0]
    path = os.pathsep.join(dict.fromkeys([str(Path(program).parent), *inherited.get("PATH", "").split(os.pathsep)]))
    own = {**client_environment(machine.url), "AWS_REGION": REGION}
    return {**inherited, "PATH": path, "PYTHONUNBUFFERED": "1", **image, **user, **own, **platform}


def training_environ(machine: Machine, request: Json, *, base: Path, job_arn: str) -> dict[str, str]:
    """What a training program is told; `base` stands for /opt/ml."""
    return program_environ(
        machine,
        image={"SAGEMAKER_PROGRAM": "train.py", "SAGEMAKER_TRAINING_MODULE": "kennel.training.toolkit:main"},
        user=request.get("Environment", {}),
        platform={
            "SAGEMAKER_BASE_DIR": str(base),
            "TRAINING_JOB_NAME": request["TrainingJobName"],
            "TRAINING_JOB_ARN": job_arn,
            **_debugger_environ(request, base),
            **_tuning_environ(machine, request),
            **_stand_in_environ(request["AlgorithmSpecification"]["TrainingImage"]),
        },
    )


def shared_dir(machine: Machine, request: Json) -> Path | None:
    """Where the trials of a tuning job leave what others need not compute again; None where nothing is shared.

    The Environment of the job itself may name another folder, or an empty one for none.
    """
    if "TuningJobArn" not in request or SHARED_DIR in request.get("Environment", {}):
        return None
    return machine.layout.shared_dir(request["TuningJobArn"].rpartition("/")[2])


def _tuning_environ(machine: Machine, request: Json) -> dict[str, str]:
    folder = shared_dir(machine, request)
    return {SHARED_DIR: str(folder)} if folder else {}


def _stand_in_environ(image: str) -> dict[str, str]:
    """For whose image the program stands in; it says so in its log."""
    return {STANDS_IN_FOR: image} if is_aws_image(image) else {}


def _debugger_environ(request: Json, base: Path) -> dict[str, str]:
    """Where smdebug finds what it looks for under /opt/ml, for scripts that make their hook from that."""
    files = {
        "DebugHookConfig": ("SMDEBUG_CONFIG_FILE_PATH", "debughookconfig.json"),
        "ProfilerConfig": ("SMPROFILER_CONFIG_PATH", "profilerconfig.json"),
        "TensorBoardOutputConfig": ("TENSORBOARD_CONFIG_FILE_PATH", "tensorboardoutputconfig.json"),
        "CheckpointConfig": ("CHECKPOINT_CONFIG_FILE_PATH", "checkpointconfig.json"),
    }
    config = base / "input" / "config"
    return {variable: str(config / file) for member, (variable, file) in files.items() if member in request}


def serving_environ(machine: Machine, container: Json, *, base: Path, port: int, scratch: Path) -> dict[str, str]:
    """What a server is told; `base` stands for /opt/ml, `scratch` for /tmp (one server each, by its pid file)."""
    return program_environ(
        machine,
        image={},
        user=container.get("Environment", {}),
        platform={
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "KENNEL_LOOPBACK": "1",
            "TMPDIR": str(scratch),
            **_stand_in_environ(container["Image"]),
        },
    )
