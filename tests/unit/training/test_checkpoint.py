"""kennel.training.checkpoint and kennel.training.writing: whole files or none."""

import dataclasses
import errno
import hashlib
import json
import math
import os
from pathlib import Path

import pytest
import torch

from kennel.errors import ContractError
from kennel.training.checkpoint import Checkpoint, CheckpointStore
from kennel.training.writing import DiskFullError, needs_space, write_json, write_whole

SETTINGS = {"lr": 0.003, "epochs": 3, "data-digest": "abc", "weights-sha256": None}


def _checkpoint(epoch: int = 1, step: int = 2) -> Checkpoint:
    tensors = {"weight": torch.full((3, 2), float(epoch)), "steps": torch.tensor(step), "none": torch.empty(0)}
    return Checkpoint(epoch, step, {"best_loss": 0.1 + 0.2, "history": [{"epoch": epoch}]}, tensors)


def test_checkpoint_reads_back_exactly(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", SETTINGS)
    store.save(_checkpoint())
    found = store.load()
    assert found is not None
    assert (found.epoch, found.step) == (1, 2)
    assert found.state == {"best_loss": 0.1 + 0.2, "history": [{"epoch": 1}]}
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in _checkpoint().tensors.items())


def test_checkpoint_of_a_diverged_training_reads_back(tmp_path: Path) -> None:
    """A job that a rule stops because its loss is infinite still keeps what it has."""
    store = CheckpointStore(tmp_path, SETTINGS)
    store.save(dataclasses.replace(_checkpoint(), state={"loss_sum": math.inf, "best_loss": math.nan}))
    found = store.load()
    assert found is not None
    assert found.state["loss_sum"] == math.inf
    assert math.isnan(found.state["best_loss"])


def test_there_is_no_checkpoint_in_a_new_folder(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "none", SETTINGS).load() is None


def test_store_keeps_the_last_two(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, SETTINGS)
    for epoch, step in [(1, 0), (1, 30), (2, 0), (10, 0)]:
        store.save(_checkpoint(epoch, step))
    assert sorted(path.name[:22] for path in tmp_path.iterdir()) == ["epoch-0002-step-000000", "epoch-0010-step-000000"]
    found = store.load()
    assert found is not None and found.epoch == 10


def test_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = CheckpointStore(tmp_path, SETTINGS)
    store.save(_checkpoint(1, 0))
    last = store.save(_checkpoint(2, 0))
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)
    found = store.load()
    assert found is not None and found.epoch == 1
    assert f"warning: checkpoint {last} is damaged" in capsys.readouterr().out


def test_only_damaged_checkpoints_are_an_error(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, SETTINGS)
    last = store.save(_checkpoint())
    last.write_bytes(last.read_bytes()[:40])
    with pytest.raises(ContractError, match=r"No checkpoint in .* is whole .*Empty the folder"):
        store.load()


def test_checkpoint_of_other_settings_says_which(tmp_path: Path) -> None:
    CheckpointStore(tmp_path, SETTINGS).save(_checkpoint())
    other = CheckpointStore(tmp_path, {**SETTINGS, "lr": 0.01, "data-digest": "xyz"})
    with pytest.raises(ContractError, match=r"lr was 0.003 and is 0.01; data-digest was abc and is xyz.*or empty"):
        other.load()


def test_checkpoint_of_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path, SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr("kennel.training.checkpoint._FORMAT", 2)
        store.save(_checkpoint())
    with pytest.raises(ContractError, match="is of format 2; this program reads 1"):
        store.load()


def test_checkpoint_that_is_something_else_is_refused(tmp_path: Path) -> None:
    content = b"no safetensors"
    name = f"epoch-0001-step-000000-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ContractError, match="is no checkpoint of Kennel's"):
        CheckpointStore(tmp_path, SETTINGS).load()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing bytes fails half way, as on a full disk."""
    write_bytes = Path.write_bytes

    def fail(path: Path, content: bytes) -> int:
        write_bytes(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)


@pytest.mark.usefixtures("full_disk")
def test_full_disk_leaves_nothing_and_names_file_size_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        DiskFullError, match=r"No space left on device while writing .*big \(needs about 2.0 MB\). Free"
    ):
        write_whole(tmp_path / "big", bytes(2_000_000))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_keeps_the_checkpoint_that_was_there(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store = CheckpointStore(tmp_path, SETTINGS)
    store.save(_checkpoint(1, 0))
    request.getfixturevalue("full_disk")
    with pytest.raises(DiskFullError):
        store.save(_checkpoint(2, 0))
    found = store.load()
    assert found is not None and found.epoch == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_another_error_of_the_disk_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), needs_space(tmp_path, size_bytes=1):
        tmp_path.write_bytes(b"")


def test_write_json_refuses_what_json_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    write_json(tmp_path / "b.json", {"name": "Österreich"})
    assert json.loads((tmp_path / "b.json").read_text()) == {"name": "Österreich"}
