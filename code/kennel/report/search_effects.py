"""What a search says of each hyperparameter: how much it mattered, and whether the best lies at the end of its range.

How much: the share of the differences between trainings (in rank) that a parabola over the hyperparameter explains, for
a list of words its groups, and how often chance alone explains as much. A correlation alone would not see an optimum
in the middle, where most of them are.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kennel.hyperparameters import FIELDS, Rule
from kennel.report.search_record import SearchRange

Array = NDArray[np.float64]
Value = float | str | None
_FEWEST: Final = 8  # trainings, to say anything of what mattered
_SHUFFLES: Final = 1000
_LIKELY: Final = 0.05
_STEEP: Final = 0.4
_NEAR_END: Final = 0.05  # of a range's width, as it was searched
_FEWEST_FOR_ENDS: Final = 5


def effect(
    of: SearchRange, values: Sequence[Value], objectives: Sequence[float], *, is_minimized: bool
) -> dict[str, Any]:
    """share: 0 to 1. chance: how often shuffled results give as much. rho: rank correlation, None for words.

    `sentence` says it; of too few trainings, only that.
    """
    pairs = [(value, found) for value, found in zip(values, objectives, strict=True) if value is not None]
    silent: dict[str, Any] = {"share": None, "chance": None, "rho": None, "trials": len(pairs)}
    if len({value for value, _ in pairs}) < 2:
        return {**silent, "sentence": "The trainings had one value of it."}
    if len(pairs) < _FEWEST:
        return {**silent, "sentence": f"{len(pairs)} trainings are too few to say whether it mattered."}
    target = ranks([found for _, found in pairs])
    columns = _columns(of, [value for value, _ in pairs])
    share = _explained(columns, target)
    shuffled = np.random.default_rng(0)
    chance = sum(_explained(columns, shuffled.permutation(target)) >= share - 1e-12 for _ in range(_SHUFFLES))
    rho = _correlation(ranks([float(value) for value, _ in pairs]), target) if of.is_number else None
    found = {"share": share, "chance": (chance + 1) / (_SHUFFLES + 1), "rho": rho, "trials": len(pairs)}
    return {**found, "sentence": _sentence(found, is_minimized=is_minimized)}


def ranks(values: Sequence[float]) -> Array:
    """1 for the least; equal values share the mean of their places."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Array = (last - (counts - 1) / 2)[inverse]
    return mean


def position(of: SearchRange, value: Value) -> float | None:
    """Where a value lies in its range as it was searched, 0 to 1; None for one that is no number of it."""
    if isinstance(value, str) or value is None:
        return of.values.index(value) / max(1, len(of.values) - 1) if value in of.values else None
    if of.kind == "categorical":
        ordered = sorted(float(each) for each in of.values)
        return ordered.index(value) / max(1, len(ordered) - 1) if value in ordered else None
    low, high, here = (_scaled(of, number) for number in (of.low or 0.0, of.high or 0.0, float(value)))
    return 0.5 if high == low else min(1.0, max(0.0, (here - low) / (high - low)))


def at_end(of: SearchRange, best: Value, trials: int) -> dict[str, Any] | None:
    """Which end of its range the best value lies at, and a wider range to try; None where it does not, or cannot."""
    if trials < _FEWEST_FOR_ENDS or isinstance(best, str) or best is None or not of.is_number:
        return None
    if of.kind == "categorical":
        return _end_of_list(of, float(best))
    where = position(of, best)
    if where is None or of.low is None or of.high is None or of.low == of.high:
        return None
    if where <= _NEAR_END:
        wider = max(_limit(of, "low"), of.low / 10 if of.is_log else of.low - (of.high - of.low) / 2)
        return _end(of, best, "low", wider) if wider < of.low else None
    if where >= 1 - _NEAR_END:
        wider = min(_limit(of, "high"), of.high * 10 if of.is_log else of.high + (of.high - of.low) / 2)
        return _end(of, best, "high", wider) if wider > of.high else None
    return None


def _end_of_list(of: SearchRange, best: float) -> dict[str, Any] | None:
    ordered = sorted(float(each) for each in of.values)
    if len(ordered) < 3:
        return None
    if best == ordered[0] and best / 2 >= max(_limit(of, "low"), 1e-12):
        return _end(of, best, "low", best / 2)
    if best == ordered[-1] and 0 < best * 2 <= _limit(of, "high"):
        return _end(of, best, "high", best * 2)
    return None


def _end(of: SearchRange, best: float, end: str, wider: float) -> dict[str, Any]:
    if of.kind == "integer" or float(best).is_integer() and of.kind == "categorical":
        wider = math.floor(wider) if end == "low" else math.ceil(wider)
    return {"end": end, "best": best, "wider": wider}


def _limit(of: SearchRange, end: str) -> float:
    """What the hyperparameter may be at all, where it is one of ours."""
    known = FIELDS.get(of.name.replace("-", "_"))
    rule: Rule | None = known.metadata["rule"] if known else None
    limit = getattr(rule, end) if rule else None
    if limit is None:
        return -math.inf if end == "low" else math.inf
    return float(limit) + (1e-12 if rule and rule.is_open and end == "low" else 0.0)


def _scaled(of: SearchRange, number: float) -> float:
    if of.is_log:
        return math.log10(number)
    if of.scaling == "ReverseLogarithmic":
        return -math.log10(max(1 - number, 1e-300))
    return number


def _columns(of: SearchRange, values: Sequence[Value]) -> Array:
    """What explains: the place in the range and its square, or the groups of a list of words. (N, columns)"""
    if not of.is_number:
        words = sorted({str(value) for value in values})[1:]
        return np.array([[1.0] + [float(value == word) for word in words] for value in values])
    places = np.array([position(of, value) or 0.0 for value in values])
    return np.stack([np.ones_like(places), places, places**2], axis=1)


def _explained(columns: Array, target: Array) -> float:
    """R squared of a least-squares fit."""
    fitted = columns @ np.linalg.lstsq(columns, target, rcond=None)[0]
    total = float(((target - target.mean()) ** 2).sum())
    return 0.0 if total == 0 else max(0.0, 1 - float(((target - fitted) ** 2).sum()) / total)


def _correlation(left: Array, right: Array) -> float:
    left, right = left - left.mean(), right - right.mean()
    size = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return 0.0 if size == 0 else float((left * right).sum()) / size


def _sentence(found: dict[str, Any], *, is_minimized: bool) -> str:
    if found["chance"] > _LIKELY:
        return "No clear effect: chance could explain it."
    rho = found["rho"]
    if rho is None:
        return "It mattered: the groups differ."
    if abs(rho) < _STEEP:
        return "It mattered; the best lies in between."
    return f"It mattered: {'smaller' if (rho > 0) == is_minimized else 'larger'} was better."
