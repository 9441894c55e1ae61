"""kennel.training.data: what a job refuses, and what it leaves out when asked."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kennel.errors import DataError, HyperparameterError
from kennel.hyperparameters import Hyperparameters
from kennel.training.data import describe_dataset, read_dataset

SMALL = Hyperparameters(batch_size=4)
SKIP = Hyperparameters(batch_size=4, bad_data="skip")


def test_dataset_is_described_in_one_line(make_folder: Callable[..., Path]) -> None:
    dataset = read_dataset({"train": make_folder()}, SMALL)
    assert describe_dataset(dataset, "0123456789abcdef0123") == (
        "data classes=3 train=36 valid=12 test=12 layout=split split-seed=None digest=0123456789abcdef"
    )


def test_batch_larger_than_the_training_set_names_both_numbers(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(
        HyperparameterError, match="batch-size 37 is larger than the 36 training images. Set batch-size to 36"
    ):
        read_dataset({"train": make_folder()}, Hyperparameters(batch_size=37))


def _leak(folder: Path) -> Path:
    leaked = folder / "train" / "001.Red" / "copy.jpg"
    shutil.copy(folder / "test" / "001.Red" / "red_000.jpg", leaked)
    return leaked


def test_leak_is_refused_with_the_remedy(make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    leaked = _leak(folder)
    with pytest.raises(
        DataError, match=rf"{leaked} .*same picture.* To train without these 1 pictures: -p bad-data=skip"
    ):
        read_dataset({"train": folder}, SMALL)


def test_leak_and_broken_picture_are_left_out_when_asked(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder()
    leaked = _leak(folder)
    broken = folder / "valid" / "002.Green" / "green_000.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    dataset = read_dataset({"train": folder}, SKIP)
    kept = {example.path for _, example in dataset.examples()}
    assert not {leaked, broken} & kept
    assert len(kept) == 36 + 12 + 12 - 1
    assert "left out 2 pictures (bad-data=skip):" in capsys.readouterr().out


def test_class_without_a_picture_left_is_refused_also_when_skipping(make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    for path in (folder / "train" / "003.Blue").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="Class '003.Blue' has no training picture") as refused:
        read_dataset({"train": folder}, SKIP)
    assert "bad-data=skip" not in str(refused.value)


def test_empty_channel_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{tmp_path} is empty"):
        read_dataset({"train": tmp_path}, SMALL)
