"""The files of an image, read without running anything in it."""

import io
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final

from docker.errors import NotFound

from kennel.conformance.checks import Subject

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_LINKS: Final = 20
_KEY: Final = "image_files"


class ImageFiles:
    """Looks into a container that is made from the image and never started."""

    def __init__(self, subject: Subject) -> None:
        if _KEY not in subject.shared:
            # An entrypoint that need not exist: the image may have none.
            made = subject.containers.create(subject.image, entrypoint=["/never-started"])
            subject.shared[_KEY] = (subject.containers.client.containers.get(made.id), {})
        # Docker mounts the image's layers anew for every look, which takes 0.3 s on a busy machine.
        self._container, self._known = subject.shared[_KEY]

    def find(self, path: str) -> tarfile.TarInfo | None:
        """What stands at a path, symbolic links followed (`name` is then the path it was found at)."""
        for _ in range(_MAX_LINKS):
            entry = self._entry(path)
            if entry is None or not entry[0].issym():
                return entry[0] if entry else None
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), entry[0].linkname))
        return None

    def read(self, path: str, *, limit: int = 2**20) -> bytes:
        """The first bytes of the file at a path, symbolic links followed; empty if there is none."""
        found = self.find(path)
        entry = self._entry(found.name) if found else None
        return entry[1][:limit] if entry else b""

    def members(self, path: str) -> Iterator[tarfile.TarInfo]:
        """Everything under a folder, itself first, with absolute names; nothing if it is not there."""
        try:
            chunks, _ = self._container.get_archive(path)
        except NotFound:
            return
        parent = posixpath.dirname(posixpath.normpath(path))
        with tarfile.open(fileobj=_Stream(chunks), mode="r|") as archive:
            for member in archive:
                member.name = posixpath.join(parent, member.name).rstrip("/")
                yield member

    def _entry(self, path: str) -> tuple[tarfile.TarInfo, bytes] | None:
        """The entry itself, a link not followed, with its content if it is a file; looked up once."""
        if path not in self._known:
            self._known[path] = self._look(path)
        entry: tuple[tarfile.TarInfo, bytes] | None = self._known[path]
        return entry

    def _look(self, path: str) -> tuple[tarfile.TarInfo, bytes] | None:
        try:
            chunks, _ = self._container.get_archive(path)
        except NotFound:
            return None
        with closing(_Stream(chunks)) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            member = archive.next()
            if member is None:
                return None
            content = archive.extractfile(member) if member.isfile() else None
            data = content.read(2**20) if content is not None else b""
        member.name = path
        return member, data


class _Stream(io.RawIOBase):
    """docker-py's chunks as a file that tarfile can read."""

    def __init__(self, chunks: Any) -> None:  # noqa: ANN401
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401
        while not self._rest:
            piece = next(self._chunks, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        """Ends the transfer: a folder of gigabytes need not be read to its end to know its first entry."""
        if hasattr(self._chunks, "close"):
            self._chunks.close()
        super().close()


def find_program(files: ImageFiles, config: Mapping[str, Any], word: str) -> str | None:
    """The path at which the image's PATH finds a word, executable or not."""
    environment = dict(pair.split("=", 1) for pair in config.get("Env") or [] if "=" in pair)
    for folder in environment.get("PATH", DEFAULT_PATH).split(":"):
        path = posixpath.join(folder or "/", word)
        entry = files.find(path)
        if entry is not None and entry.isfile():
            return path
    return None
