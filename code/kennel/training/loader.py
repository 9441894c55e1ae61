"""Pictures from files to batches: read, decoded and transformed by threads, ahead of the network.

Threads, not DataLoader's worker processes: Pillow decodes and resizes without Python's lock, and threads need none of
what makes worker processes fail in a container (Docker gives 64 MB of shared memory; a fork beside running threads is
undefined; a worker can outlive a killed training). Order and results do not depend on their number.

Where several processes train together (`world`), each reads its share only.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import torch
from torch import Tensor

from kennel.dataset.folders import Example
from kennel.errors import DataError, ImageError
from kennel.images.augmentation import TrainTransform
from kennel.images.decode import read_image
from kennel.images.transforms import EvalTransform
from kennel.training.distributed import ALONE, World
from kennel.training.randomness import generator, permutation

EVAL_BATCH: Final = 64
_MAX_READERS: Final = 16

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Batch:
    """This rank's share of a step's images.

    inputs: float32 (N, 3, H, W) pictures or (N, D) features. targets: int64 (N,).
    images: of the step, over all ranks. first: which of them this rank's share begins with.
    """

    inputs: Tensor
    targets: Tensor
    images: int
    first: int


@dataclass(frozen=True)
class EvalPictures:
    """Pictures in their order, without augmentation; may be gone through any number of times."""

    examples: Sequence[Example]
    transform: EvalTransform
    readers: int
    world: World = ALONE

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def targets(self) -> Tensor:
        """int64 (N,)."""
        return torch.tensor([example.target for example in self.examples])

    @property
    def steps(self) -> int:
        """Batches that are this process's turns."""
        return len(self.world.turns(cut(range(len(self)), EVAL_BATCH)))

    def batches(self) -> Iterator[Tensor]:
        """float32 (up to EVAL_BATCH, 3, H, W), in turn with the other ranks."""

        def read(index: int) -> Tensor:
            example = self.examples[index]
            with _named(example):
                return self.transform(read_image(example.path))

        return stacked(read, self.world.turns(cut(range(len(self)), EVAL_BATCH)), readers=self.readers)


@dataclass(frozen=True)
class TrainPictures:
    """Pictures in a new order and a new view every epoch, both functions of seed and epoch."""

    examples: Sequence[Example]
    transform: TrainTransform
    batch_size: int
    seed: int
    readers: int
    world: World = ALONE

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def targets(self) -> Tensor:
        """int64 (N,)."""
        return torch.tensor([example.target for example in self.examples])

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return len(train_batches(range(len(self)), self.batch_size))

    def batches(self, epoch: int, first_step: int) -> Generator[Batch, None, None]:
        """The batches of `epoch`, without the first `first_step`, whose pictures are not read."""
        order = permutation(len(self), "order", self.seed, epoch)
        left = train_batches(order, self.batch_size)[first_step:]
        shares = [self.world.share(step) for step in left]
        inputs = stacked(lambda index: self.view(index, epoch), shares, readers=self.readers)
        size_px = self.transform.eval.crop_px
        for step, indexes, views in zip(left, shares, inputs, strict=True):
            targets = torch.tensor([self.examples[index].target for index in indexes], dtype=torch.int64)
            yield Batch(views.reshape(-1, 3, size_px, size_px), targets, len(step), self.world.first(len(step)))

    def view(self, index: int, number: int) -> Tensor:
        """float32 (3, H, W): picture `index`, augmented as the seed and `number` say."""
        example = self.examples[index]
        with _named(example):
            return self.transform(read_image(example.path), generator("view", self.seed, number, index))

    def plain(self) -> EvalPictures:
        """The same pictures without augmentation, in their order."""
        return EvalPictures(self.examples, self.transform.eval, self.readers, self.world)


def reader_count() -> int:
    """Threads that read: one a core that is this process's share of the host's (torchrun), 16 at most."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    return min(max(len(os.sched_getaffinity(0)) // processes, 1), _MAX_READERS)


def train_batches(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """`order` cut into batches. A picture left over alone joins the batch before: BatchNorm cannot train on one."""
    batches = cut(order, batch_size)
    if len(batches) > 1 and len(batches[-1]) == 1 and batch_size > 1:
        alone = batches.pop()
        batches[-1] = batches[-1] + alone
    return batches


def cut(order: Sequence[int], size: int) -> list[list[int]]:
    """`order` in pieces of `size`; the last may be shorter."""
    return [list(order[start : start + size]) for start in range(0, len(order), size)]


def stacked(
    read: Callable[[int], Tensor], batches: Sequence[Sequence[int]], *, readers: int, batches_ahead: int = 2
) -> Iterator[Tensor]:
    """`read(index)` of every batch of indexes, stacked; pinned where there is a GPU to copy to.

    A batch of no indexes gives a tensor of shape (0,).
    """
    indexes = [index for batch in batches for index in batch]
    ahead = batches_ahead * max((len(batch) for batch in batches), default=1)
    with closing(read_ahead(read, indexes, readers=readers, ahead=ahead)) as tensors:
        for batch in batches:
            inputs = torch.stack([next(tensors) for _ in batch]) if batch else torch.empty(0)
            yield inputs.pin_memory() if torch.cuda.is_available() else inputs


def read_ahead(read: Callable[[T], R], items: Iterable[T], *, readers: int, ahead: int) -> Generator[R, None, None]:
    """`read(item)` of every item, in order, computed by `readers` threads up to `ahead` items early.

    What `read` raises is raised here, in its place. Closing the iterator leaves the rest unread.
    """
    pool = ThreadPoolExecutor(readers, thread_name_prefix="reader", initializer=_use_one_core)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _named(example: Example) -> Iterator[None]:
    """Turns what is wrong with a picture into an error that says how to go on."""
    try:
        yield
    except (ImageError, OSError) as error:
        reason = str(error) if isinstance(error, ImageError) else f"{example.path} cannot be read ({error.strerror})."
        raise DataError(
            f"{reason} To train without such pictures: -p bad-data=skip. To list them all: kennel check --data DIR."
        ) from error


def _use_one_core() -> None:
    """In a reader: torch's own threads would fight with the network's. The setting is the thread's alone."""
    torch.set_num_threads(1)
