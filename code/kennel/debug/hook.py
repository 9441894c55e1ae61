"""What a training tells of its steps, for rules and reports to look at. `OFF` listens to nothing and costs nothing.

    hook = open_hook(order, plan, network, ...)
    hook.begin_step(105)                              # is this one saved? only then the rest does anything
    logits = network(images); hook.see(targets, logits)
    loss.backward();          hook.see_gradients()
    optimizer.step();         hook.end_step(loss, accuracy)
    hook.close()

smdebug is imported where a hook is opened. A failure of it is one line in the log: the hook is taken off, and the
training goes on. Exercise it: pytest tests/unit/debug/test_hook.py; what it costs: benchmarks/debug_hook.py
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from torch import Tensor, nn

from kennel.debug.hook_config import HookOrder

# So many saved steps an epoch, where the time for them is there.
SAVES_PER_EPOCH: Final = 5


@dataclass(frozen=True)
class Plan:
    """The shape of a training: steps are numbered by it, so that a resumed one goes on where it was.

    train_steps, eval_steps: in an epoch. first_step: of training that will be told. workers: that share a batch.
    facts: what kennel.json is to say of it.
    """

    train_steps: int
    eval_steps: int
    first_step: int = 0
    workers: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def interval(self) -> int:
        """Steps of training between two that are saved, by default."""
        return max(1, self.train_steps // SAVES_PER_EPOCH)

    def global_step(self, mode: str, step: int) -> int:
        """smdebug's count over all modes."""
        if mode == "TRAIN":
            return step + step // self.train_steps * self.eval_steps
        return step + (step // self.eval_steps + 1) * self.train_steps


class Hook:
    """A hook that listens to nothing; see StepHook for the one that does."""

    is_on = False

    def begin_step(self, number: int) -> None:
        """Before the forward pass of a training step, counted from 0 through the whole training."""

    def see(self, targets: Tensor, logits: Tensor) -> None:
        """After the forward pass."""

    def see_gradients(self) -> None:
        """After the backward pass, before the optimizer's step."""

    def end_step(self, loss: float, accuracy: float) -> None:
        """After the step. loss, accuracy: of its images, at all workers."""

    def begin_validation(self, epoch: int, targets: Tensor) -> None:
        """epoch: from 1. targets: int64 (N,), of all images."""

    def begin_eval_batch(self) -> None:
        """Before the forward pass of a batch of the validation."""

    def end_eval_batch(self, probabilities: Tensor) -> None:
        """After it; probabilities: (N, C) of the batch."""

    def end_validation(self, probabilities: Tensor, loss: float) -> None:
        """probabilities: (N, C) of all images, in the order of the targets. loss: their mean."""

    def close(self) -> None:
        """Leaves the network as it was, says what it cost; may be called more than once."""


OFF: Final = Hook()


def open_hook(
    read_order: Callable[[], HookOrder],
    plan: Plan,
    network: nn.Module,
    *,
    phase: Callable[[str], AbstractContextManager[None]],
    started: float,
) -> Hook:
    """A hook on `network`, or OFF with a line that says why.

    read_order: gives what is to be saved. phase: of the timeline. started: time.perf_counter() when the job began.
    """
    began = time.perf_counter()
    try:
        from kennel.debug.hook_steps import StepHook  # with smdebug, which takes half a second

        return StepHook(read_order(), plan, network, phase=phase, started=started, began=began)
    except Exception as error:  # debugging never ends a training
        print(failure_line(error), flush=True)
        return OFF


def failure_line(error: Exception) -> str:
    """What the log says of a hook that failed."""
    reason = " ".join(str(error).split())[:300]
    return f"debug: the hook failed and is off, training goes on ({type(error).__name__}: {reason})"
