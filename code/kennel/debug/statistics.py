"""The numbers that stand for a tensor: what the hook saves in place of it, and what a trial computes from a raw one.

    found = describe_array(gradient)           # {"min": ..., "abs_mean": ..., ...}
    vector = [found[name] for name in STATISTICS]

They are numpy's: NaN where the tensor has one, `std` and `variance` of the population. Percentiles of tensors above
PERCENTILE_ELEMENTS are those of evenly spaced elements. Exercise it: pytest tests/unit/debug
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# In the order in which the hook stores them; new ones go to the end, so that old files can still be read.
STATISTICS: Final = (
    "min",
    "max",
    "mean",
    "std",
    "variance",
    "abs_mean",
    "l2",
    "p5",
    "p95",
    "zero_share",
    "nonfinite_share",
    "nan_share",
    "update_ratio",
)
# A percentile of a million values is the same to the fourth digit, and sorting all of 11 million takes a second.
PERCENTILE_ELEMENTS: Final = 1 << 20
# The names, in smdebug's files, of reductions that are ours: the vector of STATISTICS, and a value for each unit.
VECTOR: Final = "kennel"
ACTIVITY: Final = "activity"


def describe_array(values: NDArray[Any]) -> dict[str, float]:
    """All STATISTICS but update_ratio. Empty for an empty array."""
    if values.size == 0:
        return {}
    flat = values.astype(np.float64, copy=False).ravel()
    with np.errstate(all="ignore"):  # infinities and NaN are what is looked for
        low, high = percentiles(flat)
        variance = float(flat.var())
        return {
            "min": float(flat.min()),
            "max": float(flat.max()),
            "mean": float(flat.mean()),
            "std": variance**0.5,
            "variance": variance,
            "abs_mean": float(np.abs(flat).mean()),
            "l2": float(np.linalg.norm(flat)),
            "p5": low,
            "p95": high,
            "zero_share": float((flat == 0).mean()),
            "nonfinite_share": float((~np.isfinite(flat)).mean()),
            "nan_share": float(np.isnan(flat).mean()),
        }


def percentiles(flat: NDArray[np.float64]) -> tuple[float, float]:
    """p5 and p95, of evenly spaced elements where there are very many."""
    stride = -(-flat.size // PERCENTILE_ELEMENTS)
    low, high = np.percentile(flat[::stride], [5, 95])
    return float(low), float(high)


def update_ratio(before: NDArray[Any], after: NDArray[Any]) -> float | None:
    """mean|after - before| / mean|after|: how far a weight moved, by its size. None where the shapes differ."""
    if before.shape != after.shape or after.size == 0:
        return None
    with np.errstate(all="ignore"):
        moved = np.abs(after.astype(np.float64) - before.astype(np.float64)).mean()
        size = np.abs(after.astype(np.float64)).mean()
        return float(moved / size) if size or not moved else float("inf")


def unit_activity(values: NDArray[Any]) -> NDArray[np.float64]:
    """float64 (units,): the share of positive values of each channel (N, C, ...) or neuron (N, D)."""
    positive = (values > 0).astype(np.float64)
    if positive.ndim < 2:
        return positive.ravel()
    return np.asarray(positive.mean(axis=(0, *range(2, positive.ndim))))


def from_reductions(reductions: Mapping[tuple[str, bool], float]) -> dict[str, float]:
    """What smdebug's own reductions, by (name, of absolute values), say of the STATISTICS."""
    known = {name: reductions[name, False] for name in ("min", "max", "mean", "std", "variance", "l2")
             if (name, False) in reductions}  # fmt: skip
    if ("mean", True) in reductions:
        known["abs_mean"] = reductions["mean", True]
    if ("l2", True) in reductions:
        known.setdefault("l2", reductions["l2", True])
    if "std" in known:
        known.setdefault("variance", known["std"] ** 2)
    elif "variance" in known:
        known["std"] = known["variance"] ** 0.5
    return known
