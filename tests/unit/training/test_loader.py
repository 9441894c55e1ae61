"""kennel.training.loader: order, views and errors do not depend on threads."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kennel.dataset.folders import Example, find_folder
from kennel.errors import DataError
from kennel.images.augmentation import TrainTransform
from kennel.images.decode import read_image
from kennel.images.transforms import EvalTransform
from kennel.training.loader import EvalPictures, TrainPictures, read_ahead, train_batches

TRANSFORM = EvalTransform.for_size(32)


def _examples(make_folder: Callable[..., Path]) -> tuple[Example, ...]:
    return find_folder(make_folder(images={"train": 3, "valid": 1, "test": 1}), seed=0).splits["train"]


def _train(examples: tuple[Example, ...], *, seed: int = 0, readers: int = 2) -> TrainPictures:
    return TrainPictures(examples, TrainTransform(TRANSFORM), 4, seed, readers)


def test_eval_pictures_are_the_eval_transform_of_the_files_in_order(make_folder: Callable[..., Path]) -> None:
    examples = _examples(make_folder)
    pictures = EvalPictures(examples, TRANSFORM, 2)
    expected = torch.stack([TRANSFORM(read_image(example.path)) for example in examples])
    assert torch.equal(torch.cat(list(pictures.batches())), expected)
    assert pictures.targets.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_train_pictures_are_the_same_with_any_number_of_readers(make_folder: Callable[..., Path]) -> None:
    examples = _examples(make_folder)
    one, four = (list(_train(examples, readers=readers).batches(3, 0)) for readers in (1, 4))
    for first, second in zip(one, four, strict=True):
        assert torch.equal(first.inputs, second.inputs)
        assert torch.equal(first.targets, second.targets)


def test_train_pictures_go_on_in_the_middle_of_an_epoch(make_folder: Callable[..., Path]) -> None:
    pictures = _train(_examples(make_folder))
    whole, rest = list(pictures.batches(2, 0)), list(pictures.batches(2, 1))
    assert pictures.steps == len(whole) == 2  # 9 images: 4, and 4 with the one left over
    assert torch.equal(whole[1].inputs, rest[0].inputs)


def test_train_pictures_go_through_every_image_once_an_epoch(make_folder: Callable[..., Path]) -> None:
    targets = torch.cat([batch.targets for batch in _train(_examples(make_folder)).batches(1, 0)])
    assert sorted(targets.tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("other", ["epoch", "seed"])
def test_train_pictures_differ_by(other: str, make_folder: Callable[..., Path]) -> None:
    examples = _examples(make_folder)
    first = next(iter(_train(examples).batches(1, 0))).inputs
    again = next(iter(_train(examples, seed=int(other == "seed")).batches(1 + int(other == "epoch"), 0))).inputs
    assert not torch.equal(first, again)


def test_train_batches_join_an_image_left_over_alone_to_the_last_batch() -> None:
    assert train_batches(range(7), 3) == [[0, 1, 2], [3, 4, 5, 6]]
    assert train_batches(range(8), 3) == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert train_batches(range(2), 1) == [[0], [1]]


def test_broken_picture_is_named_with_the_remedy(make_folder: Callable[..., Path]) -> None:
    examples = _examples(make_folder)
    path = examples[4].path
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=rf"{path.name} is cut short .*-p bad-data=skip.*kennel check --data"):
        list(EvalPictures(examples, TRANSFORM, 2).batches())


def test_picture_that_is_gone_is_named(make_folder: Callable[..., Path]) -> None:
    examples = _examples(make_folder)
    examples[4].path.unlink()
    with pytest.raises(DataError, match=rf"{examples[4].path.name} cannot be read \(No such file or directory\)"):
        list(_train(examples).batches(1, 0))


def test_read_ahead_keeps_the_order_of_slow_and_fast_reads() -> None:
    def read(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * 10

    assert list(read_ahead(read, range(20), readers=4, ahead=8)) == [item * 10 for item in range(20)]


def test_read_ahead_leaves_no_thread_behind_when_it_is_closed_early() -> None:
    before = set(threading.enumerate())
    numbers = read_ahead(lambda item: item, range(1000), readers=3, ahead=5)
    assert next(numbers) == 0
    numbers.close()
    assert set(threading.enumerate()) == before


def test_read_ahead_does_not_change_the_threads_of_the_network() -> None:
    before = torch.get_num_threads()
    list(read_ahead(lambda item: item, range(3), readers=2, ahead=2))
    assert torch.get_num_threads() == before
