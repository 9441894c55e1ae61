"""The last of what somebody's script printed, for the reason of its failure: passed on as it comes, and remembered.

Both of its streams go through one pipe, so that lines stay whole and in order, also in a progress bar's.
"""

import os
import re
import threading
from typing import Final

from kennel.training.failure import MAX_CHARACTERS

_KEPT: Final = 16 * 1024
_MESSAGE: Final = 500
_LAST_LINES: Final = 3
_TRACEBACK: Final = re.compile(r"^[\s|+]*(Exception Group )?Traceback \(most recent call last\)")
_FRAME: Final = re.compile(r'^[\s|]*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)$')
_NOT_THEIRS: Final = re.compile(r"/(site|dist)-packages/|/lib/python3|^<")


class OutputTail:
    """A pipe to this process's standard output.

    Give `inlet` to the script as its output, call `start` once it has it, and `finish` when the script has ended.
    """

    def __init__(self) -> None:
        self._outlet, self.inlet = os.pipe()
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._pass_on, name="output of the script", daemon=True)

    def start(self) -> None:
        """Passes on what comes; the script has its own end of the pipe now."""
        os.close(self.inlet)
        self._thread.start()

    def finish(self, limit_s: float = 5.0) -> str:
        """The last 16 KiB. Waits no longer for somebody who still holds the pipe: what escaped the script's group."""
        self._thread.join(limit_s)
        return bytes(self._kept).decode(errors="replace")

    def _pass_on(self) -> None:
        while data := os.read(self._outlet, 65536):
            self._kept += data
            del self._kept[:-_KEPT]
            while data:
                data = data[os.write(1, data) :]
        os.close(self._outlet)


def script_failure(status: int, tail: str, *, command: str, default: str) -> str:
    """A failure file's text in the form of SageMaker's own toolkit, with the reason it leaves out.

    tail: the last of what the script printed. default: what to say where it printed nothing that helps.
    """
    message = last_error(tail) or default
    text = f'ExecuteUserScriptError:\nExitCode {status}\nErrorMessage "{message}"\nCommand "{command}"'
    return text[: MAX_CHARACTERS - 1]


def last_error(tail: str) -> str:
    """The last traceback's exception and where it was raised, or else the last lines; empty where there are none."""
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", tail)]
    starts = [number for number, line in enumerate(lines) if _TRACEBACK.match(line)]
    if starts:
        block = lines[starts[-1] + 1 :]
        error = next((line for line in block if line and not line.startswith((" ", "|", "+"))), "")
        if error:
            return f"{error[:_MESSAGE]}{_place(block)}"
    return "\n".join([line for line in lines if line.strip()][-_LAST_LINES:])[-_MESSAGE:]


def _place(block: list[str]) -> str:
    """The innermost frame of the user's own code, or of any where there is none."""
    frames = [match for line in block if (match := _FRAME.match(line))]
    theirs = [frame for frame in frames if not _NOT_THEIRS.search(frame["file"])] or frames
    if not theirs:
        return ""
    return f" ({os.path.basename(theirs[-1]['file'])}:{theirs[-1]['line']} in {theirs[-1]['name']})"
