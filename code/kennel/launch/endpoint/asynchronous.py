"""Asks an asynchronous endpoint: photos go to S3, the answers come there, and this waits for them.

    AsyncEndpoint("dogs", place, "s3://bucket/kennel/async/dogs/output").answers([(photo, body, "image/jpeg")])

All are asked before the first answer is waited for; an endpoint that sleeps wakes for the first. What was sent is
deleted once it is answered; answers stay in S3. Exercise it: pytest tests/aws/test_invoke_on_aws.py
"""

import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.aws.words import in_words
from kennel.errors import KennelError, UserError
from kennel.launch.places import Place

# From no machine to the first answer it takes SageMaker minutes.
_PATIENCE_S: Final = 1800.0
_BETWEEN_S: Final = 2.0
_SAID_AFTER_S: Final = 10.0
_ABSENT: Final = ("NoSuchKey", "404", "403", "AccessDenied")  # 403: there is no right to list, so absent looks like it


@dataclass(frozen=True)
class _Asked:
    """Of one photo: where it is, and where its answer or its failure will be. sent: bucket and key."""

    photo: Path
    sent: tuple[str, str]
    output: str
    failure: str | None


@dataclass(frozen=True)
class AsyncEndpoint:
    """output_uri: where its configuration says that answers go."""

    name: str
    place: Place
    output_uri: str

    def answers(self, photos: Iterable[tuple[Path, bytes, str]]) -> Iterator[tuple[Path, bytes]]:
        """The answer to each photo (its body, its content type), in order.

        Raises UserError with SageMaker's reason for one that it could not answer, KennelError where none comes.
        """
        s3, runtime = self.place.client("s3"), self.place.runtime
        asked: list[_Asked] = []
        try:
            with in_words():
                for each in photos:
                    asked.append(self._ask(s3, runtime, *each))
            print(f"{len(asked)} asked; the answers come to {self.output_uri}", file=sys.stderr)
            for one in asked:
                with in_words():
                    content = _wait(s3, one)
                yield one.photo, content
        finally:
            for one in asked:
                _delete(s3, *one.sent)

    def _ask(self, s3: Any, runtime: Any, photo: Path, body: bytes, content_type: str) -> _Asked:  # noqa: ANN401  boto3's
        bucket, key = _parted(f"{self.output_uri.rstrip('/').removesuffix('/output')}/input/{uuid.uuid4()}")
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
        answer = runtime.invoke_endpoint_async(
            EndpointName=self.name,
            InputLocation=f"s3://{bucket}/{key}",
            ContentType=content_type,
            Accept="application/json",
        )
        return _Asked(photo, (bucket, key), answer["OutputLocation"], answer.get("FailureLocation"))


def _wait(s3: Any, asked: _Asked) -> bytes:  # noqa: ANN401  boto3's
    """The answer, once it is there."""
    begin, is_said = time.monotonic(), False
    while True:
        if (content := _content(s3, asked.output)) is not None:
            return content
        if asked.failure and (content := _content(s3, asked.failure)) is not None:
            raise UserError(f"{asked.photo}: the endpoint could not answer: {content.decode(errors='replace')[:500]}")
        waited_s = time.monotonic() - begin
        if waited_s > _PATIENCE_S:
            raise KennelError(
                f"{asked.photo}: no answer after {waited_s / 60:.0f} min. It may still come to {asked.output}."
            )
        if waited_s > _SAID_AFTER_S and not is_said:
            print("no answer yet: an endpoint that sleeps takes minutes to wake", file=sys.stderr)
            is_said = True
        time.sleep(_BETWEEN_S)


def _content(s3: Any, uri: str) -> bytes | None:  # noqa: ANN401  boto3's
    """What is there; None where nothing is yet."""
    bucket, key = _parted(uri)
    try:
        with s3.get_object(Bucket=bucket, Key=key)["Body"] as stream:
            return bytes(stream.read())
    except ClientError as error:
        if error.response["Error"]["Code"] in _ABSENT:
            return None
        raise


def _delete(s3: Any, bucket: str, key: str) -> None:  # noqa: ANN401  boto3's
    """What was sent; the answer is there whether that succeeds or not."""
    try:
        with in_words():
            s3.delete_object(Bucket=bucket, Key=key)
    except KennelError as error:
        print(f"left: s3://{bucket}/{key} ({error})", file=sys.stderr)


def _parted(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
