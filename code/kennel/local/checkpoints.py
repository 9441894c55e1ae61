"""A job's checkpoints: brought before it starts, written back while it runs and when it has ended."""

import os
from pathlib import Path
from typing import NamedTuple

from kennel.local.storage import LocalS3, S3Address, read_address


class _Version(NamedTuple):
    time_ns: int
    size: int


class Checkpoints:
    """The folder a job sees as its LocalPath, kept like an address.

    s3://: objects are downloaded, changed files uploaded, deleted files deleted. file://: the folder is a link to the
    address, so that what the job writes is there at once, also when everything is killed.
    """

    def __init__(self, folder: Path, uri: str, s3: LocalS3) -> None:
        self.folder = folder
        self._address = read_address(uri)
        self._s3 = s3
        self._kept: dict[str, _Version] = {}

    def restore(self) -> None:
        """Brings what is at the address."""
        if isinstance(self._address, Path):
            self._address.mkdir(parents=True, exist_ok=True)
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.symlink_to(self._address, target_is_directory=True)
            return
        self._s3.download_folder(S3Address(self._address.bucket, self._address.below("").key), self.folder)
        self._kept = versions(self.folder)

    def write_back(self) -> None:
        """Brings the address up to what is in the folder."""
        if isinstance(self._address, Path):
            return
        found = versions(self.folder)
        for name, version in found.items():
            if self._kept.get(name) == version:
                continue
            try:
                self._s3.upload(self.folder / name, self._address.below(name))
            except FileNotFoundError:  # replaced by the job meanwhile; the next time has the new one
                continue
            self._kept[name] = version
        for name in self._kept.keys() - found.keys():
            self._s3.delete(self._address.below(name))
            del self._kept[name]


def versions(folder: Path) -> dict[str, _Version]:
    """Every file under `folder` by its name relative to it, with what tells whether it changed."""
    found = {}
    for parent, _, files in os.walk(folder):
        for file in files:
            path = Path(parent) / file
            try:
                state = path.stat()
            except FileNotFoundError:  # gone since it was listed
                continue
            found[str(path.relative_to(folder))] = _Version(state.st_mtime_ns, state.st_size)
    return found
