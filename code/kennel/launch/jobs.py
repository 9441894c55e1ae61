"""Training jobs, models and endpoints from one description, made with the SDK's own objects.

job = TrainingJob(name="first", channels={"data": "file:///photos"}, hyperparameters={"epochs": "5"})
create_training_job(job, open_place("local"))
"""

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.errors import KennelError, UserError
from kennel.hyperparameters import read_hyperparameters
from kennel.launch.debugging import Debugging, estimator_arguments
from kennel.launch.places import Place
from kennel.metrics import metric_definitions

_NAME: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
# A whole dogImages training on a slow CPU fits in; a job that hangs does not run for ever.
MAX_RUN_S: Final = 5 * 24 * 3600


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
    folder: Path,
    *,
    name: str | None,
    hyperparameters: Mapping[str, str],
    resume: Path | None = None,
    debugging: Debugging | None = None,
    weights_uri: str | None = None,
) -> TrainingJob:
    """A training on a local folder, checked as far as it can be without starting anything.

    A path in `weights` becomes the `weights` channel, so that the job is the same wherever it runs.
    resume: the run folder whose checkpoints this job goes on from. weights_uri: that channel, where the
    hyperparameters do not name other weights.
    """
    settings = dict(hyperparameters)
    read_hyperparameters(settings)
    channels = {"data": folder.resolve().as_uri()}
    weights = settings.get("weights", "auto")
    if weights_uri and "weights" not in settings:
        channels["weights"] = weights_uri
    if weights not in ("auto", "none"):
        if not Path(weights).is_file():
            raise UserError(
                f"weights={weights}: there is no such file. Give a .pth or .safetensors file, auto or none."
            )
        channels["weights"] = Path(weights).resolve().as_uri()
        del settings["weights"]
    return TrainingJob(
        name=check_name(name, "Job") if name else new_name(folder.resolve().name),
        channels=channels,
        hyperparameters=settings,
        checkpoint_uri=(resume / "ml" / "checkpoints").as_uri() if resume else None,
        debugging=debugging,
    )


def create_training_job(job: TrainingJob, place: Place) -> None:
    """Starts the job and returns; UserError with the API's own words when it is refused."""
    estimator = make_estimator(job, place)
    with refusals_in_words():
        estimator.fit(make_inputs(job.channels), job_name=job.name, wait=False, logs=False)


def make_estimator(job: TrainingJob, place: Place) -> Any:  # noqa: ANN401  sagemaker.estimator.Estimator, imported late
    """The SDK's own description of such a training, at a place."""
    from sagemaker.estimator import Estimator

    return Estimator(
        image_uri=place.train_image,
        role=place.role,
        instance_count=1,
        instance_type=place.instance_type,
        max_run=MAX_RUN_S,
        sagemaker_session=place.session,
        # Quoted as JSON, as the SDK's own framework estimators send them: the toolkit complains of bare words.
        hyperparameters={name: json.dumps(value) for name, value in job.hyperparameters.items()},
        metric_definitions=metric_definitions(),
        checkpoint_s3_uri=job.checkpoint_uri,
        tags=place.tags_for(job.name),
        **estimator_arguments(job.debugging),
    )


def make_inputs(channels: Mapping[str, str]) -> dict[str, Any]:
    """The channels as the SDK's TrainingInputs."""
    from sagemaker.inputs import TrainingInput

    return {name: TrainingInput(uri, input_mode="File") for name, uri in channels.items()}


def describe_training_job(name: str, place: Place) -> dict[str, Any]:
    """DescribeTrainingJob's answer; UserError naming the way to see what there is."""
    try:
        return dict(place.sagemaker.describe_training_job(TrainingJobName=name))
    except ClientError as error:
        raise UserError(f"There is no training job '{name}'. See what there is with: kennel list") from error


def create_endpoint(job_name: str, place: Place, *, endpoint_name: str) -> None:
    """Model, endpoint configuration and endpoint, all named `endpoint_name`, from a finished job's archive."""
    from sagemaker.model import Model

    description = describe_training_job(job_name, place)
    artifacts = description.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    if not artifacts:
        raise UserError(
            f"Training job '{job_name}' is {description['TrainingJobStatus']} and has left no model. "
            "Wait until it is Completed, or train again."
        )
    model = Model(
        image_uri=place.serve_image,
        model_data=artifacts,
        role=place.role,
        name=endpoint_name,
        sagemaker_session=place.session,
    )
    with refusals_in_words():
        model.deploy(
            initial_instance_count=1,
            instance_type=place.instance_type,
            endpoint_name=endpoint_name,
            tags=place.tags_for(endpoint_name),
            wait=False,
        )


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
