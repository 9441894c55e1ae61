"""Statistics in torch, against numpy's."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kennel.debug.hook_statistics import THINNED_ELEMENTS, describe, merged, thinned, unit_activity, unit_means
from kennel.debug.statistics import STATISTICS, describe_array


def named(vector: Tensor) -> dict[str, float]:
    return dict(zip(STATISTICS, vector.tolist(), strict=False))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(7),
        torch.randn(40, 30) + 5,
        torch.relu(torch.randn(3, 4, 5, 6)).to(memory_format=torch.channels_last),
        1 + 1e-4 * torch.randn(512),  # a BatchNorm's weight: a small variance beside a large mean
        torch.randn(100, 100).bfloat16(),
        torch.zeros(5),
        torch.tensor(3.0),
    ],
)
def test_describe_gives_numpys_numbers(tensor: Tensor) -> None:
    found, expected = named(describe(tensor)), describe_array(tensor.float().numpy())
    for name, wanted in expected.items():
        tolerance = 0.05 if name in ("p5", "p95") else 1e-3
        assert found[name] == pytest.approx(wanted, rel=tolerance, abs=1e-9), name


def test_numbers_that_are_none_are_counted() -> None:
    found = named(describe(torch.tensor([0.0, float("nan"), float("inf"), 1.0])))
    assert (found["nonfinite_share"], found["nan_share"], found["zero_share"]) == (0.5, 0.25, 0.25)
    assert np.isnan(found["mean"])


def test_units_are_channels_or_neurons() -> None:
    maps = torch.stack([torch.full((2, 2), -1.0), torch.full((2, 2), 3.0)])[None]
    assert unit_activity(maps).tolist() == [0.0, 1.0]
    assert unit_means(maps).tolist() == [-1.0, 3.0]
    assert unit_activity(torch.tensor([[1.0, 0.0], [1.0, 2.0]])).tolist() == [1.0, 0.5]


def test_parts_merge_to_the_whole() -> None:
    whole = torch.randn(50, 8) * torch.arange(8) + 3
    parts = whole.split([20, 20, 10])
    found = named(merged([describe(part) for part in parts], [20, 20, 10]))
    for name, wanted in named(describe(whole)).items():
        assert found[name] == pytest.approx(wanted, rel=0.1 if name in ("p5", "p95") else 1e-4), name


def test_large_maps_are_thinned_and_keep_images_and_channels() -> None:
    maps = torch.randn(8, 16, 112, 112)
    found = thinned(maps)
    assert found.shape[:2] == (8, 16) and THINNED_ELEMENTS / 4 < found.numel() <= THINNED_ELEMENTS * 1.1
    assert thinned(maps[:, :, :8, :8]).shape == (8, 16, 8, 8)
    assert thinned(torch.randn(1024, 1024)).shape == (1024, 1024)
