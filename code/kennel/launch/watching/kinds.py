"""The four things that run and are watched: by which calls they are described and stopped, and where their logs are.

TRAINING.describe("dogs-1", place)["TrainingJobStatus"]
found = kinds_of("dogs-1", place)                   # a training and an endpoint may have one name
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.errors import UserError
from kennel.launch.places import Place

Json = dict[str, Any]
_MISSING_CODES: Final = ("ResourceNotFound", "ResourceNotFoundException")
_MISSING: Final = re.compile(r"not found|could not find|can't find|does not exist", re.IGNORECASE)
_JOB_ENDED: Final = ("Completed", "Failed", "Stopped", "DeleteFailed")


@dataclass(frozen=True)
class Kind:
    """One of the four. member: what the API's members begin with. stop: the call, where there is one.

    log_group: with {name}, where each has its own. ended: the states that nothing follows by itself.
    """

    name: str
    title: str
    member: str
    describing: str
    stop: str | None
    log_group: str | None
    ended: tuple[str, ...] = _JOB_ENDED

    @property
    def is_job(self) -> bool:
        """Whether it ends by itself."""
        return self.stop is not None

    def status(self, description: Json) -> str:
        return str(description[f"{self.member}Status"])

    def has_ended(self, description: Json) -> bool:
        return self.status(description) in self.ended

    def describe(self, name: str, place: Place) -> Json:
        """The API's description. UserError where there is none of that name; ClientError as it came for all else."""
        found = self.find(name, place)
        if found is None:
            raise UserError(f"There is no {self.title} '{name}'. See what there is with: kennel list --on {place.name}")
        return found

    def find(self, name: str, place: Place) -> Json | None:
        """The description; None where there is none of that name."""
        try:
            return dict(getattr(place.sagemaker, self.describing)(**{f"{self.member}Name": name}))
        except ClientError as error:
            if is_missing(error):
                return None
            raise

    def send_stop(self, name: str, place: Place) -> None:
        """Asks the job to end; it keeps what it has."""
        if self.stop is None:
            raise UserError(f"An {self.title} is not stopped but deleted: {stop_command(self, name, place)}")
        getattr(place.sagemaker, self.stop)(**{f"{self.member}Name": name})


TRAINING: Final = Kind(
    "training",
    "training job",
    "TrainingJob",
    "describe_training_job",
    "stop_training_job",
    "/aws/sagemaker/TrainingJobs",
)
TUNING: Final = Kind(
    "tuning",
    "tuning job",
    "HyperParameterTuningJob",
    "describe_hyper_parameter_tuning_job",
    "stop_hyper_parameter_tuning_job",
    None,
)
TRANSFORM: Final = Kind(
    "transform",
    "transform job",
    "TransformJob",
    "describe_transform_job",
    "stop_transform_job",
    "/aws/sagemaker/TransformJobs",
)
ENDPOINT: Final = Kind(
    "endpoint",
    "endpoint",
    "Endpoint",
    "describe_endpoint",
    None,
    "/aws/sagemaker/Endpoints/{name}",
    ("InService", "Failed", "OutOfService", "UpdateRollbackFailed", "Deleting"),
)
KINDS: Final = {each.name: each for each in (TRAINING, TUNING, TRANSFORM, ENDPOINT)}


def kind_of(name: str) -> Kind:
    """By its name: training, tuning, transform or endpoint."""
    return KINDS[name]


def kinds_of(name: str, place: Place) -> list[tuple[Kind, Json]]:
    """What has this name, with its description: what still goes on first, then the newest.

    Raises UserError where nothing has, and ClientError. A kind that may not be described is passed over, unless
    nothing else is found.
    """
    found: list[tuple[Kind, Json]] = []
    denied: list[ClientError] = []
    for kind in KINDS.values():
        try:
            description = kind.find(name, place)
        except ClientError as error:
            if "AccessDenied" not in str(error.response.get("Error", {}).get("Code", "")):
                raise
            denied.append(error)
            continue
        if description is not None:
            found.append((kind, description))
    if not found and denied:
        raise denied[0]
    if not found:
        raise UserError(
            f"There is no job and no endpoint '{name}'. See what there is with: kennel list --on {place.name}"
        )
    newest = sorted(found, key=lambda each: each[1]["CreationTime"], reverse=True)
    return sorted(newest, key=lambda each: each[0].has_ended(each[1]))


def is_missing(error: ClientError) -> bool:
    """Whether AWS says that there is no such thing: with a code of its own, or as a fault of the request."""
    said = error.response.get("Error", {})
    code, message = str(said.get("Code", "")), str(said.get("Message", ""))
    return code in _MISSING_CODES or (code == "ValidationException" and _MISSING.search(message) is not None)


def attach_command(name: str, place: Place) -> str:
    """What follows it again."""
    return f"kennel attach {name} {_where(place)}"


def stop_command(kind: Kind, name: str, place: Place) -> str:
    """What ends it: a job keeps what it has, an endpoint is gone."""
    if kind.is_job:
        return f"{attach_command(name, place)} --stop"
    return f"kennel delete --endpoint-name {name} {_where(place)}"


def _where(place: Place) -> str:
    return f"--on {place.name}" + (f" --region {place.region}" if place.is_aws else "")
