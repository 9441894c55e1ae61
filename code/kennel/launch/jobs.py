"""Training jobs from one description, made with the SDK's own objects.

job = TrainingJob(name="first", channels={"data": "file:///photos"}, hyperparameters={"epochs": "5"})
create_training_job(job, open_place("local"))
"""

import dataclasses
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from kennel.aws.words import explained, in_words
from kennel.errors import KennelError, UserError
from kennel.hyperparameters import read_hyperparameters
from kennel.launch import debugging as debuggings
from kennel.launch import resources as machines
from kennel.launch.creation import created_once
from kennel.launch.debugging import Debugging
from kennel.launch.places import Place
from kennel.launch.resources import Resources
from kennel.launch.watching.attend import unbroken
from kennel.launch.watching.kinds import TRAINING, is_missing
from kennel.metrics import metric_definitions

_NAME: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


@dataclass(frozen=True)
class TrainingJob:
    """What to run; nothing in it says where."""

    name: str
    channels: Mapping[str, str]  # channel -> s3:// or file:// address
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    checkpoint_uri: str | None = None
    debugging: Debugging | None = None


def check_name(name: str, what: str) -> str:
    """`name`, if SageMaker takes it for a job, model or endpoint; else UserError with a name that it would take."""
    if _NAME.fullmatch(name):
        return name
    raise UserError(
        f"{what} name '{name}' is not one SageMaker takes: up to 63 letters, digits and single hyphens inside. "
        f"Try '{legal_name(name)}'."
    )


def legal_name(text: str) -> str:
    """The nearest legal name to `text`."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", text)[:63].strip("-") or "kennel"


def new_name(base: str) -> str:
    """A legal name nobody has used: `base`, the time to the second, and a few random digits."""
    return f"{legal_name(base)[:40].strip('-')}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def plan_training(
    data: Path | str,
    *,
    name: str | None,
    hyperparameters: Mapping[str, str],
    checkpoint_uri: str | None = None,
    debugging: Debugging | None = None,
    weights_uri: str | None = None,
) -> TrainingJob:
    """A training on a folder, or an s3:// address, checked as far as it can be without starting anything.

    A path in `weights` becomes the `weights` channel, so that the job is the same wherever it runs.
    checkpoint_uri: that this job goes on from. weights_uri: that channel, where the hyperparameters do not name other
    weights.
    """
    settings = dict(hyperparameters)
    read_hyperparameters(settings)
    channels = {"data": data_uri(data)}
    weights = settings.get("weights", "auto")
    if weights_uri and "weights" not in settings:
        channels["weights"] = weights_uri
    if weights not in ("auto", "none"):
        channels["weights"] = _weights_channel(weights)
        del settings["weights"]
    return TrainingJob(
        name=check_name(name, "Job") if name else new_name(data_name(data)),
        channels=channels,
        hyperparameters=settings,
        checkpoint_uri=checkpoint_uri,
        debugging=debugging,
    )


def data_uri(data: Path | str) -> str:
    """A channel's address. One in S3 ends with a slash: `dogs` is the beginning of `dogs2` too."""
    if isinstance(data, Path):
        return data.resolve().as_uri()
    bucket, _, prefix = data.removeprefix("s3://").partition("/")
    if not bucket or not prefix.strip("/"):
        raise UserError(f"--data {data} names no folder in S3. Expected such as s3://my-bucket/kennel/data/dogs/.")
    return f"s3://{bucket}/{prefix.strip('/')}/"


def data_name(data: Path | str) -> str:
    """What jobs on it are named after: the last part of the path."""
    return data.resolve().name if isinstance(data, Path) else data.rstrip("/").rpartition("/")[2]


def _weights_channel(weights: str) -> str:
    if weights.startswith("s3://"):
        return weights
    if not Path(weights).is_file():
        raise UserError(
            f"weights={weights}: there is no such file. Give a .pth or .safetensors file, its s3:// address, auto or "
            "none."
        )
    return Path(weights).resolve().as_uri()


def create_training_job(job: TrainingJob, place: Place, resources: Resources | None = None) -> None:
    """Starts the job and returns; UserError with the API's own words when it is refused.

    resources: what it runs on; without, what the place has.
    """
    resources = at_place(resources, place)
    estimator = make_estimator(job, place, resources)
    with unbroken(TRAINING, job.name, place), refusals(place), created_once(place, "CreateTrainingJob", job.name):
        estimator.fit(make_inputs(job.channels, resources), job_name=job.name, wait=False, logs=False)
        if estimator.latest_training_job is None:  # the SDK swallows a second Ctrl-C here, and so would we
            raise KeyboardInterrupt


def at_place(resources: Resources | None, place: Place) -> Resources:
    """What a job runs on there: what is asked for, of the type that this machine counts as where it is not AWS."""
    if resources is None:
        return Resources(place.instance_type, max_run_s=machines.MAX_RUN_HERE_S)
    return resources if place.is_aws else dataclasses.replace(resources, instance_type=place.instance_type)


def make_estimator(job: TrainingJob, place: Place, resources: Resources) -> Any:  # noqa: ANN401  of the SDK, imported late
    """The SDK's own description of such a training, at a place."""
    from sagemaker.estimator import Estimator

    return Estimator(
        image_uri=place.train_image,
        role=place.role,
        sagemaker_session=place.session,
        # Quoted as JSON, as the SDK's own framework estimators send them: the toolkit complains of bare words.
        hyperparameters={name: json.dumps(value) for name, value in job.hyperparameters.items()} | _together(resources),
        metric_definitions=metric_definitions(),
        output_path=place.uri("jobs") if place.is_aws else None,
        checkpoint_s3_uri=job.checkpoint_uri or (place.uri("jobs", job.name, "checkpoints") if place.is_aws else None),
        tags=place.tags_for(job.name),
        **machines.estimator_arguments(resources, place.profile),
        **debuggings.estimator_arguments(job.debugging),
    )


def _together(resources: Resources) -> dict[str, str]:
    """What the SDK's PyTorch estimator sends for torch_distributed: SageMaker's toolkit then starts torchrun.

    Kennel's own program does so on several hosts anyway; this is for others' images.
    """
    if resources.instance_count == 1:
        return {}
    return {
        "sagemaker_torch_distributed_enabled": "true",
        "sagemaker_instance_type": json.dumps(resources.instance_type),
    }


def make_inputs(channels: Mapping[str, str], resources: Resources) -> dict[str, Any]:
    """The channels as the SDK's TrainingInputs. Pictures may be streamed; weights are one file, which is copied."""
    from sagemaker.inputs import TrainingInput

    modes = {"data": resources.input_mode}
    return {name: TrainingInput(uri, input_mode=modes.get(name, "File")) for name, uri in channels.items()}


def describe_training_job(name: str, place: Place) -> dict[str, Any]:
    """DescribeTrainingJob's answer; UserError naming the way to see what there is."""
    try:
        return dict(place.sagemaker.describe_training_job(TrainingJobName=name))
    except (ClientError, BotoCoreError) as error:
        raise not_there(error, "training job", name) from error


def not_there(error: ClientError | BotoCoreError, what: str, name: str) -> KennelError:
    """For a Describe call's error: there is no such thing, or what else AWS says."""
    if isinstance(error, ClientError) and is_missing(error):
        return UserError(f"There is no {what} '{name}'. See what there is with: kennel list")
    return explained(error)


def refusals(place: Place) -> AbstractContextManager[None]:
    """Around calls that make something: refusals as sentences, AWS's with their remedies."""
    return in_words() if place.is_aws else refusals_in_words()


@contextmanager
def refusals_in_words() -> Iterator[None]:
    """Turns the API's ClientError into a UserError that carries its message."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        message = error.response.get("Error", {}).get("Message", str(error))
        raised = UserError if status < 500 else KennelError
        raise raised(f"SageMaker refused {error.operation_name}: {message}") from error
