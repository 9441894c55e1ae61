"""What a transform's files are, by their names: a job has one content type for all of them.

    read_format(["a.jpg", "b.png"], "s3://bucket/photos")       # ("application/x-image", "None")

Exercise it: pytest tests/unit/launch/test_transform.py
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from kennel.errors import DataError

_PICTURES: Final = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
# What SageMaker's own image classification calls a picture of any kind; a job has one content type for all its files.
_ANY_PICTURE: Final = "application/x-image"
# The content type of a file, and how it is split.
_RECORDS: Final = {
    ".json": ("application/json", "None"),
    ".jsonl": ("application/json", "Line"),
    ".ndjson": ("application/json", "Line"),
    ".csv": ("text/csv", "Line"),
}


def read_format(names: Sequence[str], where: str) -> tuple[str, str]:
    """The content type of all files, and how they are split. where: they are, for the DataError if there is none."""
    kinds = {_kind(name, where): f"{where}/{name}" for name in reversed(names)}
    if len(kinds) > 1:
        if all(kind.startswith("image/") for kind, _ in kinds):
            return _ANY_PICTURE, "None"
        (one, first), (other, second), *_ = sorted(kinds.items())
        raise DataError(
            f"{first} is {one[0]} and {second} is {other[0]}: a transform job has one content type for all its files. "
            "Put them into folders of their own, or name the type with --content-type."
        )
    [kind] = kinds
    return kind


def _kind(name: str, where: str) -> tuple[str, str]:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _PICTURES:
        return _PICTURES[suffix], "None"
    if suffix not in _RECORDS:
        known = " ".join([*_PICTURES, *_RECORDS])
        raise DataError(
            f"{where}/{name} is of no kind that is known by its name ({known}). Take it out of the folder, or name the "
            "type of all files with --content-type."
        )
    return _RECORDS[suffix]
