"""Where a job or a model runs: as processes of this checkout, or as containers of its image.

A tag of the request says it, so that boto3 and the SDK can ask without a member that SageMaker does not have:

    Estimator(..., tags=[{"Key": "kennel:on", "Value": "docker"}])
    create_model(..., Tags=[{"Key": "kennel:on", "Value": "docker"}])

Without the tag the service's own setting counts (`kennel local start --on docker`), which is `local` at first.
"""

from collections.abc import Mapping
from typing import Any, Final

from kennel.local.faults import invalid
from kennel.local.validation import Json

ON: Final = "kennel:on"
LOCAL: Final = "local"
DOCKER: Final = "docker"
PLACES: Final = (LOCAL, DOCKER)


def place_tag(place: str) -> dict[str, str]:
    """The tag that asks for a place."""
    return {"Key": ON, "Value": place}


def runs_on(request: Mapping[str, Any]) -> str:
    """Where the resource of a request runs. One of an older version, without the tag, was a process."""
    return tag_value(request, ON) or LOCAL


def placed(request: Json, default: str) -> Json:
    """The request with its place in its tags. Raises ApiError for a place that is none."""
    place = tag_value(request, ON) or default
    if place not in PLACES:
        raise invalid(f"Tag '{ON}' has value '{place}'. Expected one of: {', '.join(PLACES)}.")
    if place == LOCAL and default == LOCAL:  # nothing that has to be remembered
        return request
    return with_place(request, place)


def with_place(request: Json, place: str) -> Json:
    """The request with this place in its tags, whatever they said before."""
    others = [each for each in request.get("Tags", []) if each["Key"] != ON]
    return {**request, "Tags": [*others, place_tag(place)]}


def tag_value(request: Mapping[str, Any], key: str) -> str | None:
    """The value of a tag, if the request has it."""
    values = [str(each["Value"]) for each in request.get("Tags", []) if each["Key"] == key]
    return values[-1] if values else None
