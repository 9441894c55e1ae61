"""The pictures that a page shows, found where the training read them, as thumbnails within the page.

A picture is known by its split and its relative path, as the predictions have it. It is looked for below the folder
the user names, and below the input channels that are still on this machine, in both layouts a data set may have.
"""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from PIL import Image

from kennel.errors import ImageError
from kennel.images.decode import read_image

SIDE_PX: Final = 128
MAX_BYTES: Final = 1_800_000  # of all thumbnails of a page, as base64
_QUALITY: Final = 62
_SPLIT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test",),
}

Key = tuple[str, str]  # split, relative path


@dataclass
class Thumbnails:
    """data: key -> data URI. missing: key -> why there is no picture of it."""

    data: dict[Key, str] = field(default_factory=dict)
    missing: dict[Key, str] = field(default_factory=dict)


def make_thumbnails(keys: Iterable[Key], roots: Sequence[Path], channels: Mapping[str, Path]) -> Thumbnails:
    """A thumbnail of each picture that is there and can be decoded, in their order, as long as there is room.

    roots: folders of data sets, the likeliest first. channels: a channel may be a split itself.
    """
    made, room = Thumbnails(), MAX_BYTES
    for key in dict.fromkeys(keys):
        path = find_picture(key, roots, channels)
        if path is None:
            made.missing[key] = "not found"
            continue
        try:
            uri = thumbnail(path)
        except (ImageError, OSError) as error:
            made.missing[key] = str(error)
            continue
        if len(uri) > room:
            made.missing[key] = "left out: the page has its share of pictures"
            continue
        room -= len(uri)
        made.data[key] = uri
    return made


def find_picture(key: Key, roots: Sequence[Path], channels: Mapping[str, Path]) -> Path | None:
    """The file of a picture, or None. A path that would lead out of the data set's folder is no picture of it."""
    split, relative = key
    if PurePosixPath(relative).is_absolute() or ".." in PurePosixPath(relative).parts:
        return None
    return next((path for path in _candidates(split, relative, roots, channels) if path.is_file()), None)


def _candidates(split: str, relative: str, roots: Sequence[Path], channels: Mapping[str, Path]) -> Iterator[Path]:
    names = _SPLIT_NAMES.get(split, (split,))
    for root in roots:
        yield from (root / name / relative for name in names)
        yield root / relative
    yield from (channels[name] / relative for name in names if name in channels)
    for folder in channels.values():
        yield from (folder / name / relative for name in names)
        yield folder / relative


def thumbnail(path: Path) -> str:
    """A data URI of the picture, its longer side 128 px. Raises ImageError and OSError."""
    picture = read_image(path)
    picture.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    target = io.BytesIO()
    picture.save(target, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(target.getvalue()).decode()
