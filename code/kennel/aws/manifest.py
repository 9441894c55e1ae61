"""What an upload left in S3: each file's SHA-256, size and ETag, and the digest of the whole once all of it is there.

It lies beside the folder, as s3://bucket/kennel/data/dogs.manifest.json, so that no training reads it. It is replaced
only where it is still the one that was read: of two uploads at once one is told.
Exercise it: pytest tests/aws/test_upload.py
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.errors import ContractError, KennelError

_FORMAT: Final = 1
_NO_SUCH: Final = ("NoSuchKey", "404")
_IS_ANOTHER: Final = ("PreconditionFailed", "ConditionalRequestConflict", "409", "412", *_NO_SUCH)


@dataclass(frozen=True)
class Entry:
    """A file as the manifest has it. etag: the object's, as S3 gave it or, before it was sent, as it is foreseen."""

    sha256: str
    size: int
    etag: str


@dataclass(frozen=True)
class Manifest:
    """What an upload left. digest: of the whole data set; None while not all is there. files: by relative path."""

    digest: str | None
    files: Mapping[str, Entry]

    def to_json(self) -> str:
        files = {name: asdict(entry) for name, entry in sorted(self.files.items())}
        return json.dumps({"format": _FORMAT, "digest": self.digest, "files": files}, indent=0)


@dataclass
class ManifestFile:
    """The manifest's object. client: boto3's `s3`. more: for PutObject, such as a KMS key."""

    client: Any
    bucket: str
    key: str
    more: Mapping[str, str] = field(default_factory=dict)
    _etag: str | None = None

    def read(self) -> Manifest | None:
        """What the last upload left; None if there is none. Raises ContractError for one of a newer version."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NO_SUCH:
                self._etag = None
                return None
            raise
        self._etag = answer["ETag"]
        with contextlib.closing(answer["Body"]) as body:
            return _parse(body.read(), f"s3://{self.bucket}/{self.key}")

    def write(self, manifest: Manifest) -> None:
        """Replaces the one that was read or written last. Raises KennelError if that is no longer there."""
        body = manifest.to_json().encode()
        condition = {"IfMatch": self._etag} if self._etag else {"IfNoneMatch": "*"}
        try:
            answer = self.client.put_object(
                Bucket=self.bucket,
                Key=self.key,
                Body=body,
                ContentType="application/json",
                **condition,
                **self.more,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in _IS_ANOTHER:
                raise
            if self.read() != manifest:  # or it is ours: the answer was lost, and botocore asked again
                raise KennelError(
                    f"Another upload writes s3://{self.bucket}/{self.key} as well. Let it end, and say this again: "
                    "only what differs is sent."
                ) from error
        else:
            self._etag = answer["ETag"]


def _parse(content: bytes, where: str) -> Manifest:
    try:
        read = json.loads(content)
        is_ours = read["format"] == _FORMAT
        files = {name: Entry(**entry) for name, entry in read["files"].items()} if is_ours else {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(f"{where} is no manifest of Kennel's ({error!r}). Delete it, and upload again.") from error
    if not is_ours:
        raise ContractError(f"{where} is of format {read['format']}; this version reads {_FORMAT}. Use a newer Kennel.")
    return Manifest(read["digest"], files)
