"""Where a job runs: the one switch that launching has (`--on`).

Every place answers SageMaker's own API, so what differs is the session's endpoint, the role and the images' addresses.
"""

import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3

from kennel import __version__
from kennel.errors import UserError

if TYPE_CHECKING:
    from sagemaker.session import Session

LOCAL_ROLE: Final = "arn:aws:iam::000000000000:role/kennel-local"
# This machine is what it is, but the API wants an instance type that exists, and a container gets GPUs by it.
LOCAL_INSTANCE: Final = "ml.m5.large"
LOCAL_GPU_INSTANCE: Final = "ml.g5.xlarge"


@dataclass(frozen=True)
class Place:
    """Clients of a SageMaker that answers, and what its jobs are made with."""

    name: str
    role: str
    train_image: str
    serve_image: str
    instance_type: str
    tags: tuple[dict[str, str], ...] = ()

    @cached_property
    def sagemaker(self) -> Any:  # noqa: ANN401  boto3 makes its clients' classes as it runs
        return boto3.client("sagemaker")

    @cached_property
    def runtime(self) -> Any:  # noqa: ANN401
        return boto3.client("sagemaker-runtime")

    @cached_property
    def logs(self) -> Any:  # noqa: ANN401
        return boto3.client("logs")

    @cached_property
    def session(self) -> "Session":
        """The SDK's session, for what makes jobs and models. Its import takes seconds; the clients above do without."""
        import sagemaker.utils
        from sagemaker.session import Session

        session = Session()
        # The SDK has checked its file of defaults now, and would again at each of about 50 look-ups, 0.2 s each.
        sagemaker.utils.validate_sagemaker_config = lambda config: None
        return session


def runs_folder() -> Path:
    """KENNEL_RUNS, or `runs/` in this checkout: the same folder whatever directory a command is typed in."""
    checkout = Path(__file__).resolve().parents[3]
    return Path(os.environ.get("KENNEL_RUNS") or checkout / "runs").absolute()


def open_place(name: str = "local", *, image: str | None = None) -> Place:
    """A place that answers; the local service is started when it is not running.

    name: `local` or `docker`, which the same service answers for. image: in place of Kennel's own, any that Docker
    can run. Raises UserError for one where nothing runs images.
    """
    from kennel.local import daemon, gpus
    from kennel.local.places import DOCKER, place_tag

    if image and name != DOCKER:
        raise UserError(f"--image {image} needs --on docker: --on {name} runs this checkout, and no image.")

    os.environ.update(daemon.environment(daemon.ensure(runs_folder())))
    # The SDK sets up logging at its import, and logs each call and each default it applies; nothing for this user.
    for logger, level in (
        ("sagemaker", logging.ERROR),
        ("sagemaker.config", logging.ERROR),
        ("botocore", logging.WARNING),
    ):
        logging.getLogger(logger).setLevel(level)
    return Place(
        name=name,
        role=LOCAL_ROLE,
        train_image=image or f"kennel-train:{__version__}",
        serve_image=image or f"kennel-serve:{__version__}",
        instance_type=LOCAL_GPU_INSTANCE if name == DOCKER and gpus.machine_has_gpu() else LOCAL_INSTANCE,
        tags=(place_tag(name),),
    )
