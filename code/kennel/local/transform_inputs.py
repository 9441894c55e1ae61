"""What a batch transform reads: the objects below a prefix, those of a manifest, or one; in the local S3 or on disk."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from kennel.errors import ContractError
from kennel.local.faults import ApiError, invalid
from kennel.local.storage import LocalS3, S3Address, read_address, relative_names
from kennel.local.transform_records import Stream
from kennel.local.validation import Json

_MANIFEST = '[{"prefix": "s3://bucket/folder/"}, "one.jpg", "two.jpg"]'


@dataclass(frozen=True)
class Source:
    """One object. name: relative to the input, which its output is named after. label: as SageMaker's log names it."""

    name: str
    label: str
    open: Callable[[], Stream]


def check_input(request: Json, s3: LocalS3) -> None:
    """Raises ApiError if a CreateTransformJob request names nothing that can be read."""
    asked = request["TransformInput"]["DataSource"]["S3DataSource"]
    kind, uri = asked["S3DataType"], asked["S3Uri"]
    if kind not in ("S3Prefix", "ManifestFile"):
        raise invalid(f"S3DataType '{kind}' is not one a transform job takes. Use 'S3Prefix' or 'ManifestFile'.")
    address = _address(uri)
    if kind == "ManifestFile":
        _manifest(uri, address, s3)
    elif not (address.exists() if isinstance(address, Path) else s3.has_any(address)):
        raise nothing_found(uri)
    elif isinstance(address, Path) and next(_files(address), None) is None:
        raise nothing_found(uri)


def sources(request: Json, s3: LocalS3) -> Iterator[Source]:
    """Every object of the input, by name; the prefix is listed once. Raises what the local S3 raises, or ApiError."""
    asked = request["TransformInput"]
    uri = asked["DataSource"]["S3DataSource"]["S3Uri"]
    address = _address(uri)
    if asked["DataSource"]["S3DataSource"]["S3DataType"] == "ManifestFile":
        found = _manifest(uri, address, s3)
    elif isinstance(address, Path):
        found = ((path, name) for path, name in _files(address))
    else:
        names = sorted(relative_names(address.key, s3.keys(address)))
        found = ((S3Address(address.bucket, key), name) for key, name in names)
    for place, name in found:
        yield _source(place, name, s3, is_gzip=asked.get("CompressionType") == "Gzip")


def nothing_found(uri: str) -> ApiError:
    """AWS's words for an empty input, and what they mean here."""
    return invalid(
        f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket exists in '
        "the local S3 (it holds what was uploaded since the service started) or that the file:// folder does, and that "
        "objects exist under it."
    )


def _source(place: S3Address | Path, name: str, s3: LocalS3, *, is_gzip: bool) -> Source:
    def open_it() -> Stream:
        plain = place.open("rb") if isinstance(place, Path) else s3.open(place)
        return cast(Stream, _Unpacked(plain) if is_gzip else plain)

    label = str(place) if isinstance(place, Path) else f"{place.bucket}/{place.key}"
    return Source(name, label, open_it)


class _Unpacked:
    """A gzip stream that closes what it reads from."""

    def __init__(self, packed: Any) -> None:  # noqa: ANN401  a file, or botocore's StreamingBody
        self._packed = packed
        self._file = gzip.GzipFile(fileobj=packed, mode="rb")

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._file.read(size)
        except EOFError as error:
            raise gzip.BadGzipFile(str(error)) from error

    def close(self) -> None:
        self._file.close()
        self._packed.close()


def _files(address: Path) -> Iterator[tuple[Path, str]]:
    """The files of a folder by their relative names, or the one file; hidden ones (.DS_Store) are left out."""
    if address.is_file():
        yield address, address.name
        return
    for folder, folders, names in os.walk(address):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(folder, name)
                yield path, path.relative_to(address).as_posix()


def _manifest(uri: str, address: S3Address | Path, s3: LocalS3) -> Iterator[tuple[S3Address | Path, str]]:
    """The places a manifest names, with their names below its prefix. Raises ApiError for a file that is none."""
    content = _read_manifest(uri, address, s3)
    is_list = isinstance(content, list) and len(content) > 1 and isinstance(content[0], dict)
    if not is_list or set(content[0]) != {"prefix"} or not all(isinstance(each, str) for each in content[1:]):
        raise invalid(f"{uri} is no manifest of objects. Expected JSON such as {_MANIFEST}")
    prefix = str(content[0]["prefix"])
    return iter([(_address(f"{prefix}{name}"), name) for name in content[1:]])


def _read_manifest(uri: str, address: S3Address | Path, s3: LocalS3) -> Any:  # noqa: ANN401  whatever JSON held
    if not (address.is_file() if isinstance(address, Path) else s3.has_object(address)):
        raise nothing_found(uri)
    stream = address.open("rb") if isinstance(address, Path) else s3.open(address)
    try:
        return json.loads(stream.read())
    except ValueError as error:
        raise invalid(f"{uri} is no manifest of objects: {error}. Expected JSON such as {_MANIFEST}") from error
    finally:
        stream.close()


def _address(uri: str) -> S3Address | Path:
    try:
        return read_address(uri)
    except ContractError as error:
        raise invalid(str(error)) from error
