"""Python runs this as it starts, where this folder is on its path: SageMaker's SDK then waits without the waiting.

It asks every 10 to 30 s whether a job or an endpoint is ready, which is most of the time of a script of small local
jobs. Here its pauses are short, and its own clock goes on by what they were meant to take.
"""

import sys
import time

LONGEST_S = 0.25
_sleep, _time = time.sleep, time.time
_left_out_s = 0.0


def _is_of_sdk() -> bool:
    return str(sys._getframe(2).f_globals.get("__name__")).startswith("sagemaker.")


def _sleep_less(seconds: float) -> None:
    global _left_out_s
    if _is_of_sdk() and seconds > LONGEST_S:
        _left_out_s += seconds - LONGEST_S
        seconds = LONGEST_S
    _sleep(seconds)


def _later() -> float:
    return _time() + _left_out_s if _is_of_sdk() else _time()


time.sleep, time.time = _sleep_less, _later
