"""The exact requests of a command, without sending those that make or change something.

    session = boto3.Session()
    with held(session) as requests:
        ...                             # the SDK's objects on Session(boto_session=session)
    print(as_json(requests)); print(requests[0].command)

Calls that only read are sent as ever. Everything is checked by botocore as if it were sent; no credentials are needed.
Exercise it: pytest tests/unit/launch/test_dry_run.py
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from botocore import xform_name
from botocore.awsrequest import AWSResponse

_READING: Final = ("Describe", "List", "Get", "Head", "BatchGet", "Search", "Filter")
_ID: Final = "kennel-dry-run"


@dataclass(frozen=True)
class HeldRequest:
    """One request that was not sent. service: as botocore and the aws command name it."""

    service: str
    operation: str
    parameters: dict[str, Any]

    @property
    def command(self) -> str:
        """The aws command that sends it."""
        verb = xform_name(self.operation).replace("_", "-")
        if self.service == "s3":
            return f"aws s3api {verb} --cli-input-json {shlex.quote(_text(self.parameters))}"
        return f"aws {self.service} {verb} --cli-input-json {shlex.quote(_text(self.parameters))}"


@contextmanager
def held(session: Any) -> Iterator[list[HeldRequest]]:  # noqa: ANN401  a boto3 Session
    """Holds what clients that `session` makes from now on would change; the list grows while they are used."""
    requests: list[HeldRequest] = []

    def remember(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        context[_ID] = dict(params)

    def hold(model: Any, params: dict[str, Any], context: dict[str, Any], **_: object) -> Any:  # noqa: ANN401
        if model.name.startswith(_READING):
            return None
        requests.append(HeldRequest(model.service_model.service_name, model.name, context.get(_ID, {})))
        return AWSResponse(params["url"], 200, {}, None), _answer(model)

    session.events.register("before-parameter-build", remember, unique_id=f"{_ID}-params")
    session.events.register("before-call", hold, unique_id=f"{_ID}-call")
    try:
        yield requests
    finally:
        session.events.unregister("before-parameter-build", unique_id=f"{_ID}-params")
        session.events.unregister("before-call", unique_id=f"{_ID}-call")


def as_json(requests: Sequence[HeldRequest]) -> str:
    """The requests, with the command that sends each."""
    entries = [
        {"service": each.service, "operation": each.operation, "request": each.parameters, "command": each.command}
        for each in requests
    ]
    return json.dumps(entries, indent=2, default=str)


def _answer(model: Any) -> dict[str, Any]:  # noqa: ANN401  a botocore OperationModel
    """What the caller gets: the texts that the operation must answer with, saying what they are."""
    shape = model.output_shape
    names = shape.required_members if shape is not None and hasattr(shape, "required_members") else ()
    texts = {name: _ID for name in names if shape.members[name].type_name == "string"}
    return {**texts, "ResponseMetadata": {"HTTPStatusCode": 200}}


def _text(parameters: dict[str, Any]) -> str:
    return json.dumps(parameters, default=str)
