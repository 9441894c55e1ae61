"""Asks an endpoint about photos, whatever kind it is.

    asking = Asking.of("dogs", place)           # on AWS this asks what kind of endpoint it is
    asking.check(photos)                        # their sizes, before any is sent
    for answer in asking.answers(photos): ...

Photos over a request's limit are made smaller (kennel.launch.endpoint.shrinking). What is asked of an asynchronous
endpoint goes through S3, and all of it before the first answer is waited for.
Exercise it: pytest tests/aws/test_invoke_on_aws.py
"""

import json
import mimetypes
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.config import Config
from botocore.exceptions import ClientError

from kennel.aws.words import in_words, is_expired
from kennel.errors import DataError, UserError
from kennel.launch.endpoint.asynchronous import AsyncEndpoint
from kennel.launch.endpoint.shrinking import check_shrinkable, shrink
from kennel.launch.places import Place

# What InvokeEndpoint's model says; AWS's page of questions says 25 MB since 2025, and serverless endpoints take 4 MB.
MAX_PAYLOAD_BYTES: Final = 6_291_456
_SERVERLESS_BYTES: Final = 4_000_000
_MOST_BYTES: Final = 25_000_000
_VARIABLE: Final = "KENNEL_MAX_PAYLOAD_BYTES"
# SageMaker gives up after 60 s; who gives up sooner asks again, and the model computes twice.
_READ_S: Final = 70
# One of many models is loaded when it is first asked for: the archive comes from S3.
_NOT_YET: Final = ("ModelNotReadyException", "ThrottlingException", "ServiceUnavailable", "ServiceUnavailableException")
_PATIENCE_S: Final = 180.0
_BETWEEN_S: Final = 3.0


@dataclass(frozen=True)
class Answer:
    """What the endpoint said of one photo: `prediction` has label, probability, abstain and top_k."""

    photo: Path
    prediction: dict[str, Any]
    model: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps({"photo": str(self.photo), **self.prediction})


@dataclass(frozen=True)
class Asking:
    """limit_bytes: of a request. target_model: of an endpoint of many. waiting: for an asynchronous one."""

    endpoint: str
    place: Place
    limit_bytes: int = MAX_PAYLOAD_BYTES
    target_model: str | None = None
    waiting: AsyncEndpoint | None = None

    @classmethod
    def of(cls, endpoint: str, place: Place, *, target_model: str | None = None) -> "Asking":
        """As the endpoint's configuration says. Raises UserError where there is no such endpoint."""
        config = _config_of(endpoint, place) if place.is_aws else {}
        variant: dict[str, Any] = next(iter(config.get("ProductionVariants", [])), {})
        limit = payload_limit(is_serverless="ServerlessConfig" in variant)
        waiting = None
        if found := config.get("AsyncInferenceConfig"):
            waiting = AsyncEndpoint(endpoint, place, found["OutputConfig"]["S3OutputPath"])
            if target_model:
                raise UserError(f"Endpoint '{endpoint}' is asynchronous and has one model: leave out --target-model.")
        return cls(endpoint, place, limit, target_model, waiting)

    def check(self, photos: Sequence[Path]) -> None:
        """DataError for what is too large and no photo that could be made smaller."""
        for photo in photos:
            if self._is_too_large(photo):
                check_shrinkable(photo, limit_bytes=self.limit_bytes)

    def answers(self, photos: Sequence[Path]) -> Iterator[Answer]:
        """One answer a photo, in order. UserError with the endpoint's own reason when it refuses one."""
        if self.waiting is not None:
            asked = ((photo, *_body_of(photo, None)) for photo in photos)  # S3 takes what a request does not
            for photo, content in self.waiting.answers(asked):
                yield _answer(photo, content)
            return
        runtime = self.place.boto.client("sagemaker-runtime", config=Config(read_timeout=_READ_S))
        for photo in photos:
            yield _answer(photo, self._ask(runtime, photo))

    def _ask(self, runtime: Any, photo: Path) -> bytes:  # noqa: ANN401  boto3's
        body, content_type = _body_of(photo, self.limit_bytes if self._is_too_large(photo) else None)
        target = {"TargetModel": self.target_model} if self.target_model else {}

        def ask() -> bytes:
            response = runtime.invoke_endpoint(
                EndpointName=self.endpoint, Body=body, ContentType=content_type, Accept="application/json", **target
            )
            with response["Body"] as stream:
                return bytes(stream.read())

        with in_words():
            try:
                return _patiently(ask)
            except ClientError as error:
                if self.place.is_aws and is_expired(error):
                    raise
                raise UserError(f"{photo}: {_reason(error, self.endpoint)}") from error

    def _is_too_large(self, photo: Path) -> bool:
        return self.waiting is None and photo.stat().st_size > self.limit_bytes


def check_there(photos: Sequence[Path]) -> None:
    """DataError for a photo that is not there."""
    for photo in photos:
        if not photo.is_file():
            raise DataError(f"There is no photo at {photo}.")


def payload_limit(*, is_serverless: bool = False) -> int:
    """Bytes of a request's body: KENNEL_MAX_PAYLOAD_BYTES, or what every endpoint of that kind takes."""
    text = os.environ.get(_VARIABLE)
    if not text:
        return _SERVERLESS_BYTES if is_serverless else MAX_PAYLOAD_BYTES
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_BYTES:
        raise UserError(f"{_VARIABLE} is '{text}'. Expected a number of bytes, up to {_MOST_BYTES}.")
    return int(text)


def _config_of(endpoint: str, place: Place) -> dict[str, Any]:
    """The endpoint's configuration; nothing where one may only ask it, and not look at it."""
    client = place.sagemaker
    with in_words():
        try:
            name = client.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
            return dict(client.describe_endpoint_config(EndpointConfigName=name))
        except ClientError as error:
            if error.response["Error"]["Code"] == "AccessDeniedException":
                return {}
            raise


def _body_of(photo: Path, limit_bytes: int | None) -> tuple[bytes, str]:
    """What is sent, and what it is. limit_bytes: None for a photo that is sent as it is."""
    if limit_bytes is None:
        return photo.read_bytes(), mimetypes.guess_type(photo.name)[0] or "application/octet-stream"
    shrunk = shrink(photo, limit_bytes=limit_bytes)
    print(shrunk.said, file=sys.stderr)
    return shrunk.body, "image/jpeg"


def _patiently(ask: Callable[[], bytes]) -> bytes:
    """What `ask` gets once the endpoint is ready for it."""
    end, is_said = time.monotonic() + _PATIENCE_S, False
    while True:
        try:
            return ask()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in _NOT_YET or time.monotonic() > end:
                raise
            if not is_said:
                print(f"not ready yet ({code}); asked again for up to {_PATIENCE_S:.0f} s", file=sys.stderr)
                is_said = True
            time.sleep(_BETWEEN_S)


def _answer(photo: Path, content: bytes) -> Answer:
    try:
        answer = json.loads(content)
        return Answer(photo, answer["predictions"][0], answer["model"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{photo}: the endpoint's answer is not one of Kennel's: {content[:200]!r}") from error


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
