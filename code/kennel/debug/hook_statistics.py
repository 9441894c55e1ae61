"""The statistics of kennel.debug.statistics in torch: on the tensor's device, in few passes, without waiting for it.

    vector = describe(gradient)                # float32 (12,), STATISTICS without update_ratio
    activity = unit_activity(output)           # float32 (channels,)

Of large activations and inputs evenly spaced pixels are looked at (`thinned`), of all tensors' percentiles evenly
spaced elements. Exercise it: pytest tests/unit/debug/test_hook_statistics.py
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

# Of an activation: enough for every channel, and a 112 x 112 map of 16 images would be 13 million.
THINNED_ELEMENTS: Final = 1 << 19
# Of these many the 5th percentile is found to half a percentage point.
_SAMPLE: Final = 4096
_FEW: Final = 256


@torch.no_grad()
def describe(tensor: Tensor) -> Tensor:
    """float32 (12,) on the tensor's device: min, max, mean, std, variance, abs_mean, l2, p5, p95, zero_share,
    nonfinite_share, nan_share."""
    flat = _flat(tensor)
    count = flat.numel()
    low, high = torch.aminmax(flat)
    mean = flat.mean()
    # Not var_mean, which takes 12 ms for 2.4 million numbers on one core: this takes 1, and does not cancel either.
    variance = torch.linalg.vector_norm(flat - mean).square() / count
    abs_mean = flat.abs().mean()  # the norm of order 1 takes three times as long
    l2 = ((variance + mean.square()) * count).sqrt()
    p5, p95 = _percentiles(flat)
    zeros = 1 - torch.count_nonzero(flat) / count
    nonfinite, nan = _not_numbers(flat, low, high)
    return torch.stack(
        [low, high, mean, variance.sqrt(), variance, abs_mean, l2, p5, p95, zeros, nonfinite / count, nan / count]
    )


@torch.no_grad()
def unit_activity(output: Tensor) -> Tensor:
    """float32 (units,): the share of positive values of each channel (N, C, ...) or neuron (N, D)."""
    return _unit_means((output > 0).float())


@torch.no_grad()
def unit_means(values: Tensor) -> Tensor:
    """float32 (units,): the mean of each channel (N, C, ...) or number (N, D)."""
    return _unit_means(values.float())


@torch.no_grad()
def update_ratio(before: Tensor, after: Tensor) -> Tensor:
    """mean|after - before| / mean|after|, a scalar on the device."""
    moved: Tensor = torch.linalg.vector_norm(after - before, 1)
    ratio: Tensor = moved / torch.linalg.vector_norm(after, 1)
    return ratio


@torch.no_grad()
def merged(vectors: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """The vector of all elements together, from those of parts with so many images; percentiles are averaged."""
    stacked = torch.stack(list(vectors))
    shares = torch.tensor(counts, device=stacked.device, dtype=stacked.dtype)
    shares = (shares / shares.sum())[:, None]
    found = (stacked * shares).sum(0)
    variance = found[4] + ((stacked[:, 2] - found[2]).square() * shares[:, 0]).sum()
    found[0], found[1] = stacked[:, 0].min(), stacked[:, 1].max()
    found[3], found[4] = variance.sqrt(), variance
    found[6] = torch.linalg.vector_norm(stacked[:, 6])
    return found


def thinned(maps: Tensor) -> Tensor:
    """The same of (N, C, H, W) with every n-th row and column only, if it is large: all images, all channels."""
    if maps.ndim != 4 or maps.numel() <= THINNED_ELEMENTS:
        return maps
    step = 1
    while maps.numel() > THINNED_ELEMENTS * step * step and step < min(maps.shape[2:]):
        step += 1
    return maps[:, :, ::step, ::step]


def _unit_means(values: Tensor) -> Tensor:
    return values.mean(dim=[0, *range(2, values.ndim)]) if values.ndim > 1 else values


def _flat(tensor: Tensor) -> Tensor:
    """float32 (N,) of a tensor's elements in the order of memory: a view where it can be one."""
    tensor = tensor.detach()
    if tensor.ndim == 4 and not tensor.is_contiguous():
        tensor = tensor.permute(0, 2, 3, 1)  # channels-last, the order that this project's networks are in
    flat = tensor.reshape(-1)
    return flat if flat.dtype == torch.float32 else flat.float()


def _percentiles(flat: Tensor) -> tuple[Tensor, Tensor]:
    """The 5th and the 95th, of a sample where there are many; between two elements only where there are few."""
    sample = flat[:: -(-flat.numel() // _SAMPLE)]
    last = sample.numel() - 1
    if last > _FEW:
        return sample.kthvalue(round(0.05 * last) + 1).values, sample.kthvalue(round(0.95 * last) + 1).values
    ordered = sample.sort().values
    low, high = math.floor(0.05 * last), math.ceil(0.95 * last)
    return (
        ordered[low].lerp(ordered[min(low + 1, last)], 0.05 * last - low),
        ordered[high].lerp(ordered[max(high - 1, 0)], high - 0.95 * last),
    )


def _not_numbers(flat: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """How many are no finite number, and how many are NaN."""
    if flat.device.type == "cpu" and math.isfinite(low.item()) and math.isfinite(high.item()):
        none = low.new_zeros(())
        return none, none  # on a GPU this question would wait for all that was asked of it
    return (~torch.isfinite(flat)).sum(), torch.isnan(flat).sum()
