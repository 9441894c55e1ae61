"""kennel.training.shared_features: what one training computed, another reads; and what happens where that fails."""

import errno
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kennel.training import shared_features
from kennel.training.shared_features import NOT_SHARED, Part, SharedFeatures, state_digest
from kennel.training.stopping import Stopped, StopRequest

PART = Part("valid", {"pictures": "abc"}, (4, 3))
ROWS = torch.arange(12, dtype=torch.float32).reshape(4, 3)

Rows = Callable[..., Tensor]


def rows_of(
    folder: Path | None, compute: Callable[[], Tensor], facts: Mapping[str, Any] | None = None, part: Part = PART
) -> tuple[Tensor, str]:
    shared = SharedFeatures(folder, facts or {"data": "1"})
    return shared.rows(part, compute, device="cpu", stop=StopRequest()), shared.outcome


def computed() -> Tensor:
    return ROWS.clone()


def never() -> Tensor:
    raise AssertionError("computed again")


def file_in(folder: Path) -> Path:
    (found,) = folder.glob("*.safetensors")
    return found


def test_what_one_training_computes_another_reads(tmp_path: Path) -> None:
    rows, outcome = rows_of(tmp_path / "shared", computed)
    again, second = rows_of(tmp_path / "shared", never)
    assert torch.equal(rows, ROWS) and torch.equal(again, ROWS)
    assert (outcome, second) == ("written", "read")
    assert not [path for path in (tmp_path / "shared").iterdir() if path.name.endswith(".part")]


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        ({"data": "2"}, PART),
        ({"data": "1", "weights": "f"}, PART),
        ({"data": "1"}, Part("test", PART.facts, PART.shape)),
        ({"data": "1"}, Part("valid", {"pictures": "abd"}, PART.shape)),
        ({"data": "1"}, Part("valid", {**PART.facts, "precision": "bfloat16"}, PART.shape)),
    ],
)
def test_whatever_changes_the_features_has_a_file_of_its_own(tmp_path: Path, facts: dict[str, str], part: Part) -> None:
    rows_of(tmp_path, computed)
    other, outcome = rows_of(tmp_path, lambda: ROWS + 1, facts, part)
    assert torch.equal(other, ROWS + 1) and outcome == "written"
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_without_a_folder_nothing_is_shared() -> None:
    assert torch.equal(NOT_SHARED.rows(PART, computed, device="cpu", stop=StopRequest()), ROWS)
    assert NOT_SHARED.outcome == "off"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _replace(path: Path) -> None:
    save_file({"features": ROWS}, path)


def _reshape(path: Path) -> None:
    shared = SharedFeatures(path.parent, {"data": "1"})
    assert shared._write(PART, ROWS[:2])


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_cut, "damaged"),
        (_empty, "damaged"),
        (_change, "another SHA-256"),
        (_replace, "holds something else"),
        (_reshape, r"\(2, 3\) of torch.float32 in place of \(4, 3\)"),
    ],
)
def test_a_damaged_file_is_said_and_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: Callable[[Path], None], reason: str
) -> None:
    rows_of(tmp_path, computed)
    harm(file_in(tmp_path))
    rows, outcome = rows_of(tmp_path, computed)
    assert torch.equal(rows, ROWS) and outcome == "written"
    assert re.search(f"warning: .*valid-.*{reason}.*made again", capsys.readouterr().out)
    assert rows_of(tmp_path, never)[1] == "read"


def test_the_part_file_of_a_training_that_was_killed_is_no_hindrance(tmp_path: Path) -> None:
    rows_of(tmp_path, computed)
    path = file_in(tmp_path)
    path.rename(path.with_name(f".{path.name}.part"))
    assert rows_of(tmp_path, computed)[1] == "written"
    assert rows_of(tmp_path, never)[1] == "read"


def test_a_missing_folder_is_said_and_features_are_computed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, outcome = rows_of(tmp_path / "no" / "such", computed)
    assert torch.equal(rows, ROWS) and outcome == "off"
    assert "warning: features are not shared" in capsys.readouterr().out


def test_a_file_in_the_folders_place_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shared").write_text("")
    assert rows_of(tmp_path / "shared", computed)[1] == "off"
    assert "features are not shared" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_said_but_what_is_there_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_of(tmp_path, computed)

    def refuse(path: Path) -> int:  # root, whom tests often are, may write everywhere
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(shared_features, "_lock", refuse)
    assert rows_of(tmp_path, never)[1] == "read"
    rows, outcome = rows_of(tmp_path, computed, {"data": "2"})
    assert torch.equal(rows, ROWS) and outcome == "off"
    assert "Read-only file system" in capsys.readouterr().out


def test_a_full_folder_is_said_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shared_features, "save_file", fill)
    rows, outcome = rows_of(tmp_path, computed)
    assert torch.equal(rows, ROWS) and outcome == "off"
    assert "features of valid are not shared: [Errno 28] No space left" in capsys.readouterr().out
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.fixture
def slow() -> Iterator[tuple[Callable[[], Tensor], threading.Event, threading.Event]]:
    """A computation that says when it has begun, and ends when it is let go."""
    begun, let_go = threading.Event(), threading.Event()

    def compute() -> Tensor:
        begun.set()
        assert let_go.wait(30)
        return ROWS.clone()

    yield compute, begun, let_go
    let_go.set()


Slow = tuple[Callable[[], Tensor], threading.Event, threading.Event]


def test_the_second_of_two_side_by_side_waits_and_reads(
    tmp_path: Path, slow: Slow, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, begun, let_go = slow
    first: list[str] = []
    beside = threading.Thread(target=lambda: first.append(rows_of(tmp_path, compute)[1]))
    beside.start()
    assert begun.wait(30)
    monkeypatch.setattr(shared_features.time, "sleep", lambda pause: (let_go.set(), beside.join(30)))
    rows, outcome = rows_of(tmp_path, never)
    assert torch.equal(rows, ROWS) and (first, outcome) == (["written"], "read")
    assert capsys.readouterr().out.count("waiting for features of valid") == 1


def test_who_waits_stops_when_told(tmp_path: Path, slow: Slow) -> None:
    compute, begun, let_go = slow
    beside = threading.Thread(target=lambda: rows_of(tmp_path, compute))
    beside.start()
    assert begun.wait(30)
    stop = StopRequest()
    stop.make(15)
    with pytest.raises(Stopped):
        SharedFeatures(tmp_path, {"data": "1"}).rows(PART, never, device="cpu", stop=stop)
    let_go.set()
    beside.join(30)
    assert rows_of(tmp_path, never)[1] == "read"


def test_when_who_computes_fails_the_next_one_computes(tmp_path: Path) -> None:
    def fail() -> Tensor:
        raise Stopped(15)

    with pytest.raises(Stopped):
        rows_of(tmp_path, fail)
    assert rows_of(tmp_path, computed)[1] == "written"


def test_the_digest_of_random_weights_sees_every_value() -> None:
    state = {"a": torch.zeros(3), "b": torch.ones(2, dtype=torch.int64)}
    assert state_digest(state) == state_digest({name: tensor.clone() for name, tensor in state.items()})
    assert state_digest(state) != state_digest({**state, "b": torch.tensor([1, 2])})
    assert state_digest(state) != state_digest({"a": torch.zeros(3), "c": state["b"]})
