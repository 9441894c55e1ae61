"""What a failed training says of itself: a first line for a person, an exit status, a failure file.

The first 1,024 characters of the failure file become the job's FailureReason.
"""

import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.errors import KennelError, PeerError
from kennel.training.writing import is_disk_full

MAX_CHARACTERS: Final = 1024
_FRAMES: Final = 4


@dataclass(frozen=True)
class Failure:
    """reason: the text of the failure file; its first line says it all. exit_status: 1 to 255. is_ours: a bug."""

    reason: str
    exit_status: int
    is_ours: bool = False


def describe_failure(error: BaseException) -> Failure:
    """What to say of an error that ended the training."""
    if isinstance(error, KennelError):
        return Failure(_cut(f"{type(error).__name__}: {error}"), error.exit_status)
    if isinstance(error, OSError) and is_disk_full(error):
        place = f" while writing {error.filename}" if error.filename else ""
        return Failure(
            f"No space left on device{place}. Free space there, or give the job a larger volume, and start it again.", 1
        )
    if _is_out_of_memory(error):
        return Failure(
            _cut(f"Out of memory ({_line(error)}). Try a smaller batch-size or image-size, or a larger machine."), 1
        )
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    lines = [f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames[-_FRAMES:]]
    return Failure(
        _cut("\n".join([f"Unexpected {type(error).__name__}: {_line(error)}{place}", *lines])), 1, is_ours=True
    )


def report_failure(error: BaseException, failure_file: Path) -> int:
    """Writes the failure file and the log's last lines; the exit status to end with."""
    failure = describe_failure(error)
    if failure.is_ours:
        traceback.print_exception(error)
    print(f"error: {failure.reason}", file=sys.stderr, flush=True)
    if isinstance(error, PeerError) and failure_file.exists():
        return failure.exit_status  # a process of this host's has told the reason already
    try:
        failure_file.parent.mkdir(parents=True, exist_ok=True)
        failure_file.write_text(failure.reason + "\n")
    except OSError as reason:  # the log has it all the same
        print(f"error: {failure_file} could not be written: {reason}", file=sys.stderr, flush=True)
    return failure.exit_status


def _is_out_of_memory(error: BaseException) -> bool:
    """Python's, the GPU's, and the CPU allocator's, which torch raises as a RuntimeError."""
    texts = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error).lower() for text in texts)
    )


def _line(error: BaseException) -> str:
    """The error's text in one line of a sensible length."""
    return " ".join(str(error).split())[:400]


def _cut(text: str) -> str:
    return text if len(text) < MAX_CHARACTERS else text[: MAX_CHARACTERS - 4] + "..."
