"""Where a transform's inputs are and its outputs go: a folder of this machine, or a prefix in S3.

    files = open_files("s3://bucket/photos", lambda: place.client("s3"))
    list(files.names()), files.head("a.jpg.out"), files.uri

Exercise it: pytest tests/unit/launch/test_transform.py tests/aws/test_transform_on_aws.py
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from kennel.aws.words import CredentialsError, in_words
from kennel.errors import DataError, UserError

_HEAD_BYTES: Final = 1 << 20
_OUTPUT: Final = ".out"


class Files(Protocol):
    """Files below one address, hidden ones left out."""

    @property
    def uri(self) -> str:
        """As CreateTransformJob has it."""
        ...

    def names(self) -> Iterator[str]:
        """Relative, in order. Raises DataError where there is no such place."""
        ...

    def head(self, name: str) -> str:
        """How a file begins."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder of this machine."""

    path: Path

    @property
    def uri(self) -> str:
        return self.path.as_uri()

    def __str__(self) -> str:
        return str(self.path)

    def names(self) -> Iterator[str]:
        if not self.path.is_dir():
            raise DataError(
                f"There is no folder {self.path}. --input names a folder of pictures, or of files of JSON lines."
            )
        for parent, folders, names in os.walk(self.path):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            for name in sorted(names):
                if not name.startswith("."):
                    yield Path(parent, name).relative_to(self.path).as_posix()

    def head(self, name: str) -> str:
        with (self.path / name).open(errors="replace") as stream:
            return stream.read(_HEAD_BYTES)


@dataclass(frozen=True)
class Prefix:
    """A prefix in S3 that ends with a slash, or one object."""

    bucket: str
    prefix: str
    client: Any = field(compare=False, repr=False)

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def __str__(self) -> str:
        return self.uri.rstrip("/")

    def names(self) -> Iterator[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        with in_words():
            for page in pages:
                for each in page.get("Contents", ()):
                    name = each["Key"].removeprefix(self.prefix) or each["Key"].rpartition("/")[2]
                    if name and not name.endswith("/"):  # empty objects that stand for folders in the console
                        yield name

    def head(self, name: str) -> str:
        with in_words():
            answer = self.client.get_object(
                Bucket=self.bucket, Key=f"{self.prefix}{name}", Range=f"bytes=0-{_HEAD_BYTES - 1}"
            )
            with contextlib.closing(answer["Body"]) as body:
                return str(body.read().decode(errors="replace"))


def open_files(address: str | Path, s3: Callable[[], Any]) -> Files:
    """The files at an address. s3: makes a client, where there is need of one. Raises UserError for no address."""
    if isinstance(address, Path):
        return Folder(address.resolve())
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not address.startswith("s3://") or not bucket:
        raise UserError(f"'{address}' is no address in S3. Expected such as s3://my-bucket/photos/")
    client = s3()
    if key and not key.endswith("/") and not _is_object(client, bucket, key):
        key = f"{key}/"
    return Prefix(bucket, key, client)


def outputs(files: Files) -> Iterator[str]:
    """The names of a transform's outputs there."""
    return (name for name in files.names() if name.endswith(_OUTPUT))


def _is_object(client: Any, bucket: str, key: str) -> bool:  # noqa: ANN401  boto3's `s3`
    """Whether a key is one object, as a file of JSON lines is; a list says so where a HEAD may be forbidden."""
    try:
        with in_words():
            found = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", ())
    except CredentialsError:  # for a dry run it is a folder; else the next question fails as well
        return False
    return any(each["Key"] == key for each in found)
