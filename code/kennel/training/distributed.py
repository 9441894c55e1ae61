"""Several processes, on one host or on several, that train one model together: who this one is, and how they agree.

    with joined(World.from_environ(os.environ)) as world:      # as torchrun sets it; alone, nothing is joined
        world.share(batch)                                     # this rank's part of a batch, in order
        world.gather(rows, stop)                               # everybody's rows; raises Stopped at all ranks at once

One host is a world of size 1, in which every method is trivial. In a larger one every method but `share` and `turns` is
collective: all ranks must come to it, in the same order. A rank that ends closes its connections, and the others raise
PeerError at once; one that hangs is given up after KENNEL_PEER_TIMEOUT_S (600). Nothing that is sent is pickled.

Not DistributedDataParallel: a step of it averages over ranks, whatever their images, so that the short batch at an
epoch's end would count wrong; and every rank has to hear of a signal in the same step.
Exercise it: pytest tests/unit/training/test_distributed.py
"""

import contextlib
import datetime
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kennel.errors import PeerError
from kennel.training.stopping import Stopped, StopRequest

T = TypeVar("T")

# Longer than any rank legitimately works alone (the slowest thing is decoding a whole data set for bad-data=skip).
PEER_TIMEOUT_S: Final = 600
_DIMENSIONS: Final = 4


@dataclass(frozen=True)
class World:
    """rank: of this process, 0 to size - 1, over all hosts. local_rank: among those of its host."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "World":
        """As torchrun tells it; alone where it does not."""
        if not environ.keys() >= {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}:
            return ALONE
        return cls(int(environ["RANK"]), int(environ["WORLD_SIZE"]), int(environ["LOCAL_RANK"]))

    @property
    def is_alone(self) -> bool:
        return self.size == 1

    @property
    def is_leader(self) -> bool:
        """The one that prints, and writes checkpoints, results and the model."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's part of `items`, in order: they differ in length by one at most, and may be empty."""
        return items[self.first(len(items)) : len(items) * (self.rank + 1) // self.size]

    def first(self, count: int) -> int:
        """Where this rank's share of `count` items begins."""
        return count * self.rank // self.size

    def turns(self, items: Sequence[T]) -> Sequence[T]:
        """What this rank does of `items` that are done one after the other, each by the next rank."""
        return items[self.rank :: self.size]

    def sum(self, tensor: Tensor) -> None:
        """In place: the sum over ranks, the same bits everywhere."""
        if not self.is_alone:
            with _peers():
                dist.all_reduce(tensor)

    def check(self, stop: StopRequest) -> None:
        """Raises Stopped at every rank if any was told to stop."""
        self.gather(torch.empty(0), stop)

    def gather(self, rows: Tensor, stop: StopRequest | None = None) -> list[Tensor]:
        """Everybody's rows, by rank, without those of ranks that had none; [] if nobody had any.

        rows: (N, ...) with N of one's own, 0 included; equal in type everywhere, and in the other dimensions where N
        is not 0. Raises Stopped at every rank if any was told to stop.
        """
        if self.is_alone:
            if stop:
                stop.check()
            return [rows] if len(rows) else []
        headers = self._headers(rows, stop)
        signum = max(header[0] for header in headers)
        if signum:
            raise Stopped(signum)
        shape = max((header[1:] for header in headers), key=lambda sizes: sizes[0])
        if shape[0] == 0:
            return []
        inner = [size for size in shape[1:] if size]
        padded = rows.new_zeros([shape[0], *inner])
        padded[: len(rows)] = rows.reshape(len(rows), *inner)
        found = [torch.empty_like(padded) for _ in range(self.size)]
        with _peers():
            dist.all_gather(found, padded)
        return [part[: header[1]] for part, header in zip(found, headers, strict=True) if header[1]]

    def from_leader(self, content: bytes) -> bytes:
        """What the leader gave; what others gave is ignored."""
        if self.is_alone:
            return content
        length = torch.tensor([len(content)])
        with _peers():
            dist.broadcast(length, 0)
            buffer = torch.zeros(int(length), dtype=torch.uint8)
            if self.is_leader and content:
                buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            if len(buffer):
                dist.broadcast(buffer, 0)
        return bytes(buffer.numpy()) if len(buffer) else b""

    def texts(self, text: str) -> list[str]:
        """Everybody's text, by rank. None may be empty."""
        rows = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        return [bytes(part.numpy()).decode() for part in self.gather(rows)]

    def align(self, tensors: Iterable[Tensor]) -> None:
        """In place: everybody's tensors become the leader's, should their processors round differently."""
        if not self.is_alone:
            with _peers():
                for tensor in tensors:
                    dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Returns when every rank is here."""
        self.texts(".")

    def quiet(self) -> contextlib.AbstractContextManager[Any]:
        """In it only the leader prints: metric lines count once, whatever the number of hosts. Errors go to stderr."""
        if self.is_leader:
            return contextlib.nullcontext()
        return _silence()

    def _headers(self, rows: Tensor, stop: StopRequest | None) -> list[list[int]]:
        """For each rank: the signal it was sent, or 0, and the shape of its rows, filled up with 0."""
        signum = stop.signum if stop and stop.signum else 0
        ours = torch.tensor([signum, *rows.shape, *[0] * (_DIMENSIONS - rows.ndim)])
        found = [torch.empty_like(ours) for _ in range(self.size)]
        with _peers():
            dist.all_gather(found, ours)
        return [each.tolist() for each in found]


ALONE: Final = World()


@contextlib.contextmanager
def joined(world: World, environ: Mapping[str, str] = os.environ) -> Iterator[World]:
    """The world, connected: by gloo for what is on the CPU, by NCCL for what is on a GPU. Raises PeerError."""
    if world.is_alone:
        yield world
        return
    timeout = datetime.timedelta(seconds=float(environ.get("KENNEL_PEER_TIMEOUT_S") or PEER_TIMEOUT_S))
    backend = environ.get("KENNEL_BACKEND") or ("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    with _peers():
        dist.init_process_group(backend, timeout=timeout)
    yield world
    # Not after an error: taking a broken group down may wait for those that are gone.
    dist.destroy_process_group()


def told_to_stop(stop: StopRequest) -> Stopped:
    """What to raise where any rank was told to: this one may have heard nothing itself."""
    return Stopped(stop.signum or signal.SIGTERM)


def share_batch_norm(model: nn.Module, world: World, device: torch.device) -> None:
    """In place: BatchNorm layers that are trained see the whole batch, not this rank's share of it.

    On a GPU torch's SyncBatchNorm does it, and on a CPU, for which torch has none, SharedBatchNorm.
    """
    if world.is_alone:
        return
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            # The class alone changes: parameters, statistics and hooks stay the very same objects.
            module.__class__ = SharedBatchNorm
            module.world = world  # type: ignore[assignment]  # a plain attribute, not a tensor or a module


class SharedBatchNorm(nn.BatchNorm2d):
    """A BatchNorm2d whose statistics in train mode are those of all ranks' images; in eval mode it is one."""

    world: World

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        """float (N, C, H, W), N may be 0 as long as another rank has images."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(input)
        values, axes = input.to(torch.promote_types(input.dtype, torch.float32)), (0, 2, 3)
        pixels = values.new_full((1,), values.numel() // values.shape[1])
        totals = _sum_over_ranks(torch.cat([values.sum(axes), pixels]), self.world)
        count = totals[-1].detach()
        mean = totals[:-1] / count
        centred = values - mean[:, None, None]
        variance = _sum_over_ranks(centred.square().sum(axes), self.world) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _SumOverRanks(torch.autograd.Function):
    """A sum whose gradient is one too."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, world: World) -> Tensor:  # noqa: ANN401  torch's context
        ctx.world = world
        total = tensor.clone()
        world.sum(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        total = gradient.clone()
        ctx.world.sum(total)
        return total, None


def _sum_over_ranks(tensor: Tensor, world: World) -> Tensor:
    total: Tensor = _SumOverRanks.apply(tensor, world)
    return total


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """Turns what gloo, NCCL and the store raise of other ranks into a PeerError."""
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise PeerError(
            f"Another process of this training has ended or does not answer ({reason}). "
            f"The log of its host says why. Started again, the job goes on from its last checkpoint."
        ) from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
