"""A folder in S3: what is there already is not sent again, what was cut short goes on, what is gone is deleted.

    upload = Upload(client, "my-bucket", "kennel/data/dogs")
    plan = upload.compare(folder)               # reads the files, and lists what is there
    sent = upload.send(plan, digest=dataset.digest())

    s3://my-bucket/kennel/data/dogs/train/001.Affenpinscher/a.jpg       as the folder has it: a training's channel
    s3://my-bucket/kennel/data/dogs.manifest.json                       written first and last: kennel.aws.manifest

A file is sent unless the object has its ETag: the one that the manifest gives for its SHA-256, or its MD5 (which S3
makes the ETag of, but not with a KMS key). An upload that is interrupted leaves a manifest of what it sent, without the
digest that says that all is there; one that is killed is found again by the MD5s.
Exercise it: pytest tests/aws/test_upload.py
"""

import contextlib
import hashlib
import mimetypes
import os
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from botocore.config import Config

from kennel.aws.manifest import Entry, Manifest, ManifestFile
from kennel.errors import KennelError, UserError

# Small files wait for S3's answers: 32 connections sent 12 times as many as one (measured, 30 ms an answer).
CONNECTIONS: Final = 32
# S3 asks to slow down where a prefix is new and many write: adaptive retries do so.
CLIENT: Final = Config(
    max_pool_connections=CONNECTIONS, retries={"mode": "adaptive", "total_max_attempts": 8}, connect_timeout=20
)
_MOST_BYTES: Final = 5 * 2**30  # of one PutObject
_LONGEST_KEY: Final = 1024
_DELETED_AT_ONCE: Final = 1000
_SHOWN: Final = 3

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine. md5: as S3's ETag has it."""

    name: str
    path: Path
    size: int
    sha256: str
    md5: str


@dataclass(frozen=True)
class Plan:
    """What an upload has to do. kept: is there already. gone: an earlier upload sent it, and the folder has it no more.

    strangers: objects that no upload of ours has put there. before: what the last upload left.
    """

    missing: tuple[LocalFile, ...]
    kept: Mapping[str, Entry]
    gone: tuple[str, ...]
    strangers: tuple[str, ...]
    before: Manifest | None

    @property
    def bytes(self) -> int:
        """To send."""
        return sum(each.size for each in self.missing)

    @property
    def files(self) -> int:
        """That will be there."""
        return len(self.missing) + len(self.kept)


@dataclass(frozen=True)
class Sent:
    """What an upload did. uri: for a training's channel. bytes: that were sent."""

    uri: str
    digest: str
    sent: int
    kept: int
    deleted: int
    bytes: int


@dataclass
class Upload:
    """A folder's place: s3://bucket/prefix/. client: boto3's `s3`, made with CLIENT. kms_key: for objects.

    there: how many files are there, as far as it has come.
    """

    client: Any
    bucket: str
    prefix: str
    kms_key: str | None = None
    there: int = 0
    _known: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._manifest = ManifestFile(self.client, self.bucket, self.manifest_key, self._encryption())

    @property
    def uri(self) -> str:
        """What a channel reads. It ends with a slash: `dogs/` is no prefix of `dogs2/`."""
        return f"s3://{self.bucket}/{self.prefix}/"

    @property
    def manifest_key(self) -> str:
        """Beside the folder, so that no training reads it."""
        return f"{self.prefix}.manifest.json"

    def manifest(self) -> Manifest | None:
        """What the last upload left; None if there is none. Raises ContractError for one of a newer version."""
        return self._manifest.read()

    def compare(self, folder: Path, paths: Collection[Path] | None = None) -> Plan:
        """What has to be done for the prefix to be as `folder` is. paths: of it; else all but hidden files.

        Raises UserError for a folder that is none, and a file that cannot be read or S3 would not take.
        """
        found = _files_of(folder) if paths is None else paths
        if not found:
            raise UserError(f"{folder} has no files to upload.")
        named = {_name(path, folder, self.prefix): path for path in found}
        files = _read_all(named)
        before, objects = self.manifest(), dict(self._objects())
        kept = {each.name: entry for each in files if (entry := _kept(each, before, objects.get(each.name)))}
        others = sorted(objects.keys() - {each.name for each in files})
        ours = before.files if before else {}
        return Plan(
            missing=tuple(each for each in files if each.name not in kept),
            kept=kept,
            gone=tuple(name for name in others if name in ours),
            strangers=tuple(name for name in others if name not in ours),
            before=before,
        )

    def check(self, plan: Plan) -> None:
        """Raises UserError where carrying it out would delete what somebody may want."""
        if plan.strangers:
            shown = ", ".join(plan.strangers[:_SHOWN]) + (", ..." if len(plan.strangers) > _SHOWN else "")
            raise UserError(
                f"{self.uri} holds {len(plan.strangers)} objects that kennel upload has not put there ({shown}). "
                "Upload under another name (--name), or delete them with it: --replace."
            )
        earlier = len(plan.before.files) if plan.before else 0
        if 2 * len(plan.gone) > earlier:
            raise UserError(
                f"{self.uri} holds an earlier upload of {earlier} files, and this folder lacks {len(plan.gone)} of "
                "them: it may be another data set. Upload under another name (--name), or let those go: --replace."
            )

    def send(self, plan: Plan, *, digest: str, progress: Progress | None = None) -> Sent:
        """Makes the prefix as the folder was when it was compared. progress: (bytes done, of all).

        Raises UserError for a file that has changed meanwhile, KennelError where another upload writes there as well,
        what boto3 raises, and KeyboardInterrupt: then the manifest says what is there already.
        """
        self._known, self.there = dict(plan.kept), len(plan.kept)
        gone = [*plan.gone, *plan.strangers]
        named = plan.before.files.keys() if plan.before else ()
        is_said = plan.before is not None and plan.before.digest == digest and named == plan.kept.keys()
        if plan.missing or gone or not is_said:
            with self._open(plan):
                self._put_all(plan.missing, progress)
            self._delete(sorted(gone))
            self._check_all_there()
            self._manifest.write(Manifest(digest, self._known))
        return Sent(self.uri, digest, len(plan.missing), len(plan.kept), len(gone), plan.bytes)

    @contextlib.contextmanager
    def _open(self, plan: Plan) -> Iterator[None]:
        """Meanwhile, and after an error, the manifest names all that may be there, and says that it is not all."""
        foreseen = {each.name: Entry(each.sha256, each.size, each.md5) for each in plan.missing}
        foreseen |= {name: plan.before.files[name] for name in plan.gone if plan.before}
        self._manifest.write(Manifest(None, foreseen | self._known))
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to be told
                self._manifest.write(Manifest(None, foreseen | self._known))
            raise

    def _put_all(self, files: Sequence[LocalFile], progress: Progress | None) -> None:
        """Many at once; a few more than are under way are read ahead."""
        total, done = sum(each.size for each in files), 0
        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="upload") as pool:
            waiting: set[Future[LocalFile]] = set()
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
                self.there = len(self._known)
                raise
        self.there = len(self._known)

    def _put(self, file: LocalFile) -> LocalFile:
        kind = mimetypes.guess_type(file.name)[0]
        more = ({"ContentType": kind} if kind else {}) | self._encryption()
        content = _content(file.path)
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise UserError(f"{file.path} has changed while it was uploaded. Upload again when nothing writes there.")
        key = f"{self.prefix}/{file.name}"
        answer = self.client.put_object(Bucket=self.bucket, Key=key, Body=content, **more)
        self._known[file.name] = Entry(file.sha256, file.size, answer["ETag"].strip('"'))
        return file

    def _encryption(self) -> dict[str, str]:
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key} if self.kms_key else {}

    def _delete(self, names: Sequence[str]) -> None:
        for first in range(0, len(names), _DELETED_AT_ONCE):
            keys = [{"Key": f"{self.prefix}/{name}"} for name in names[first : first + _DELETED_AT_ONCE]]
            answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})
            if errors := answer.get("Errors"):
                raise UserError(
                    f"S3 did not delete {len(errors)} of {len(keys)} objects, the first: {errors[0].get('Key')}: "
                    f"{errors[0].get('Code')} {errors[0].get('Message', '')}. s3:DeleteObject is needed for it."
                )

    def _check_all_there(self) -> None:
        """Nobody else may have written there meanwhile: what a training reads is what the manifest says."""
        objects = dict(self._objects())
        wrong = sorted({name for name, entry in self._known.items() if objects.get(name) != entry.etag})
        wrong += sorted(objects.keys() - self._known.keys())
        if wrong:
            raise KennelError(
                f"Something else writes to {self.uri}: {len(wrong)} objects are not what was sent, such as {wrong[0]}. "
                "Let it end, and say this again: only what differs is sent."
            )

    def _objects(self) -> Iterator[tuple[str, str]]:
        """Relative names and ETags of what is there; not the empty objects that stand for folders in the console."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        for page in pages:
            for each in page.get("Contents", ()):
                if not each["Key"].endswith("/"):
                    yield each["Key"].removeprefix(f"{self.prefix}/"), each["ETag"].strip('"')


def _kept(file: LocalFile, before: Manifest | None, etag: str | None) -> Entry | None:
    """The object's entry, if it is what the file is."""
    if etag is None:
        return None
    known = before.files.get(file.name) if before else None
    is_known = known is not None and known.sha256 == file.sha256 and known.etag == etag
    return Entry(file.sha256, file.size, etag) if is_known or etag == file.md5 else None


def _files_of(folder: Path) -> list[Path]:
    """All files below a folder but hidden ones; what a link leads to is read as if it lay there."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder.")
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        if Path(parent).resolve() in [each.resolve() for each in Path(parent).parents]:
            raise UserError(f"{parent} is a link to a folder that it lies in: there is no end to it. Delete the link.")
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".") and Path(parent, name).is_file()]
    return found


def _name(path: Path, folder: Path, prefix: str) -> str:
    """The file's part of the key."""
    name = path.relative_to(folder).as_posix()
    try:
        size = len(f"{prefix}/{name}".encode())
    except UnicodeEncodeError as error:
        raise UserError(f"{name!r} in {folder} is no text in UTF-8, as S3's names are. Rename the file.") from error
    if any(unicodedata.category(each) == "Cc" for each in name):
        raise UserError(f"{name!r} in {folder} has a control character, which S3's lists cannot show. Rename the file.")
    if size > _LONGEST_KEY:
        raise UserError(
            f"{name} is too long: S3's names have at most {_LONGEST_KEY} bytes, this one {size}. Rename it."
        )
    return name


def _read_all(named: Mapping[str, Path]) -> list[LocalFile]:
    """In the order of their names. Reading and hashing let go of the interpreter's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda name: _read(named[name], name), sorted(named)))


def _read(path: Path, name: str) -> LocalFile:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with _readable(path), path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
    if size > _MOST_BYTES:
        raise UserError(f"{path} has {size / 2**30:.1f} GiB, more than S3 takes in one piece (5). It is no picture.")
    return LocalFile(name, path, size, sha256.hexdigest(), md5.hexdigest())


def _content(path: Path) -> bytes:
    with _readable(path):
        return path.read_bytes()


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}). Mend its permissions, or take it out.") from error
