"""Makes sure that a creation whose answer was lost on the way is not told as a failure.

    with created_once(place, "CreateTrainingJob", "dogs-1"):
        estimator.fit(...)

botocore sends a request again when no answer came. If the first one had arrived, the second one is told that the name
is taken: by the very job that was asked for. Then that job is looked at, and counts when it is what was asked for.
Exercise it: pytest tests/aws/test_train_on_aws.py -k lost
"""

import datetime
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from kennel.errors import KennelError

if TYPE_CHECKING:
    from kennel.launch.places import Place

_TAKEN: Final = ("ResourceInUse", "ResourceInUseException")
# The operation that tells of it, the parameter that names it, and the members that say what it is to do.
_KINDS: Final = {
    "CreateTrainingJob": (
        "describe_training_job",
        "TrainingJobName",
        ("RoleArn", "HyperParameters", "InputDataConfig", "OutputDataConfig", "ResourceConfig", "StoppingCondition"),
    ),
    "CreateHyperParameterTuningJob": (
        "describe_hyper_parameter_tuning_job",
        "HyperParameterTuningJobName",
        ("HyperParameterTuningJobConfig", "TrainingJobDefinition"),
    ),
    "CreateTransformJob": (
        "describe_transform_job",
        "TransformJobName",
        ("ModelName", "TransformInput", "TransformOutput", "TransformResources"),
    ),
}
# Retries take seconds; the rest is for clocks that differ.
_RECENT_S: Final = 900
_ID: Final = "kennel-created-once"


@contextmanager
def created_once(place: "Place", operation: str, name: str) -> Iterator[None]:
    """Around one request; its ClientError passes unless what it wanted to make is there, made by itself.

    operation: CreateTrainingJob, CreateHyperParameterTuningJob or CreateTransformJob.
    """
    sent: dict[str, Any] = {}

    def remember(params: dict[str, Any], **_: object) -> None:
        sent.update(params)

    events, event = place.sagemaker.meta.events, f"provide-client-params.sagemaker.{operation}"
    events.register(event, remember, unique_id=_ID)
    try:
        yield
    except ClientError as error:
        if not (_was_repeated(error) and _is_there(place, operation, name, sent)):
            raise
        print(f"{name}: the first answer was lost on the way; the job is there", file=sys.stderr)
    except (ReadTimeoutError, ConnectionClosedError) as error:
        raise KennelError(
            f"{operation} was sent, and no answer came ({error}). Whether {name} was made is not known: look before "
            "you say it again, with kennel list."
        ) from error
    finally:
        events.unregister(event, unique_id=_ID)


def _was_repeated(error: ClientError) -> bool:
    is_taken = error.response.get("Error", {}).get("Code") in _TAKEN
    return is_taken and error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0


def _is_there(place: "Place", operation: str, name: str, sent: Mapping[str, Any]) -> bool:
    """Whether a job of that name was made just now, as it was asked for."""
    describe, key, members = _KINDS[operation]
    found = getattr(place.sagemaker, describe)(**{key: name})
    age = datetime.datetime.now(datetime.UTC) - found["CreationTime"]
    wanted = {each: sent[each] for each in members if each in sent}
    return abs(age.total_seconds()) < _RECENT_S and _says(found, wanted)


def _says(found: Any, wanted: Any) -> bool:  # noqa: ANN401  any JSON value
    """Whether `found` has all of `wanted`; AWS adds members of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            key in found and _says(found[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return isinstance(found, Sequence) and len(found) == len(wanted) and all(map(_says, found, wanted))
    return bool(found == wanted)
