"""When one trial is stopped early, and when a whole search has found enough. Pure rules, on plain numbers.

AWS documents the early stopping of type Auto as a median rule: after each epoch, the objective of the running trial is
compared with the median of the running averages that the earlier trials had up to the same epoch, and a trial that is
worse is stopped. It leaves open, and we chose:

- which trials are "earlier": those that completed. One that was itself stopped, or that failed, says little.
- how many there must be: three that went on beyond that epoch. A median of fewer is one trial's opinion. AWS says that
  it may wait for more data.
- which value is compared: the one of that epoch, as AWS words it, not the best so far.
- the last epoch: a trial is not stopped where the earlier ones ended, since nothing is saved by it.

ConvergenceDetected is to AWS "a lack of significant improvement (1% or less)", by criteria it does not tell. Here it is
the best objective not having improved by more than 1 % over the last ten trials, once fifteen have one. (Optuna's
terminators would do the same by other means; they are deprecated and go with its version 6.)
"""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Final

_FEWEST_EARLIER: Final = 3
_SIGNIFICANT: Final = 0.01
_CONVERGED_AFTER: Final = 10
_FEWEST_CONVERGED: Final = 15


def is_to_be_stopped(history: Sequence[float], earlier: Sequence[Sequence[float]], *, minimize: bool) -> bool:
    """Whether a running trial is worse than the median, at the epoch it has reached.

    history: its objective after each epoch. earlier: those of the completed trials.
    """
    epoch = len(history)
    beyond = [each for each in earlier if len(each) > epoch]
    if epoch == 0 or len(beyond) < _FEWEST_EARLIER:
        return False
    averages = [fmean(each[:epoch]) for each in beyond]
    middle = median(averages)
    return history[-1] > middle if minimize else history[-1] < middle


def not_improving(objectives: Sequence[float], *, minimize: bool) -> int:
    """How many trials in a row, up to the last, did not improve the best objective by more than 1 % of it."""
    count, best = 0, None
    for objective in objectives:
        gain = None if best is None else (best - objective if minimize else objective - best)
        if best is None or (gain is not None and gain > _SIGNIFICANT * abs(best)):
            best, count = objective, 0
        else:
            count += 1
    return count


def has_converged(objectives: Sequence[float], *, minimize: bool) -> bool:
    """Whether further trials are unlikely to be better; see above."""
    return len(objectives) >= _FEWEST_CONVERGED and not_improving(objectives, minimize=minimize) >= _CONVERGED_AFTER


def has_reached(target: float, objectives: Sequence[float], *, minimize: bool) -> bool:
    """Whether a trial is as good as `target` or better."""
    return any(each <= target if minimize else each >= target for each in objectives)
