"""What a batch transform writes: one .out for each object that succeeded as a whole, at once and not in parts."""

import os
from pathlib import Path, PurePosixPath
from typing import IO

from kennel.errors import ContractError
from kennel.local.restoring import RestoringS3
from kennel.local.storage import S3Address, link_or_copy


class Outputs:
    """The outputs of one job. Those for the local S3 stay in `folder`, so that they outlive the service."""

    def __init__(self, address: S3Address | Path, folder: Path, objects: RestoringS3) -> None:
        self._address = address
        self._folder = folder
        self._objects = objects

    def begin(self, name: str, *, assembly: str) -> "Output":
        """The output of the object `name`. assembly: AssembleWith."""
        return Output(name, self, ends_lines=assembly == "Line")

    @property
    def part(self) -> Path:
        """Where the output that is being written is. There is one at a time."""
        return self._folder / "part"

    def keep(self, name: str) -> None:
        """Puts the part where the output of `name` belongs. Raises OSError, or ContractError for a name above it."""
        if ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise ContractError(f"The output of '{name}' would be written outside {self._address}.")
        if isinstance(self._address, Path):
            link_or_copy(self.part, self._address / f"{name}.out")
            self.part.unlink()
            return
        target = self._folder / "output" / f"{name}.out"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.part.replace(target)
        self._objects.announce(self._address.below(f"{name}.out"), target)

    def announce_all(self) -> None:
        """Lets the local S3 find again what an earlier service's job has left."""
        if not isinstance(self._address, S3Address):
            return
        self._objects.announce_bucket(self._address.bucket)
        kept = self._folder / "output"
        for folder, _, names in os.walk(kept):
            for name in names:
                path = Path(folder, name)
                self._objects.announce(self._address.below(path.relative_to(kept).as_posix()), path)


class Output:
    """One object's output; nothing of it is seen before `finish`."""

    def __init__(self, name: str, outputs: Outputs, *, ends_lines: bool) -> None:
        self.name = name
        self.fault: str | None = None
        self._outputs = outputs
        self._ends_lines = ends_lines
        self._stream: IO[bytes] | None = None

    def write(self, answer: bytes) -> None:
        """Adds the answer to the next request. Raises OSError."""
        stream = self._open()
        stream.write(answer)
        if self._ends_lines and not answer.endswith(b"\n"):
            stream.write(b"\n")

    def fail(self, reason: str) -> None:
        """The object has failed; the first reason counts."""
        self.fault = self.fault or reason
        self.close()

    def finish(self) -> None:
        """Puts the output where it belongs. Raises OSError or ContractError."""
        self._open()  # of an object without records there is an empty output
        self.close()
        self._outputs.keep(self.name)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _open(self) -> IO[bytes]:
        if self._stream is None:
            self._outputs.part.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._outputs.part.open("wb")
        return self._stream
