"""Folders of pictures as classes and splits: found, named, and split by a seed where they come in one piece.

Both layouts people have are read:

    split   train/ valid/ test/ of class folders (also: val, validation, training)
    flat    one folder of class folders, split 80:10:10 by the seed

A class folder holds its pictures directly. `001.Affenpinscher` is the class labelled `Affenpinscher`.
Nothing is decoded here: a picture is a file named like one; `check` looks inside.
`kennel check --data DIR` shows what is found.
"""

import dataclasses
import functools
import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kennel.dataset.threads import in_threads
from kennel.errors import DataError
from kennel.images.decode import EXTENSIONS

SPLITS: Final = ("train", "valid", "test")
# What people call the splits -> what we call them.
SPLIT_NAMES: Final[Mapping[str, str]] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}
HELD_OUT_SHARE: Final = 0.1  # of each class, for valid and again for test, where a folder comes in one piece
_LITTER: Final = ("thumbs.db", "desktop.ini", "__macosx")  # what Windows and macOS leave behind; no pictures of ours
_EXPECTED: Final = "Expected train/<class>/<image>.jpg and valid/..., or <class>/<image>.jpg"


class FolderError(DataError):
    """Folders that are no data set.

    kind: "empty", "one_class", "missing_class" or "layout", as `check` reports it.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class ClassName:
    """One class: its folder's name, and what predictions call it."""

    folder: str
    label: str

    @classmethod
    def of(cls, folder: str) -> "ClassName":
        """`001.Affenpinscher` is labelled `Affenpinscher`; a name without such a number is its own label."""
        return cls(folder, re.sub(r"^\d+\.(?=.)", "", folder))


@dataclass(frozen=True)
class Example:
    """One picture. target: index into Dataset.classes."""

    path: Path
    target: int

    @property
    def relative(self) -> str:
        """`<class folder>/<file>`: the same on every machine, and unique within a split."""
        return f"{self.path.parent.name}/{self.path.name}"


@dataclass(frozen=True)
class Dataset:
    """Pictures by split, in a fixed order.

    classes: sorted by folder name. splits: exactly "train", "valid" and "test"; only test may be empty.
    layout: "split" or "flat". seed: what the splits were drawn with; None if all came as folders.
    ignored: what lies in class folders and is no picture by its name.
    """

    classes: tuple[ClassName, ...]
    splits: Mapping[str, tuple[Example, ...]]
    layout: str
    seed: int | None
    ignored: tuple[Path, ...] = ()

    def examples(self) -> Iterator[tuple[str, Example]]:
        """Every (split, example), train first."""
        for split in SPLITS:
            for example in self.splits[split]:
                yield split, example

    def digest(self) -> str:
        """sha256 over splits, relative paths and contents, hexadecimal; the same wherever the folder lies."""
        entries = list(self.examples())
        hashes = in_threads(lambda entry: hash_file(entry[1].path), entries)
        pairs = zip(entries, hashes, strict=True)
        lines = sorted(f"{split}/{example.relative}\0{found}\n" for (split, example), found in pairs)
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()

    def split_record(self) -> dict[str, Any]:
        """Which picture is in which split, for JSON: {"layout", "seed", "train": [relative paths], "valid", "test"}."""
        files = {split: [example.relative for example in self.splits[split]] for split in SPLITS}
        return {"layout": self.layout, "seed": self.seed, **files}


def find_folder(folder: Path, *, seed: int) -> Dataset:
    """The data set in one folder, in either layout.

    The seed splits what comes in one piece: each class by itself, and the same way on every machine.
    Raises FolderError (a DataError) if there is no data set in it, naming the remedy.
    """
    splits = _split_folders(_subfolders(_existing(folder)))
    if not splits:
        return _build({"train": folder}, layout="flat", seed=seed)
    if "train" not in splits:
        raise FolderError(
            f"{folder} has {_names(splits.values())} but no train. Add train/<class>/<image>.jpg beside it.",
            kind="layout",
        )
    return _build(splits, layout="split", seed=seed)


def find_dataset(channels: Mapping[str, Path], *, seed: int) -> Dataset:
    """The data set in a job's input channels.

    Channels `train` and `valid` (also val, validation; and `test`) are the splits; one channel alone, whatever
    its name, is a folder in either layout. What is not there is split off train by the seed.
    Channels without pictures, such as `weights`, are ignored.
    Raises FolderError if the channels are no data set, naming the remedy.
    """
    if not channels:
        raise FolderError(f"The job has no input channel. Give one named train. {_EXPECTED}.", kind="empty")
    pictured = {name: path for name, path in channels.items() if _holds_pictures(path)}
    named = {name: path for name, path in channels.items() if name.lower() in SPLIT_NAMES}
    if not pictured:
        raise _empty_channels(named or channels)
    if len(pictured) == 1 and set(named) <= set(pictured):
        return find_folder(next(iter(pictured.values())), seed=seed)
    unknown = sorted(set(pictured) - set(named))
    splits = _by_split(named)
    if unknown or "train" not in splits:
        raise FolderError(
            f"Channels {_quoted(pictured)} hold pictures, and it is not clear which is which. "
            f"Name them train, valid and test, or give one channel with everything in it.",
            kind="layout",
        )
    return _build(splits, layout="split", seed=seed)


def without(dataset: Dataset, paths: Collection[Path]) -> Dataset:
    """The data set less some of its pictures; the others stay in their splits. `check` says which to leave out."""
    left_out = set(paths)
    splits = {
        split: tuple(example for example in examples if example.path not in left_out)
        for split, examples in dataset.splits.items()
    }
    return dataclasses.replace(dataset, splits=splits)


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal. One that did not change since this process hashed it is not read again."""
    stat = path.stat()
    return _hash_of(path, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@functools.lru_cache(maxsize=1_000_000)
def _hash_of(path: Path, _version: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- Folders to splits --------------------------------------------------------------------------------------------


def _existing(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    if folder.exists():
        raise FolderError(f"{folder} is a file, not a folder. {_EXPECTED}; unpack an archive first.", kind="layout")
    raise FolderError(f"{folder} does not exist. Check the path; {_lower(_EXPECTED)}.", kind="empty")


def _build(folders: Mapping[str, Path], *, layout: str, seed: int) -> Dataset:
    """The data set of split folders. Without valid, it is drawn from train, and so is test if it is missing too."""
    found = {split: _class_files(_existing(folders[split])) for split in SPLITS if split in folders}
    _check_train(folders["train"], found["train"])
    for split in ("valid", "test"):
        _check_known(split, found.get(split, {}), found["train"])
    missing = () if "valid" in found else tuple(split for split in ("valid", "test") if split not in found)
    drawn = _draw_splits(found["train"], missing, seed) if missing else {}
    names = sorted(found["train"])
    classes = tuple(ClassName.of(name) for name in names)
    _check_labels(classes)
    splits = {
        split: tuple(
            Example(path, target)
            for target, name in enumerate(names)
            for path in drawn.get(split, found.get(split, {})).get(name, ())
        )
        for split in SPLITS
    }
    if not splits["valid"]:
        raise FolderError(_no_valid(folders), kind="empty")
    ignored = tuple(path for split in found for path in _ignored(folders[split]))
    return Dataset(classes, splits, layout, seed if missing else None, ignored)


def _draw_splits(
    classes: Mapping[str, Sequence[Path]], parts: Sequence[str], seed: int
) -> dict[str, dict[str, list[Path]]]:
    """Train and `parts`, each class split by itself: a share for each part, at least one picture if there are enough.

    The order comes from hashes of seed, class and file name, so neither the machine nor the disk has a say in it.
    """
    drawn: dict[str, dict[str, list[Path]]] = {split: {} for split in ("train", *parts)}
    for name, paths in classes.items():
        order = sorted(paths, key=functools.partial(_rank, seed))
        size = max(1, int(len(paths) * HELD_OUT_SHARE + 0.5))
        for part in parts:
            # One picture at least stays in train, whatever the class lacks elsewhere.
            taken = order[: min(size, len(order) - 1)]
            order = order[len(taken) :]
            drawn[part][name] = sorted(taken)
        drawn["train"][name] = sorted(order)
    return drawn


def _rank(seed: int, path: Path) -> str:
    # macOS writes an accent as a letter of its own (NFD), others do not (NFC): one spelling for both.
    key = unicodedata.normalize("NFC", f"{seed}/{path.parent.name}/{path.name}")
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def _check_train(folder: Path, classes: Mapping[str, Sequence[Path]]) -> None:
    if not any(classes.values()):
        raise FolderError(_empty_message(folder, classes), kind="empty")
    bare = sorted(name for name, paths in classes.items() if not paths)
    if bare:
        raise FolderError(
            f"Class {_quoted(bare)} has no picture in {folder}. Add pictures ({', '.join(EXTENSIONS[:5])}, ...) or "
            f"remove the folder.",
            kind="missing_class",
        )
    if len(classes) == 1:
        raise FolderError(
            f"{folder} has only one class, '{next(iter(classes))}'. A classifier needs at least two class folders.",
            kind="one_class",
        )


def _check_known(split: str, classes: Mapping[str, Sequence[Path]], train: Mapping[str, Sequence[Path]]) -> None:
    unknown = sorted(name for name, paths in classes.items() if paths and name not in train)
    if unknown:
        raise FolderError(
            f"Class {_quoted(unknown)} is in {split} but not in train, so it can never be learned. "
            f"Add training pictures, or remove it from {split}.",
            kind="missing_class",
        )


def _check_labels(classes: Sequence[ClassName]) -> None:
    seen: dict[str, str] = {}
    for each in classes:
        if each.label in seen:
            raise FolderError(
                f"Class folders '{seen[each.label]}' and '{each.folder}' both give the label '{each.label}'. "
                f"Rename one of them, or join them.",
                kind="layout",
            )
        seen[each.label] = each.folder


def _empty_message(folder: Path, classes: Collection[str]) -> str:
    inner = next((entry for entry in _subfolders(folder) if _holds_pictures(entry)), None)
    if inner is not None:  # one level too high, as after unpacking dogImages.zip
        return f"{folder} has no pictures in class folders. Did you mean {inner}?"
    if classes:
        return (
            f"{folder} is empty: none of its class folders ({_quoted(sorted(classes))}) holds a picture. {_EXPECTED}."
        )
    if any(_is_picture(path) for path in folder.iterdir()):
        return f"{folder} holds pictures directly. Put each class's pictures into a folder of its own: {_EXPECTED}."
    return f"{folder} is empty: it has no class folders. {_EXPECTED}."


def _no_valid(folders: Mapping[str, Path]) -> str:
    if "valid" in folders:
        return f"{folders['valid']} holds no picture. Add valid/<class>/<image>.jpg, or remove it to split off train."
    return f"{folders['train']} has one picture a class; none is left to validate on. Add pictures to its classes."


def _empty_channels(channels: Mapping[str, Path]) -> FolderError:
    name = next((name for name in channels if SPLIT_NAMES.get(name.lower()) == "train"), min(channels))
    path = channels[name]
    if path.is_dir():
        return FolderError(f"Channel '{name}': {_empty_message(path, _class_files(path))}", kind="empty")
    return FolderError(f"Channel '{name}' is not there: {path} is no folder. {_EXPECTED}.", kind="empty")


def _by_split(channels: Mapping[str, Path]) -> dict[str, Path]:
    """Split name to path; FolderError if two channels or folders stand for one split."""
    splits: dict[str, Path] = {}
    for name, path in channels.items():
        split = SPLIT_NAMES[name.lower()]
        if split in splits:
            raise FolderError(f"{splits[split]} and {path} both stand for {split}. Keep one of them.", kind="layout")
        splits[split] = path
    return splits


# --- Looking into folders -----------------------------------------------------------------------------------------


def _split_folders(subfolders: Sequence[Path]) -> dict[str, Path]:
    """The folders that are splits; a class that happens to be called `train` holds its pictures directly."""
    named = [path for path in subfolders if path.name.lower() in SPLIT_NAMES]
    return _by_split({path.name: path for path in named if not any(_is_picture(each) for each in path.iterdir())})


def _class_files(folder: Path) -> dict[str, list[Path]]:
    """Class folder -> its pictures, both sorted by name. Empty class folders are there, with no pictures."""
    return {
        entry.name: sorted((path for path in entry.iterdir() if _is_picture(path)), key=lambda path: path.name)
        for entry in _subfolders(folder)
    }


def _ignored(folder: Path) -> Iterator[Path]:
    for entry in _subfolders(folder):
        for path in sorted(entry.iterdir(), key=lambda path: path.name):
            if not _is_litter(path) and not _is_picture(path):
                yield path


def _subfolders(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.iterdir() if entry.is_dir() and not _is_litter(entry))
    return sorted(entries, key=lambda entry: entry.name)


def _holds_pictures(folder: Path) -> bool:
    """Whether class folders with pictures are in `folder`, or one level down in a split folder."""
    if not folder.is_dir():
        return False
    classes = _subfolders(folder)
    inner = (each for entry in classes if entry.name.lower() in SPLIT_NAMES for each in _subfolders(entry))
    return any(_is_picture(path) for entry in (*classes, *inner) for path in entry.iterdir())


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not _is_litter(path) and path.is_file()


def _is_litter(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _LITTER


def _quoted(names: Collection[str]) -> str:
    shown = [f"'{name}'" for name in list(names)[:3]]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _names(paths: Collection[Path]) -> str:
    return " and ".join(path.name for path in paths)


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
