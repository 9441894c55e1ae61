"""What a job on AWS reads: pictures that were uploaded, weights of this machine, checkpoints of an earlier job.

    print(data_line("s3://bucket/kennel/data/dogs/", place))
    job = with_weights_in_s3(job, place)                # their address; send_weights copies them
    checkpoint_uri("dogs-1", place)                     # for --resume

Exercise it: pytest tests/aws/test_train_on_aws.py
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from botocore.exceptions import ClientError

from kennel.aws.manifest import Manifest, ManifestFile
from kennel.aws.words import in_words
from kennel.errors import UserError
from kennel.launch.jobs import TrainingJob, describe_training_job
from kennel.launch.places import Place

WEIGHTS: Final = "weights"
_GOES_ON: Final = ("InProgress", "Stopping")
_DENIED: Final = ("AccessDenied", "403", "NoSuchBucket")
# As kennel.dataset reads folders: their names, and what is kept from training where pictures come in one piece.
_TRAIN: Final = ("train", "training")
_HELD_OUT_SHARE: Final = 0.2


def data_line(uri: str, place: Place) -> str:
    """What an upload says of the pictures there, for a person. They themselves were checked when they were uploaded."""
    found = find_manifest(uri, place)
    if found is None or found.digest is None:
        return (
            f"warning: {uri} has no manifest beside it that says what is there, so nobody knows whether all pictures "
            "are there and good. scripts/upload.sh --data DIR checks them and writes one."
        )
    size_mb = sum(entry.size for entry in found.files.values()) / 1e6
    return f"data: {uri}, {len(found.files)} files, {size_mb:.0f} MB, digest {found.digest[:16]}"


def find_manifest(uri: str, place: Place) -> Manifest | None:
    """What an upload left beside the pictures; None where nothing is, or it may not be read."""
    bucket, key = _address(uri)
    with in_words():
        try:
            return ManifestFile(place.client("s3"), bucket, f"{key.rstrip('/')}.manifest.json").read()
        except ClientError as error:
            if error.response["Error"]["Code"] not in _DENIED:
                raise
            return None


def training_images(manifest: Manifest) -> int:
    """How many pictures a training trains on: of train/, or of all where they come in one piece."""
    in_train = sum(name.partition("/")[0].lower() in _TRAIN for name in manifest.files)
    return in_train or int(len(manifest.files) * (1 - _HELD_OUT_SHARE))


def with_weights_in_s3(job: TrainingJob, place: Place) -> TrainingJob:
    """The job with the address in S3 that weights of this machine have, or will have: by their SHA-256."""
    path = local_weights(job)
    if path is None:
        return job
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    uri = place.uri(WEIGHTS, digest[:16], path.name)
    return dataclasses.replace(job, channels={**job.channels, WEIGHTS: uri})


def local_weights(job: TrainingJob) -> Path | None:
    """The file behind the weights channel, if it is one of this machine."""
    uri = urlsplit(job.channels.get(WEIGHTS, ""))
    return Path(unquote(uri.path)) if uri.scheme == "file" else None


def send_weights(path: Path, uri: str, place: Place) -> str:
    """Copies the file there, unless it is there; what was done, in words."""
    bucket, key = _address(uri)
    with in_words():
        client = place.client("s3")
        if _size(client, bucket, key) == path.stat().st_size:
            return f"weights: {uri}, there already"
        kms = place.profile.kms_key
        more = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms} if kms else {}
        client.upload_file(str(path), bucket, key, ExtraArgs=more)
    return f"weights: {path} copied to {uri}"


def checkpoint_uri(job: str, place: Place) -> str:
    """Where an earlier job has its checkpoints. UserError if it still runs, or has left none."""
    description = describe_training_job(job, place)
    if description["TrainingJobStatus"] in _GOES_ON:
        raise UserError(f"'{job}' is {description['TrainingJobStatus']}: two jobs must not write the same checkpoints.")
    uri = description.get("CheckpointConfig", {}).get("S3Uri")
    if not uri:
        raise UserError(f"'{job}' was made without CheckpointConfig: there is nothing to go on from.")
    bucket, key = _address(uri)
    with in_words():
        is_there = place.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{key.rstrip('/')}/", MaxKeys=1)
    if not is_there.get("Contents"):
        raise UserError(f"'{job}' has no checkpoint to go on from: {uri} is empty.")
    return str(uri)


def _size(client: Any, bucket: str, key: str) -> int | None:  # noqa: ANN401  boto3's
    """Of an object; None if it is not there."""
    try:
        return int(client.head_object(Bucket=bucket, Key=key)["ContentLength"])
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
            raise
        return None


def _address(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
