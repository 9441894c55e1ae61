"""What lies below our prefix in S3: how much, and how to be rid of it, with old versions and unfinished uploads.

    stored_in(place)                    # 120 objects, 1.2 GB below s3://bucket/kennel
    remove_stored(place)

Exercise it: pytest tests/aws/test_cost_on_aws.py
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.aws.words import explained
from kennel.errors import UserError
from kennel.launch.places import Place

_AT_ONCE: Final = 1000  # of one DeleteObjects


@dataclass(frozen=True)
class Stored:
    """objects: with all versions of each. size: in bytes. uploads: begun and never finished; S3 bills their parts."""

    address: str
    objects: int
    size: int
    uploads: int = 0

    def __str__(self) -> str:
        unfinished = f" and {_count(self.uploads, 'unfinished upload')}" if self.uploads else ""
        return f"{_count(self.objects, 'object')}{unfinished}, {in_units(self.size)} below {self.address}"


def stored_in(place: Place) -> Stored | None:
    """All versions of all objects; None where that may not be seen."""
    try:
        sizes = [each.get("Size", 0) for each in _versions(place)]
        uploads = len(list(_uploads(place)))
    except ClientError:
        return None
    return Stored(place.uri(), len(sizes), sum(sizes), uploads)


def remove_stored(place: Place) -> dict[str, str]:
    """Deletes it all, versions too; returns what could not be, and why. Raises ClientError if nothing can be."""
    s3, bucket = place.client("s3"), place.profile.bucket
    failed: dict[str, str] = {}
    batch: list[dict[str, str]] = []
    for version in [*_versions(place), None]:
        if version:
            batch.append({"Key": version["Key"], "VersionId": version["VersionId"]})
        if batch and (version is None or len(batch) == _AT_ONCE):
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
            failed |= {f"s3://{bucket}/{each['Key']}": each.get("Message", "") for each in answer.get("Errors", [])}
            batch = []
    for upload in _uploads(place):
        try:
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except ClientError as error:
            failed[f"unfinished upload of s3://{bucket}/{upload['Key']}"] = str(explained(error))
    return failed


def check_prefix(place: Place) -> None:
    """UserError unless there is a prefix: without one everything in the bucket would be ours."""
    place.need("bucket")
    if not place.profile.prefix.strip("/"):
        raise UserError(
            f"--data would delete everything in the bucket {place.profile.bucket}: the profile's prefix is empty. "
            "Delete the objects by hand, or set a prefix in kennel.toml."
        )


def in_units(size: int) -> str:
    """`812 bytes`, `1.4 MB`."""
    if size < 1000:
        return f"{size} bytes"
    for unit, factor in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if size < factor * 1000:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1e12:.1f} TB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _prefix(place: Place) -> str:
    return place.profile.prefix.strip("/") + "/" if place.profile.prefix.strip("/") else ""


def _versions(place: Place) -> Iterator[dict[str, Any]]:
    """Every version of every object, and the marks of deleted ones; a bucket without versions has one of each."""
    pages = place.client("s3").get_paginator("list_object_versions")
    for page in pages.paginate(Bucket=place.profile.bucket, Prefix=_prefix(place)):
        yield from page.get("Versions", [])
        yield from page.get("DeleteMarkers", [])


def _uploads(place: Place) -> Iterator[dict[str, Any]]:
    pages = place.client("s3").get_paginator("list_multipart_uploads")
    for page in pages.paginate(Bucket=place.profile.bucket, Prefix=_prefix(place)):
        yield from page.get("Uploads", [])
