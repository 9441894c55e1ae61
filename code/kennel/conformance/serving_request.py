"""The request that a server is asked with: the user's, the label's, or a drawn picture of a dog."""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kennel.conformance.checks import Subject
from kennel.conformance.serving_probe import Sample
from kennel.dataset.sample import draw_dog
from kennel.errors import UserError

_SIZE_PX: Final = 224


def sample_of(subject: Subject) -> Sample:
    """Raises UserError for a request that has no body, or one that cannot be read."""
    request = subject.exercise.request
    if not request:
        return Sample(draw_dog("Spotted", _SIZE_PX, (0, 0, 0)), "image/jpeg", source="a drawn picture")
    content_type = str(request.get("content_type", "application/octet-stream"))
    return Sample(_body(request), content_type, str(request.get("accept", "")))


def _body(request: Mapping[str, Any]) -> bytes:
    try:
        if "body" in request:
            return str(request["body"]).encode()
        if "base64" in request:
            return base64.b64decode(request["base64"], validate=True)
        return Path(request["file"]).read_bytes()
    except KeyError:
        raise UserError(f"The request has {sorted(request)}. Expected one of body, base64, file.") from None
    except (OSError, binascii.Error) as error:
        raise UserError(f"The request's body cannot be read: {error}") from error
