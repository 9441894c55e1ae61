"""Where and in what arithmetic a training runs: a GPU if there is one, float32 or bfloat16."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Final

import torch
from torch import Tensor, nn

# Below this, a step's work is less than what several threads wait for each other.
_SMALL_PARAMETERS: Final = 1_000_000


def choose_device(local_rank: int = 0) -> torch.device:
    """This rank's GPU, or the CPU. On a GPU, only algorithms that give the same result every time are used."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.deterministic = True  # a continued training must end with the same weights
    torch.cuda.set_device(local_rank % torch.cuda.device_count())
    return torch.device("cuda", torch.cuda.current_device())


def describe_device(device: torch.device) -> str:
    """`device=cpu threads=2`, or the name of the GPU and its memory."""
    if device.type == "cpu":
        return f"device=cpu threads={torch.get_num_threads()}"
    properties = torch.cuda.get_device_properties(device)
    return f"device=cuda name={properties.name.replace(' ', '-')} memory_gb={properties.total_memory / 2**30:.0f}"


def to_device(inputs: Tensor, device: torch.device) -> Tensor:
    """Pictures (N, 3, H, W) or features (N, D) on `device`; pictures in the memory order convolutions like best."""
    if inputs.ndim == 4:
        return inputs.to(device, non_blocking=True, memory_format=torch.channels_last)
    return inputs.to(device, non_blocking=True)


def module_to_device(module: nn.Module, device: torch.device) -> None:
    """Moves `module` in place, its convolutions in channels-last order."""
    module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """What a forward pass runs in: bfloat16 autocast, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()


def exact_arithmetic() -> AbstractContextManager[object]:
    """What evaluation runs in: float32 without the shortened multiplications of some GPUs (TF32)."""
    return torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)


@contextlib.contextmanager
def fitting_threads(network: nn.Module) -> Iterator[None]:
    """One thread while a small network (a head, on cached features) is trained on the CPU.

    Measured with a linear head of 512 features on 2 busy cores: 2 ms a step with one thread, 64 ms with two.
    """
    threads = torch.get_num_threads()
    if sum(parameter.numel() for parameter in network.parameters()) < _SMALL_PARAMETERS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
