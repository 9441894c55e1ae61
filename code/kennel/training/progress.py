"""A progress bar on a terminal, and nothing anywhere else: a log keeps its plain lines."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """What moves a bar."""

    def update(self, n: int) -> object:
        """`n` more are done."""


class _NoBar:
    def update(self, n: int) -> None:
        """Nothing to move."""


@contextmanager
def progress_bar(name: str, *, total: int) -> Iterator[Bar]:
    """A bar on stderr that leaves no trace when it is done, if stderr is a terminal and tqdm is installed."""
    if not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        yield _NoBar()
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=name, unit="image", leave=False, file=sys.stderr) as bar:
        yield bar
