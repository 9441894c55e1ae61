"""torch's own profiler over a few steps of a training, made into a table of operators and a flame.

Looked at are three TRAIN steps, when ten are done or two of the second epoch, whichever is first; and where a frozen
backbone computes features, two of its batches from the third on. It costs these steps some time, and nothing after.
"""

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Final

from kennel.profile.operator_table import PHASE, Unit, describe_unit, trace_events

if TYPE_CHECKING:
    from torch.profiler import profile, record_function

_WARM_STEPS: Final = 10
_WARM_STEPS_OF_AN_EPOCH: Final = 2
_STEPS: Final = 3
_WARM_BATCHES: Final = 2
_BATCHES: Final = 2


class OperatorProfile:
    """What was seen of operators so far."""

    def __init__(self) -> None:
        self.is_running = False
        self._profile: profile | None = None
        self._records: list[record_function] = []
        self._kind = ""
        self._units = self._units_left = 0
        self._began_us = self._anchor_us = 0.0
        self._steps = self._steps_of_epoch = self._epochs = self._batches = 0
        self._is_done = {"TRAIN": False, "features": False}
        self._found: dict[str, Unit] = {}
        self._events: list[dict[str, Any]] = []

    def begin_epoch(self) -> None:
        self._epochs += 1
        self._steps_of_epoch = 0

    def count_step(self) -> None:
        self._steps += 1
        self._steps_of_epoch += 1

    def is_step_wanted(self) -> bool:
        """Whether the TRAIN step that begins is the first to be looked at."""
        if self._is_done["TRAIN"] or self.is_running:
            return False
        is_later = self._epochs > 1 and self._steps_of_epoch >= _WARM_STEPS_OF_AN_EPOCH
        return self._steps >= _WARM_STEPS or is_later

    def is_wanted(self, outer: str | None, name: str) -> bool:
        """Whether the batch of features that begins is the first to be looked at."""
        if outer != "features" or name != "forward" or self.is_running:
            return False
        self._batches += 1
        return not self._is_done["features"] and self._batches > _WARM_BATCHES

    def begin_step(self) -> None:
        self._begin("TRAIN", _STEPS)

    def begin_batch(self) -> None:
        self._begin("features", _BATCHES)

    def enter(self, name: str) -> None:
        """A phase begins, while the profiler runs."""
        from torch.profiler import record_function

        self._anchor_us = self._anchor_us or time.time_ns() / 1e3
        record = record_function(PHASE + name)
        record.__enter__()  # type: ignore[no-untyped-call]
        self._records.append(record)

    def leave(self) -> None:
        """The phase that was entered last ends."""
        if self._records:
            self._records.pop().__exit__(None, None, None)

    def end_unit(self) -> None:
        """A step, or a batch, has ended; after the last one the profiler stops, and what it saw is counted."""
        self._units_left -= 1
        if self.is_running and self._units_left <= 0:
            self.stop()

    def stop(self) -> None:
        """Ends what is running."""
        if not self.is_running or self._profile is None:
            return
        self.is_running = False
        while self._records:
            self._records.pop().__exit__(None, None, None)
        wall_us = time.time_ns() / 1e3 - self._began_us
        self._profile.stop()
        events = list(self._profile.events() or [])  # type: ignore[no-untyped-call]
        self._profile = None
        units = max(self._units - self._units_left, 1)
        self._found[self._kind] = describe_unit(events, kind=self._kind, units=units, wall_us=wall_us)
        self._events += trace_events(events, anchor_us=self._anchor_us or self._began_us)

    def abandon(self) -> None:
        """Ends it all, whatever state it is in."""
        self._is_done = dict.fromkeys(self._is_done, True)
        if self.is_running and self._profile is not None:
            self.is_running = False
            with contextlib.suppress(Exception):
                self._profile.stop()

    def take_events(self) -> list[dict[str, Any]]:
        """Events for the trace files that were not taken yet."""
        events, self._events = self._events, []
        return events

    def to_json(self) -> dict[str, Any]:
        """`operators`, `flame` and `profiled` of kennel-timeline.json."""
        return {
            "operators": [row for unit in self._found.values() for row in unit.operators],
            "flame": [unit.flame for unit in self._found.values()],
            "profiled": {kind: unit.units for kind, unit in self._found.items()},
        }

    def _begin(self, kind: str, units: int) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it writes debugging lines to the log otherwise
        import torch
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._kind, self._units, self._units_left, self._anchor_us = kind, units, units, 0.0
        self._is_done[kind] = True
        self._profile = profile(activities=activities)
        self._profile.start()
        self._began_us = time.time_ns() / 1e3
        self.is_running = True
