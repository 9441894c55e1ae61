"""Where inputs come from and outputs go: s3:// is the local S3, file:// is this machine's disk and copies nothing.

The local S3 is asked as any program asks it, through boto3, on the service's own port; but what is fetched from it is
read in place: a request costs 10 to 40 ms of this process, and a channel may have thousands of objects.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kennel.errors import ContractError, KennelError
from kennel.local.settings import REGION

# What can go wrong with files and the local S3 without being a fault of this program.
STORAGE_ERRORS: Final = (OSError, KennelError, BotoCoreError, ClientError)


@dataclass(frozen=True)
class S3Address:
    """A bucket and a key, or the beginning of keys."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def below(self, path: str) -> "S3Address":
        """The address of `path` under this one taken as a folder."""
        folder = f"{self.key.rstrip('/')}/" if self.key else ""
        return S3Address(self.bucket, f"{folder}{path}")


def read_address(uri: str) -> S3Address | Path:
    """An s3:// or file:// address. Raises ContractError for another, or a file:// without an absolute path."""
    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme == "s3" and parts.netloc:
        return S3Address(parts.netloc, uri.split("/", 3)[3] if uri.count("/") > 2 else "")
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return Path(unquote(parts.path))
    raise ContractError(f"'{uri}' is no address the local SageMaker reads. Expected s3://bucket/key or file:///folder.")


class Objects(Protocol):
    """Where the local S3 keeps its objects (kennel.local.restoring)."""

    def copy(self, address: S3Address, path: Path) -> bool:
        """One object into a file; False if there is none."""


class LocalS3:
    """The local S3, through boto3."""

    def __init__(self, url: str, objects: Objects) -> None:
        self._objects = objects
        # Not the user's session: a profile or a proxy set there must not lead away from this machine.
        session = boto3.Session("kennel", "kennel", region_name=REGION)
        config = Config(proxies={}, retries={"max_attempts": 2}, s3={"addressing_style": "path"})
        self._client: Any = session.client("s3", endpoint_url=url, config=config)

    def has_bucket(self, bucket: str) -> bool:
        """Whether the bucket is there."""
        return self._is_there(lambda: self._client.head_bucket(Bucket=bucket))

    def has_object(self, address: S3Address) -> bool:
        """Whether the object is there."""
        return self._is_there(lambda: self._client.head_object(Bucket=address.bucket, Key=address.key))

    def keys(self, address: S3Address) -> list[str]:
        """The keys that begin with the address's; none if the bucket is not there."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=address.bucket, Prefix=address.key)
        try:
            return [item["Key"] for page in pages for item in page.get("Contents", ())]
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchBucket":
                return []
            raise

    def has_any(self, address: S3Address) -> bool:
        """Whether any key begins with the address's."""
        try:
            page = self._client.list_objects_v2(Bucket=address.bucket, Prefix=address.key, MaxKeys=1)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchBucket":
                return False
            raise
        return bool(page.get("Contents"))

    def open(self, address: S3Address) -> Any:  # noqa: ANN401  botocore's StreamingBody
        """One object's content, to be read a piece at a time and closed."""
        return self._client.get_object(Bucket=address.bucket, Key=address.key)["Body"]

    def download(self, address: S3Address, path: Path) -> None:
        """One object into a file. Raises ContractError if there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._objects.copy(address, path):
            raise ContractError(f"There is no object {address} in the local S3.")

    def download_folder(self, address: S3Address, folder: Path) -> int:
        """The objects of a prefix into `folder`; returns how many.

        As SageMaker does: names are relative to the prefix taken as a folder; a prefix that is one object gives one
        file; a prefix in the middle of a name is relative to the folder it is in. Raises ContractError for a key that
        would leave `folder`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        count = 0
        for key, name in relative_names(address.key, self.keys(address)):
            path = folder / name
            if ".." in Path(name).parts:
                raise ContractError(f"The key '{key}' in bucket '{address.bucket}' would be written outside {folder}.")
            self.download(S3Address(address.bucket, key), path)
            count += 1
        return count

    def upload(self, path: Path, address: S3Address) -> None:
        """A file as one object."""
        self._client.upload_file(str(path), address.bucket, address.key)

    def delete(self, address: S3Address) -> None:
        """One object."""
        self._client.delete_object(Bucket=address.bucket, Key=address.key)

    def create_bucket(self, bucket: str) -> None:
        """A bucket; nothing happens if it is there."""
        if not self.has_bucket(bucket):
            self._client.create_bucket(Bucket=bucket)

    def _is_there(self, head: Any) -> bool:  # noqa: ANN401  a call without arguments
        try:
            head()
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
        return True


def link_or_copy(source: Path, target: Path) -> None:
    """`target` becomes a second name of `source`, or a copy where that cannot be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(source, target)


def relative_names(prefix: str, keys: list[str]) -> Iterator[tuple[str, str]]:
    """Each key with its name below the prefix; keys that stand for folders are left out."""
    folder = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    inside = [key for key in keys if key.startswith(folder)]
    base = folder
    if not inside:  # the prefix is an object, or ends in the middle of a name
        base = prefix[: prefix.rfind("/") + 1]
    for key in inside or keys:
        if not key.endswith("/"):
            yield key, key[len(base) :]
