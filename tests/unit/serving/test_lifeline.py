import selectors
from collections.abc import Iterator
from pathlib import Path

import pytest

from kennel.serving.lifeline import Ended, Failed, LifelineReader, LifelineWriter, Loaded, summary

LOADED = Loaded({"backbone": "resnet18"}, golden=3, load_s=1.5)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LifelineReader]:
    reader = LifelineReader(tmp_path / "lifeline")
    yield reader
    reader.close()


def is_readable(reader: LifelineReader) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(reader.fd, selectors.EVENT_READ)
        return bool(selector.select(0))


def test_nothing_is_to_be_read_before_a_worker_came_or_spoke(reader: LifelineReader, tmp_path: Path) -> None:
    assert not is_readable(reader)
    writer = LifelineWriter(tmp_path / "lifeline")
    assert not is_readable(reader)
    writer.drop()


@pytest.mark.parametrize("message", [LOADED, Failed("ArchiveError: nö\nreally", 4), Failed("x" * 20_000, 1)])
def test_a_message_arrives_as_it_was_told(reader: LifelineReader, tmp_path: Path, message: Loaded | Failed) -> None:
    writer = LifelineWriter(tmp_path / "lifeline")
    writer.tell(message)
    assert reader.read() == message
    assert not is_readable(reader)
    writer.drop()


@pytest.mark.parametrize("spoke", [False, True])
def test_the_end_of_the_worker_is_seen(reader: LifelineReader, tmp_path: Path, spoke: bool) -> None:
    writer = LifelineWriter(tmp_path / "lifeline")
    if spoke:
        writer.tell(LOADED)
    writer.drop()
    assert is_readable(reader)
    assert [reader.read(), reader.read()] == ([LOADED, Ended()] if spoke else [Ended(), Ended()])


def test_a_worker_without_a_supervisor_cannot_start(tmp_path: Path) -> None:
    reader = LifelineReader(tmp_path / "lifeline")
    reader.close()
    with pytest.raises(OSError, match="No such device"):
        LifelineWriter(tmp_path / "lifeline")


def test_what_answers_is_said_on_one_line() -> None:
    assert summary({"backbone": "resnet18", "classes": 3}, 2) == "backbone=resnet18 classes=3 golden=2"
    assert summary({"script": "a.py", "functions": ["model_fn"]}, 0) == "script='a.py' functions=model_fn"
