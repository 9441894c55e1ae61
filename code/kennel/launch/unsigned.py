"""A dry run by somebody who is not signed in: whatever is looked up is not there, and nothing is sent.

with held(place.boto) as requests, nothing_there(place.boto):
    deploy(plan, place, is_dry=True)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore.awsrequest import AWSResponse

_ID: Final = "kennel-unsigned"
_NOT_FOUND: Final = {"Error": {"Code": "ResourceNotFoundException", "Message": "Could not find it: nobody is asked."}}


@contextmanager
def nothing_there(session: Any) -> Iterator[None]:  # noqa: ANN401  a boto3 Session
    """Answers what clients that `session` makes from now on look up, unless somebody is signed in."""
    if session.get_credentials() is not None:
        yield
        return
    session.events.register_last("before-call", _answer, unique_id=_ID)
    try:
        yield
    finally:
        session.events.unregister("before-call", unique_id=_ID)


def _answer(model: Any, params: dict[str, Any], **_: object) -> tuple[AWSResponse, dict[str, Any]]:  # noqa: ANN401
    """Empty lists where a list is asked for; else that it is not there."""
    members = model.output_shape.members if model.output_shape is not None else {}
    lists: dict[str, object] = {name: [] for name, shape in members.items() if shape.type_name == "list"}
    is_listing = model.name.startswith("List") or (model.name.startswith("Describe") and model.name.endswith("s"))
    status, answer = (200, lists) if is_listing else (400, _NOT_FOUND)
    return AWSResponse(params["url"], status, {}, None), {**answer, "ResponseMetadata": {"HTTPStatusCode": status}}
