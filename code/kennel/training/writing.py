"""Files that are whole or not there, and an error for a full disk that says what to do."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError

from kennel.errors import KennelError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFullError(KennelError):
    """There is no room for a file that the training must write."""


@contextmanager
def needs_space(path: Path, *, size_bytes: int) -> Iterator[None]:
    """Turns "no space left" from within into a DiskFullError naming `path` and what it takes."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError(
            f"No space left on device while writing {path} (needs about {max(size_bytes / 1e6, 0.1):.1f} MB). "
            f"Free space there, or give the job a larger volume, and start it again."
        ) from error


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of Python's or of safetensors' (which keeps only the text) means a full disk or quota."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return isinstance(error, SafetensorError) and any(f"os error {number}" in str(error) for number in _FULL)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside `path` and renames it: `path` is the old one or the new one, never a part.

    Raises DiskFullError. Not flushed to the disk: what a power failure damages, the reader's digest finds.
    """
    part = path.with_name(f".{path.name}.part")
    with needs_space(path, size_bytes=len(content)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)  # it takes the room that the next try needs
            raise


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401  any JSON value
    """`value` as indented JSON. Raises ValueError for nan and infinity, which JSON has not."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode())
