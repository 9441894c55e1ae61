"""Many small files at once."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")

# A task costs as much as hashing a picture of 10 kB does: so one task looks at several.
_BATCH: Final = 32


def in_threads(
    look_at: Callable[[Item], Found], items: Sequence[Item], *, workers: int | None = None
) -> Iterator[Found]:
    """`look_at` of every item, in order, by threads: reading, decoding and hashing let go of the interpreter's lock."""
    batches = [items[first : first + _BATCH] for first in range(0, len(items), _BATCH)]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for found in pool.map(lambda batch: [look_at(item) for item in batch], batches):
            yield from found
