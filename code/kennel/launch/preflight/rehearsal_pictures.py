"""A job's pictures, wherever its channels are, and a few of them in a folder of this machine.

    there = find_pictures(job.channels, s3)
    few = there.sample(200); few.bring(folder, s3)          # folder/train/<class>/..., folder/valid/<class>/...

Only names are looked at, as kennel.dataset.folders reads them: train/ valid/ test/ of class folders, or class folders.
Exercise it: pytest tests/unit/launch/test_rehearsal.py
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kennel.errors import UserError

# As kennel.images.decode and kennel.dataset.folders have them, which launching must not import; a test compares.
EXTENSIONS: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
SPLITS: Final[Mapping[str, str]] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}
HELD_OUT_SHARE: Final = 0.1
_AT_ONCE: Final = 16
_LEAST_CLASSES: Final = 2


@dataclass(frozen=True)
class Picture:
    """split: train, valid, test, or "" where a folder comes in one piece. source: a path, or an s3:// address."""

    split: str
    label: str
    name: str
    source: str


@dataclass(frozen=True)
class Counts:
    """Pictures that a training trains on, validates on in each epoch, and tests on once."""

    train: int
    valid: int
    test: int

    @property
    def all(self) -> int:
        return self.train + self.valid + self.test


@dataclass(frozen=True)
class Pictures:
    """Sorted by split, class and name."""

    pictures: tuple[Picture, ...]

    @property
    def counts(self) -> Counts:
        """How a training takes them: what is missing is drawn from train, a tenth each."""
        found = {split: sum(each.split == split for each in self.pictures) for split in ("train", "valid", "test", "")}
        train, valid, test = found["train"] + found[""], found["valid"], found["test"]
        if valid:
            return Counts(train, valid, test)
        drawn = round(train * HELD_OUT_SHARE)
        return Counts(train - drawn - (0 if test else drawn), drawn, test or drawn)

    def sample(self, number: int) -> "Pictures":
        """About that many, of as many classes as have three each in it, in splits as large as the whole has them.

        Each class gives as many, spread over its files. Raises UserError where two classes do not have three.
        """
        counts = self.counts
        share = min(max(counts.valid / (counts.train + counts.valid), 0.1), 0.5)
        usable = [each for each in self._classes().values() if len(each) > _LEAST_CLASSES]
        classes = _spread(usable, max(number // 3, _LEAST_CLASSES))
        if len(classes) < _LEAST_CLASSES:
            raise UserError("A rehearsal needs two classes with three pictures each, and the job's data has fewer.")
        taken: list[Picture] = []
        for number_here, pictures in zip(_parts(number, len(classes)), classes, strict=True):
            few = _spread(pictures, max(number_here, 3))
            validating = max(1, round(len(few) * share))
            taken += [replace(each, split="valid") for each in few[:validating]]
            taken += [replace(each, split="train") for each in few[validating:]]
        return Pictures(tuple(taken))

    def bring(self, folder: Path, s3: Any) -> None:  # noqa: ANN401  boto3's
        """Copies them into `folder`, many at once. Raises what boto3 raises."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="rehearsal") as pool:
            list(pool.map(lambda each: _bring(each, folder, s3), self.pictures))

    def _classes(self) -> dict[str, list[Picture]]:
        """What is trained and validated on, by class; validation's own first."""
        found: dict[str, list[Picture]] = defaultdict(list)
        for each in sorted(self.pictures, key=lambda each: (each.split != "valid", each.label, each.name)):
            if each.split != "test":
                found[each.label].append(each)
        return found


def find_pictures(channels: Mapping[str, str], s3: Any) -> Pictures:  # noqa: ANN401
    """Those of every channel but `weights`. Raises UserError where there are none, and what boto3 raises."""
    found = [
        picture
        for channel, uri in channels.items()
        if channel != "weights"
        for relative, source in (_objects(uri, s3) if uri.startswith("s3://") else _files(uri))
        if (picture := _picture(channel, relative, source))
    ]
    if not found:
        raise UserError(f"There is no picture in class folders at {', '.join(channels.values())}.")
    return Pictures(tuple(sorted(found, key=lambda each: (each.split, each.label, each.name))))


def bring_file(uri: str, folder: Path, s3: Any) -> Path:  # noqa: ANN401
    """A channel's one file on this machine: where it is, or a copy in `folder`."""
    if not uri.startswith("s3://"):
        return Path(unquote(urlsplit(uri).path))
    path = folder / uri.rpartition("/")[2]
    _download(uri, path, s3)
    return path


def _picture(channel: str, relative: str, source: str) -> Picture | None:
    parts = PurePosixPath(relative).parts
    if any(part.startswith(".") for part in parts) or not relative.lower().endswith(EXTENSIONS):
        return None
    split = SPLITS.get(channel.lower(), "")
    if len(parts) == 3 and parts[0].lower() in SPLITS:
        split, parts = SPLITS[parts[0].lower()], parts[1:]
    return Picture(split, parts[0], parts[1], source) if len(parts) == 2 else None


def _objects(uri: str, s3: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder):
        for each in page.get("Contents", ()):
            yield each["Key"].removeprefix(folder), f"s3://{bucket}/{each['Key']}"


def _files(uri: str) -> Iterator[tuple[str, str]]:
    folder = Path(unquote(urlsplit(uri).path))
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(parent, name)
            yield path.relative_to(folder).as_posix(), str(path)


def _bring(picture: Picture, folder: Path, s3: Any) -> None:  # noqa: ANN401
    path = folder / picture.split / picture.label / picture.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if picture.source.startswith("s3://"):
        _download(picture.source, path, s3)
    else:
        shutil.copyfile(picture.source, path)


def _download(uri: str, path: Path, s3: Any) -> None:  # noqa: ANN401
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with s3.get_object(Bucket=bucket, Key=key)["Body"] as body, path.open("wb") as file:
        shutil.copyfileobj(body, file, 1 << 20)


def _spread(items: Sequence[Any], number: int) -> list[Any]:
    """At most that many, from the first to the last at even distances."""
    if len(items) <= number:
        return list(items)
    return [items[index * len(items) // number] for index in range(number)]


def _parts(number: int, count: int) -> list[int]:
    """`number` in `count` parts that differ by one at most."""
    return [number // count + (index < number % count) for index in range(count)]
