"""smdebug without its noise: it logs to stdout at import and on use, where a training's metric lines are read.

with quiet_import():
    from smdebug.trials.local_trial import LocalTrial
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_LEVEL: Final = "SMDEBUG_LOG_LEVEL"


class ErrorRecord(logging.Handler):
    """What smdebug logs as an error. With the default configuration it swallows its own errors: they are here only."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def smdebug_errors() -> ErrorRecord:
    """The record that smdebug's logger fills, from now on in place of stdout."""
    logger = logging.getLogger("smdebug")
    for handler in logger.handlers:
        if isinstance(handler, ErrorRecord):
            return handler
    record = ErrorRecord()
    logger.handlers = [record]
    logger.propagate = False
    logger.setLevel(logging.ERROR)
    logger.warn = logger.warning  # type: ignore[method-assign]  # the old name, which smdebug uses, is deprecated
    return record


@contextmanager
def quiet_import() -> Iterator[None]:
    """Imports within say nothing, and leave nothing in the environment; then smdebug logs to `smdebug_errors`."""
    before = os.environ.get(_LEVEL)
    os.environ[_LEVEL] = "error"
    try:
        yield
        smdebug_errors()
    finally:
        if before is None:
            del os.environ[_LEVEL]
        else:
            os.environ[_LEVEL] = before
        smdebug_errors()
