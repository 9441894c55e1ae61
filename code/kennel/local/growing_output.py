"""Folders and files that a running job fills, kept at their addresses in the local S3 or below file://."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from kennel.local.checkpoints import versions
from kennel.local.restoring import RestoringS3
from kennel.local.storage import S3Address, link_or_copy

Place = tuple[Path, S3Address | Path]


class GrowingOutput:
    """What has been brought, so that each call brings only what is new or has changed."""

    def __init__(self, objects: RestoringS3) -> None:
        self._objects = objects
        self._brought: dict[Path, object] = {}

    def bring(self, places: Iterable[Place]) -> None:
        """Brings the places up to what is in their folders. Raises OSError, as for a full disk."""
        for source, address in places:
            for path, version in _whole_files(source):
                if self._brought.get(path) != version:
                    self._bring(path, _below(address, str(path.relative_to(source))))
                    self._brought[path] = version

    def _bring(self, path: Path, address: S3Address | Path) -> None:
        if isinstance(address, S3Address):
            self._objects.announce(address, path)
            return
        try:
            link_or_copy(path, address)
        except FileNotFoundError:  # replaced since it was listed; the next time has the new one
            return


def _below(address: S3Address | Path, name: str) -> S3Address | Path:
    if name == ".":
        return address
    return address.below(name) if isinstance(address, S3Address) else address / name


def _whole_files(source: Path) -> list[tuple[Path, object]]:
    """A file, or the files of a folder that a reader may see, those last that name others; with what tells a change.

    smdebug writes an index after the events it names, perhaps while the folder is being listed: only an index that was
    there before the listing is sure to have its events in it.
    """
    if source.is_file():
        state = source.stat()
        return [(source, (state.st_mtime_ns, state.st_size))]
    before = versions(source)
    found = [(name, version) for name, version in versions(source).items() if _is_whole(name)]
    kept = [(name, version) for name, version in found if not name.startswith("index/") or name in before]
    ordered = sorted(kept, key=lambda each: (each[0].startswith("index/"), each[0]))
    return [(source / name, version) for name, version in ordered]


def _is_whole(name: str) -> bool:
    """Whether a name is a file's last one: what is being written has another."""
    path = PurePosixPath(name)
    return path.suffix not in (".tmp", ".part") and not any(part.startswith(".") for part in path.parts)
