"""What the supervisor hears of a process it depends on: a named pipe, perhaps a line of JSON, and the pipe's end.

The worker's parent process opens the pipe, says whether the model is ready, and keeps it open as long as it lives;
so its end is seen at once, however it came. multi-model-server itself sees neither: it serves on with no model after
a failed load, and waits for ever for a parent that was killed (1.1.11, measured).
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Loaded:
    """The model is ready: what it is, and how long that took."""

    model: dict[str, Any]
    golden: int
    load_s: float


def summary(model: Mapping[str, Any], golden: int) -> str:
    """What answers, on a line of the log. model: what an engine or a script says of itself."""
    if "script" in model:
        return f"script={model['script']!r} functions={','.join(model['functions']) or 'none'}"
    return f"backbone={model['backbone']} classes={model['classes']} golden={golden}"


@dataclass(frozen=True)
class Ready:
    """The process can do its work, without having a model yet."""


@dataclass(frozen=True)
class Failed:
    """The model cannot be served: why, for a person, and the exit status that goes with it."""

    reason: str
    exit_status: int


@dataclass(frozen=True)
class Ended:
    """The process at the other end is gone."""


Message = Loaded | Ready | Failed | Ended


class LifelineReader:
    """The supervisor's end. `fd` is for a selector: `read` is called when it is readable."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, 0o600)
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._received = b""

    def read(self) -> Message | None:
        """The next message; None while it is incomplete."""
        chunk = os.read(self.fd, 65536)
        self._received += chunk
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            return None if chunk else Ended()
        self._received = rest
        message = json.loads(line)
        if not message:
            return Ready()
        return Failed(**message) if "reason" in message else Loaded(**message)

    def close(self) -> None:
        os.close(self.fd)


class LifelineWriter:
    """The other end, open as long as its process lives. Raises OSError where nobody listens."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    def tell(self, message: Loaded | Ready | Failed) -> None:
        os.write(self._fd, json.dumps(asdict(message)).encode() + b"\n")

    def drop(self) -> None:
        """Closes this process's copy: a worker that is forked must not hold its parent's lifeline."""
        if self._fd >= 0:  # a fork of a fork has none
            os.close(self._fd)
            self._fd = -1
