"""The learning rate of every step, as a function of the step: nothing to store, nothing to restore."""

import math
from typing import Final

_WARM_UP: Final = 0.3  # one-cycle: the share of the steps in which the learning rate rises
_ONE_CYCLE_START: Final = 1 / 25
_ONE_CYCLE_END: Final = 1e-4


def learning_rate_factor(scheduler: str, step: int, steps: int) -> float:
    """What `lr` is multiplied by at `step` (from 0) of `steps` in the whole training; 0 to 1.

    none: 1. cosine: from 1 down to 0. step: a tenth from half of the steps on, a hundredth from three quarters on.
    one-cycle: from a 25th up to 1 in the first 30 %, then down to a 10,000th, both as a cosine.
    """
    done = step / max(steps, 1)
    if scheduler == "none":
        return 1.0
    if scheduler == "cosine":
        return _cosine(1.0, 0.0, done)
    if scheduler == "step":
        return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
    if done < _WARM_UP:
        return _cosine(_ONE_CYCLE_START, 1.0, done / _WARM_UP)
    return _cosine(1.0, _ONE_CYCLE_END, (done - _WARM_UP) / (1 - _WARM_UP))


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
