"""A folder in S3: what is there already is not sent again, what was cut short goes on, what is gone is deleted.

    sent = Upload(client, "my-bucket", "kennel/data/dogs").send(folder, digest=dataset.digest())

    s3://my-bucket/kennel/data/dogs/train/001.Affenpinscher/a.jpg       as the folder has it: a training's channel
    s3://my-bucket/kennel/data/dogs.manifest.json                       written last: each file's SHA-256, size and ETag

A file is sent unless the object has its ETag: the one that the manifest gives for its SHA-256, or its MD5 (which S3
makes the ETag of, but not with a KMS key). An upload that is interrupted leaves a manifest of what it sent, without the
digest that says that all is there; one that is killed is found again by the MD5s.
Exercise it: pytest tests/unit/aws/test_upload.py
"""

import contextlib
import hashlib
import json
import mimetypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.errors import ContractError, UserError

# Small files wait for S3's answers: 32 connections sent 12 times as many as one (measured, 30 ms an answer).
CONNECTIONS: Final = 32
_FORMAT: Final = 1
_MOST_BYTES: Final = 5 * 2**30  # of one PutObject
_DELETED_AT_ONCE: Final = 1000
_NO_SUCH: Final = ("NoSuchKey", "404")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Entry:
    """A file as the manifest has it."""

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


@dataclass(frozen=True)
class Sent:
    """What an upload did. uri: for a training's channel. bytes: that were sent."""

    uri: str
    digest: str
    sent: int
    kept: int
    deleted: int
    bytes: int


@dataclass(frozen=True)
class _File:
    """A file on this machine. md5: as S3's ETag has it."""

    name: str
    path: Path
    size: int
    sha256: str
    md5: str


@dataclass
class Upload:
    """A folder's place: s3://bucket/prefix/. client: boto3's, with CONNECTIONS connections. kms_key: for objects."""

    client: Any
    bucket: str
    prefix: str
    kms_key: str | None = None
    _known: dict[str, Entry] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """What a channel reads. It ends with a slash: `dogs/` is no prefix of `dogs2/`."""
        return f"s3://{self.bucket}/{self.prefix}/"

    @property
    def manifest_key(self) -> str:
        """Beside the folder, so that no training reads it."""
        return f"{self.prefix}.manifest.json"

    def send(self, folder: Path, *, digest: str, progress: Progress | None = None) -> Sent:
        """Makes the prefix the same as `folder`, hidden files left out. progress: (bytes done, of all).

        Raises UserError for a folder that is none, what boto3 raises, and KeyboardInterrupt: then the manifest says
        what is there already.
        """
        files = sorted(_files(folder), key=lambda each: each.name)
        if not files:
            raise UserError(f"{folder} has no files to upload.")
        before, objects = self.manifest(), dict(self._objects())
        kept = {each.name: entry for each in files if (entry := _kept(each, before, objects.get(each.name)))}
        self._known = dict(kept)
        missing = [each for each in files if each.name not in kept]
        if missing or kept.keys() != objects.keys() or before is None or before.digest != digest:
            self._make_so(missing, objects.keys() - {each.name for each in files}, digest, progress, before)
        sent_bytes = sum(each.size for each in missing)
        gone = len(objects.keys() - {each.name for each in files})
        return Sent(self.uri, digest, len(missing), len(kept), gone, sent_bytes)

    def manifest(self) -> Manifest | None:
        """What the last upload left; None if there is none. Raises ContractError for one of a newer version."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.manifest_key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NO_SUCH:
                return None
            raise
        with contextlib.closing(answer["Body"]) as body:
            return _read_manifest(body.read(), f"s3://{self.bucket}/{self.manifest_key}")

    def _make_so(
        self, missing: Sequence[_File], gone: set[str], digest: str, progress: Progress | None, before: Manifest | None
    ) -> None:
        if before and before.digest is not None and (missing or gone):
            self._write(None)  # from now on it is not what it says
        try:
            self._send_all(missing, progress)
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to be told
                self._write(None)
            raise
        self._delete(sorted(gone))
        self._write(digest)

    def _send_all(self, files: Sequence[_File], progress: Progress | None) -> None:
        """Many at once; a few more than are under way are read ahead."""
        total, done = sum(each.size for each in files), 0
        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="upload") as pool:
            waiting: set[Future[_File]] = set()
            queue = iter(files)
            try:
                while True:
                    for file in queue:
                        waiting.add(pool.submit(self._put, file))
                        if len(waiting) >= 2 * CONNECTIONS:
                            break
                    if not waiting:
                        return
                    finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    done += sum(each.result().size for each in finished)
                    if progress:
                        progress(done, total)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _put(self, file: _File) -> _File:
        kind = mimetypes.guess_type(file.name)[0]
        more = {"ContentType": kind} if kind else {}
        more |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key} if self.kms_key else {}
        content = file.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise UserError(f"{file.path} has changed while it was uploaded. Upload again when nothing writes there.")
        key = f"{self.prefix}/{file.name}"
        answer = self.client.put_object(Bucket=self.bucket, Key=key, Body=content, **more)
        self._known[file.name] = Entry(file.sha256, file.size, answer["ETag"].strip('"'))
        return file

    def _delete(self, names: Sequence[str]) -> None:
        for first in range(0, len(names), _DELETED_AT_ONCE):
            keys = [{"Key": f"{self.prefix}/{name}"} for name in names[first : first + _DELETED_AT_ONCE]]
            self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})

    def _write(self, digest: str | None) -> None:
        body = Manifest(digest, dict(self._known)).to_json().encode()
        self.client.put_object(Bucket=self.bucket, Key=self.manifest_key, Body=body, ContentType="application/json")

    def _objects(self) -> Iterator[tuple[str, str]]:
        """Relative names and ETags of what is there."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        for page in pages:
            for each in page.get("Contents", ()):
                yield each["Key"].removeprefix(f"{self.prefix}/"), each["ETag"].strip('"')


def _kept(file: _File, before: Manifest | None, etag: str | None) -> Entry | None:
    """The object's entry, if it is what the file is."""
    if etag is None:
        return None
    known = before.files.get(file.name) if before else None
    is_known = known is not None and known.sha256 == file.sha256 and known.etag == etag
    return Entry(file.sha256, file.size, etag) if is_known or etag == file.md5 else None


def _files(folder: Path) -> Iterator[_File]:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder.")
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in Path(name).parts):
            yield _read(path, name)


def _read(path: Path, name: str) -> _File:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
    if size > _MOST_BYTES:
        raise UserError(f"{path} has {size / 2**30:.1f} GiB, more than S3 takes in one piece (5). It is no picture.")
    return _File(name, path, size, sha256.hexdigest(), md5.hexdigest())


def _read_manifest(content: bytes, where: str) -> Manifest:
    try:
        read = json.loads(content)
        is_ours = read["format"] == _FORMAT
        files = {name: Entry(**entry) for name, entry in read["files"].items()} if is_ours else {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(f"{where} is no manifest of Kennel's ({error!r}). Delete it, and upload again.") from error
    if not is_ours:
        raise ContractError(f"{where} is of format {read['format']}; this version reads {_FORMAT}. Use a newer Kennel.")
    return Manifest(read["digest"], files)
