"""What is wrong with a data set, before anything is paid for.

    kind            severity  what it is
    empty           error     no folder, no class folders, no pictures
    one_class       error     nothing to tell apart
    layout          error     folders that are no data set
    missing_class   error     a class without training pictures (a warning where valid or test lack it)
    broken          error     a file of 0 bytes, or one that cannot be opened
    truncated       error     a picture cut short or damaged
    not_an_image    error     something else in a picture's name, or a format that is not read
    too_large       error     more bytes or pixels than are decoded
    leak            error     the same picture in two splits: the result would be too good
    duplicate       warning   the same picture twice within a split
    small_class     warning   under 10 training pictures
    ignored         warning   a file or folder in a class folder that is no picture by its name

"The same picture" is the same bytes; where pictures are decoded, also the same pixels in another file format.
`kennel check --data DIR` prints the table.
"""

import collections
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kennel.dataset.folders import SPLITS, Dataset, FolderError, find_folder, hash_file, without
from kennel.dataset.threads import in_threads
from kennel.errors import ImageError
from kennel.images.decode import EXTENSIONS, read_image

__all__ = ["CheckReport", "Finding", "check_dataset", "check_folder", "without"]

SMALL_CLASS: Final = 10
# Findings about single pictures: training can go on without these.
FILE_KINDS: Final = ("broken", "truncated", "not_an_image", "too_large", "leak")
_KIND_OF_REASON: Final = {
    "empty": "broken",
    "truncated": "truncated",
    "not_an_image": "not_an_image",
    "unsupported_format": "not_an_image",
    "too_many_bytes": "too_large",
    "too_many_pixels": "too_large",
}
_ROWS: Final = 30  # more classes than this are summed up
_EXAMPLES: Final = 3  # findings of a kind that the table spells out

Progress = Callable[[int, int], None]  # files done, files in all


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    severity: "error" or "warning". message: what, where, and the remedy.
    paths: the files at fault, which `without` may leave out: of the same picture in two splits, the copies in the
    earlier split (so that test and valid stay whole). others: the copies that may stay.
    """

    kind: str
    severity: str
    message: str
    paths: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """What a check found. dataset is None where the folders are no data set at all.

    counts: class folder -> pictures in train, valid and test.
    """

    dataset: Dataset | None
    findings: tuple[Finding, ...]
    counts: Mapping[str, Mapping[str, int]]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    @property
    def is_fit(self) -> bool:
        """Nothing that would spoil a training; there may be warnings."""
        return not self.errors

    @property
    def skippable(self) -> tuple[Path, ...]:
        """The pictures to leave out (`without`) to train on the rest: bad files, and leaked copies in train."""
        return tuple(path for finding in self.errors if finding.kind in FILE_KINDS for path in finding.paths)

    def table(self) -> str:
        """Counts, findings with examples, and the verdict with its remedy, for a terminal."""
        parts = (_counts_table(self), _findings_table(self.findings), _verdict(self))
        return "\n\n".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        """The same for a program."""
        findings = [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "message": finding.message,
                "paths": [str(path) for path in finding.paths],
                "others": [str(path) for path in finding.others],
            }
            for finding in self.findings
        ]
        counts = {name: dict(by_split) for name, by_split in self.counts.items()}
        return {"is_fit": self.is_fit, "counts": counts, "findings": findings}


def check_folder(
    folder: Path, *, seed: int = 0, progress: Progress | None = None, workers: int | None = None
) -> CheckReport:
    """Everything that is wrong with a folder in either layout; decodes every picture, on all cores.

    seed: as in `find_folder`. The report does not depend on `workers` or on which file was read first.
    """
    try:
        dataset = find_folder(folder, seed=seed)
    except FolderError as error:
        return CheckReport(None, (Finding(error.kind, "error", str(error)),), {})
    return check_dataset(dataset, decode=True, progress=progress, workers=workers)


def check_dataset(
    dataset: Dataset, *, decode: bool, progress: Progress | None = None, workers: int | None = None
) -> CheckReport:
    """Everything that is wrong with a data set.

    decode=False reads the files' bytes only: counts, empty files, byte-identical copies; what a job can afford.
    """
    paths = [example.path for _, example in dataset.examples()]
    looks = _look(paths, _decode if decode else _hash, progress, workers)
    findings = [*_file_findings(looks), *_same_pictures(dataset, looks), *_count_findings(dataset), *_ignored(dataset)]
    return CheckReport(dataset, tuple(findings), _counts(dataset))


# --- Looking at files ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    """One file: a hash that the same picture shares, or what is wrong with it."""

    fingerprint: str = ""
    kind: str = ""
    message: str = ""


def _look(
    paths: Sequence[Path], look_at: Callable[[Path], _Look], progress: Progress | None, workers: int | None
) -> dict[Path, _Look]:
    looks = {}
    for path, look in zip(paths, in_threads(look_at, paths, workers=workers), strict=True):
        looks[path] = look
        if progress:
            progress(len(looks), len(paths))
    return looks


def _decode(path: Path) -> _Look:
    try:
        image = read_image(path)
    except ImageError as error:
        return _Look(kind=_KIND_OF_REASON.get(error.reason, "broken"), message=str(error))
    except OSError as error:
        return _unreadable(path, error)
    return _Look(fingerprint=hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest())


def _hash(path: Path) -> _Look:
    try:
        if path.stat().st_size == 0:
            return _Look(kind="broken", message=f"{path} is empty (0 bytes). Replace it or leave it out.")
        return _Look(fingerprint=hash_file(path))
    except OSError as error:
        return _unreadable(path, error)


def _unreadable(path: Path, error: OSError) -> _Look:
    return _Look(kind="broken", message=f"{path} cannot be read ({error.strerror}). Replace it or leave it out.")


# --- Findings -----------------------------------------------------------------------------------------------------


def _file_findings(looks: Mapping[Path, _Look]) -> Iterator[Finding]:
    for path, look in looks.items():
        if look.kind:
            yield Finding(look.kind, "error", look.message, (path,))


def _same_pictures(dataset: Dataset, looks: Mapping[Path, _Look]) -> Iterator[Finding]:
    groups: dict[str, dict[str, list[Path]]] = collections.defaultdict(lambda: {split: [] for split in SPLITS})
    for split, example in dataset.examples():
        if looks[example.path].fingerprint:
            groups[looks[example.path].fingerprint][split].append(example.path)
    for group in groups.values():
        splits = [split for split in SPLITS if group[split]]
        if len(splits) > 1:
            yield _leak(group, splits)
        elif len(group[splits[0]]) > 1:
            yield _duplicate(splits[0], group[splits[0]])


def _leak(group: Mapping[str, Sequence[Path]], splits: Sequence[str]) -> Finding:
    """The last split keeps its copies: a test that lost pictures would measure something else."""
    *earlier, last = splits
    leaked = tuple(path for split in earlier for path in group[split])
    kept = tuple(group[last])
    message = (
        f"{leaked[0]} ({earlier[0]}) is the same picture as {kept[0]} ({last}), so the result would be too good. "
        f"Remove one of them."
    )
    return Finding("leak", "error", message, leaked, kept)


def _duplicate(split: str, paths: Sequence[Path]) -> Finding:
    first, *copies = paths
    stranger = next((path for path in copies if path.parent.name != first.parent.name), None)
    if stranger is not None:
        message = f"{stranger} is the same picture as {first}, in another class of {split}. Remove the wrong one."
    else:
        message = f"{copies[0]} is the same picture as {first}, both in {split}. Remove one of them."
    return Finding("duplicate", "warning", message, tuple(copies), (first,))


def _count_findings(dataset: Dataset) -> Iterator[Finding]:
    counts = _counts(dataset)
    held_out = [split for split in ("valid", "test") if dataset.splits[split]]
    for name, by_split in counts.items():
        if not by_split["train"]:
            message = f"Class '{name}' has no training picture. Add some, or remove the class from every split."
            yield Finding("missing_class", "error", message)
        elif by_split["train"] < SMALL_CLASS:
            message = (
                f"Class '{name}' has {by_split['train']} training pictures, under {SMALL_CLASS}. Add some if you can."
            )
            yield Finding("small_class", "warning", message)
        for split in held_out:
            if not by_split[split]:
                message = f"Class '{name}' is missing in {split}: its accuracy cannot be told. Add pictures there."
                yield Finding("missing_class", "warning", message)
    for split in ("train", "valid"):
        if not dataset.splits[split]:
            yield Finding("empty", "error", f"There is no picture left in {split}. Add some.")


def _ignored(dataset: Dataset) -> Iterator[Finding]:
    for path in dataset.ignored:
        if path.is_dir():
            message = f"{path} is a folder inside a class folder; what is in it is not used. Move its pictures up."
        else:
            message = f"{path} is not used: '{path.suffix}' is none of {' '.join(EXTENSIONS)}."
        yield Finding("ignored", "warning", message, (path,))


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    counts = {each.folder: dict.fromkeys(SPLITS, 0) for each in dataset.classes}
    for split, example in dataset.examples():
        counts[dataset.classes[example.target].folder][split] += 1
    return counts


# --- The table ----------------------------------------------------------------------------------------------------


def _counts_table(report: CheckReport) -> str:
    if report.dataset is None:
        return ""
    totals = {split: len(report.dataset.splits[split]) for split in SPLITS}
    if len(report.counts) > _ROWS:
        lines = [f"{len(report.counts)} classes"]
        for split, total in totals.items():
            numbers = [by_split[split] for by_split in report.counts.values()]
            spread = f", {min(numbers)} to {max(numbers)} a class" if total else ""
            lines.append(f"  {split:<6} {total:>7} pictures{spread}")
        return "\n".join(lines + _origin(report.dataset))
    width = max(len("total"), *(len(name) for name in report.counts))
    rows = [("class", SPLITS), *((name, tuple(by.values())) for name, by in report.counts.items())]
    rows.append(("total", tuple(totals.values())))
    lines = [f"{name:<{width}}" + "".join(f" {number:>7}" for number in numbers) for name, numbers in rows]
    return "\n".join(lines + _origin(report.dataset))


def _origin(dataset: Dataset) -> list[str]:
    return (
        [] if dataset.seed is None else [f"(what is no folder of its own was split off train with seed {dataset.seed})"]
    )


def _findings_table(findings: Sequence[Finding]) -> str:
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: finding.severity):  # errors first; the sort keeps the rest
        kinds.setdefault((finding.severity, finding.kind), []).append(finding)
    lines = []
    for (severity, kind), group in kinds.items():
        lines.append(f"{severity}: {kind} ({len(group)})")
        lines += [f"  {finding.message}" for finding in group[:_EXAMPLES]]
        if len(group) > _EXAMPLES:
            lines.append(f"  ... and {len(group) - _EXAMPLES} more")
    return "\n".join(lines)


def _verdict(report: CheckReport) -> str:
    warnings = f"{len(report.warnings)} warning{'' if len(report.warnings) == 1 else 's'}"
    if report.is_fit:
        return f"Fit for training ({warnings})."
    kinds = collections.Counter(finding.kind for finding in report.errors)
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    remedy = "Mend what is named above"
    if all(kind in FILE_KINDS for kind in kinds):
        remedy += f", or train without these {len(set(report.skippable))} pictures: -p bad-data=skip"
    return f"Not fit for training: {found}; {warnings}. {remedy}."
