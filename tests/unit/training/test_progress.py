"""kennel.training.progress: a bar for a terminal, silence for a log."""

import io
import sys

import pytest

from kennel.training.progress import progress_bar


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "expected"), [(_Terminal(), "features: "), (io.StringIO(), "")])
def test_progress_bar_is_for_terminals(stream: io.StringIO, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar("features", total=10) as bar:
        bar.update(4)
    assert stream.getvalue().strip("\r").startswith(expected)
    assert bool(stream.getvalue()) == bool(expected)
