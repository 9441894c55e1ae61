"""Files of a step, against those smdebug's own writer makes and as its own reader reads them."""

from pathlib import Path

import numpy as np
import pytest

from kennel.debug.hook_files import StepFiles
from kennel.debug.quiet import quiet_import

with quiet_import():
    from smdebug.core.modes import ModeKeys
    from smdebug.core.tfrecord.tensor_reader import TensorReader
    from smdebug.core.writer import FileWriter

ARRAYS = {
    "a": np.float32(2.5).reshape(()),
    "gradient/b": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32),
    "labels": np.arange(5),
    "big": np.zeros((300, 300), dtype=np.float64),
    "strided": np.arange(12, dtype=np.float32).reshape(3, 4).T,
}


def write(folder: Path) -> StepFiles:
    files = StepFiles(folder, 1005)
    for name, array in ARRAYS.items():
        files.write_tensor(array, name, mode=ModeKeys.EVAL, mode_step=7, timestamp=12.5)
    return files


def test_smdebugs_reader_reads_what_its_own_writer_would_have_written(tmp_path: Path) -> None:
    files = write(tmp_path / "ours")
    files.close()
    theirs = FileWriter(trial_dir=str(tmp_path / "theirs"), step=1005, worker="worker_0")
    for name, array in ARRAYS.items():
        theirs.write_tensor(array, name, mode=ModeKeys.EVAL, mode_step=7, timestamp=12.5)
    theirs.close()
    relative = "events/000000001005/000000001005_worker_0.tfevents"
    found, expected = (
        list(TensorReader((tmp_path / whose / relative).read_bytes()).read_tensors()) for whose in ("ours", "theirs")
    )
    for ours, other in zip(found, expected, strict=True):
        assert ours[:2] == other[:2] and ours[3:] == other[3:] == (ModeKeys.EVAL, 7)
        np.testing.assert_array_equal(ours[2], other[2])
        np.testing.assert_array_equal(ours[2], ARRAYS[ours[0]])
    assert files.size_bytes == sum(path.stat().st_size for path in (tmp_path / "ours").rglob("*") if path.is_file())
    assert {path.relative_to(tmp_path / "ours") for path in (tmp_path / "ours").rglob("*.*")} == {
        path.relative_to(tmp_path / "theirs") for path in (tmp_path / "theirs").rglob("*.*")
    }


def test_what_is_not_closed_is_not_there(tmp_path: Path) -> None:
    files = write(tmp_path)
    assert not list(tmp_path.rglob("*.tfevents"))
    files.abandon()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("count", [0, 1])
def test_a_step_without_tensors_leaves_no_index(tmp_path: Path, count: int) -> None:
    files = StepFiles(tmp_path, 3)
    for _ in range(2 * count):  # the second of the same name is passed over
        files.write_tensor(np.ones(2), "x", mode=ModeKeys.TRAIN, mode_step=3)
    assert files.count == count
    files.close()
    assert len(list(tmp_path.rglob("*.json"))) == count
