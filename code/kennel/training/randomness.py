"""Every random number of a training, as a function of what it is for.

Nothing is drawn from a stream that runs through the training: the order of epoch 7 is the same whether the epochs
before it ran in this process or in one that was killed. So a continued training ends with the same weights.

    permutation(100, "order", seed, epoch)      # the order of the pictures
    generator("view", seed, epoch, index)       # one picture's augmentation
"""

import hashlib

import numpy as np
import torch


def seed_of(*purpose: str | int) -> int:
    """63 bits for a purpose; different purposes give unrelated seeds."""
    digest = hashlib.sha256(repr(purpose).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_torch(*purpose: str | int) -> None:
    """torch's own generators for a purpose, as torch.manual_seed sets them.

    That one formats a stack trace for each kind of accelerator that is not there: 0.5 ms, of 0.9 ms that a step of a
    head on features took.
    """
    seed = seed_of(*purpose)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)


def generator(*purpose: str | int) -> torch.Generator:
    """torch's numbers for a purpose, on the CPU."""
    return torch.Generator().manual_seed(seed_of(*purpose))


def numpy_generator(*purpose: str | int) -> np.random.Generator:
    """numpy's numbers for a purpose: it has the distributions that torch draws from the global stream only."""
    return np.random.default_rng(seed_of(*purpose))


def permutation(count: int, *purpose: str | int) -> list[int]:
    """0 to count - 1 in a random order."""
    order: list[int] = torch.randperm(count, generator=generator(*purpose)).tolist()
    return order
