"""Asks an endpoint about photos."""

import json
import mimetypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.errors import DataError, UserError
from kennel.launch.places import Place

# InvokeEndpoint's own limit, on every instance type.
MAX_PAYLOAD_BYTES: Final = 6_291_456


@dataclass(frozen=True)
class Answer:
    """What the endpoint said of one photo: `prediction` has label, probability, abstain and top_k."""

    photo: Path
    prediction: dict[str, Any]
    model: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps({"photo": str(self.photo), **self.prediction})


def check_photos(photos: Sequence[Path]) -> None:
    """DataError for a photo that is not there or too large to send, before any is sent."""
    for photo in photos:
        if not photo.is_file():
            raise DataError(f"There is no photo at {photo}.")
        if photo.stat().st_size > MAX_PAYLOAD_BYTES:
            raise DataError(
                f"{photo} has {photo.stat().st_size:,} bytes; SageMaker takes {MAX_PAYLOAD_BYTES:,} a request. "
                "Send a smaller copy of it."
            )


def ask(endpoint_name: str, photos: Sequence[Path], place: Place) -> Iterator[Answer]:
    """One answer a photo, in order. UserError with the endpoint's own reason when it refuses one."""
    for photo in photos:
        content_type = mimetypes.guess_type(photo.name)[0] or "application/octet-stream"
        try:
            response = place.runtime.invoke_endpoint(
                EndpointName=endpoint_name, Body=photo.read_bytes(), ContentType=content_type, Accept="application/json"
            )
        except ClientError as error:
            raise UserError(f"{photo}: {_reason(error, endpoint_name)}") from error
        answer = json.loads(response["Body"].read())
        yield Answer(photo, answer["predictions"][0], answer["model"])


def table(answers: Sequence[Answer]) -> str:
    """Photo, label, probability and the next two classes, aligned."""
    rows = [("photo", "label", "probability", "then")]
    for answer in answers:
        first, *others = answer.prediction["top_k"]
        label = f"{first['label']}?" if answer.prediction["abstain"] else first["label"]
        then = ", ".join(f"{other['label']} {other['probability']:.1%}" for other in others[:2])
        rows.append((answer.photo.name, label, f"{first['probability']:.1%}", then))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{photo:<{widths[0]}}  {label:<{widths[1]}}  {share:>{widths[2]}}  {then}".rstrip()
        for photo, label, share, then in rows
    ]
    if any(answer.prediction["abstain"] for answer in answers):
        lines.append("? less sure than the model's abstain threshold: treat as unknown")
    return "\n".join(lines)


def _reason(error: ClientError, endpoint_name: str) -> str:
    """The container's own message where there is one, else the API's."""
    try:
        return str(json.loads(error.response["OriginalMessage"])["error"]["message"])
    except (KeyError, ValueError, TypeError):
        message = error.response.get("Error", {}).get("Message", str(error))
        return f"endpoint '{endpoint_name}': {message} (see what there is with: kennel list)"
