"""What a rule is: it looks at one saved step after another and says what is wrong.

    rule = build_rule("VanishingGradient", {"threshold": "1e-7"})
    for step in trial.steps():                     # GLOBAL steps, ascending; what was saved before is read as well
        findings += rule.check(trial, step)
    findings += rule.check_waiting(idle_s=60.0)    # while no new step comes: only StalledTrainingRule answers
    print(rule.account(), rule.too_few, rule.summary(trial))

A rule holds what it has seen, so every evaluation builds its own.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from kennel.debug.rules.words import counted


class TrialLike(Protocol):
    """What rules ask of a trial: kennel.debug.tensors.Trial, or one in memory.

    A trial with `mode_of(step) -> (mode, step within the mode)` is asked that too; see reading.mode_of.
    """

    facts: dict[str, Any]

    def steps(self, mode: str = "GLOBAL") -> list[int]: ...
    def names(self, *, collection: str | None = None, regex: str | None = None) -> list[str]: ...
    def steps_of(self, name: str, mode: str = "GLOBAL") -> list[int]: ...
    def value(self, name: str, step: int, mode: str = "GLOBAL") -> NDArray[Any] | None: ...
    def statistic(self, name: str, step: int, which: str, mode: str = "GLOBAL") -> float | None: ...
    def activity(self, name: str, step: int, mode: str = "GLOBAL") -> NDArray[np.float64] | None: ...


@dataclass(frozen=True)
class Finding:
    """One thing a rule found. `step` counts within `mode`, so `trial.value(tensor, step, mode)` is what was judged.

    measure: what `value` is a number of; threshold: the bound it has crossed, in the same unit.
    """

    step: int
    mode: str
    tensor: str | None
    measure: str
    value: float | None
    threshold: float | None
    message: str


@dataclass(frozen=True)
class Check:
    """One of the checks that a rule consists of. outcome: "ok", "fired", "moot" or "no data"."""

    name: str
    outcome: str
    detail: str


class Rule:
    """A rule with its parameters and what it has seen so far.

    steps_needed: saved steps with something to judge, below which "no issue" says nothing.
    collections: those of the hook that the rule reads.
    """

    name: ClassVar[str]
    Parameters: ClassVar[type]
    collections: ClassVar[tuple[str, ...]] = ()
    meaning: ClassVar[str]
    advice: ClassVar[str]
    needs: ClassVar[int] = 1
    wants: ClassVar[str] = "the tensors it judges"

    parameters: Any

    def __init__(self, parameters: Any) -> None:  # noqa: ANN401  the dataclass of the subclass
        self.parameters = parameters
        self._seen: set[int] = set()

    def check(self, trial: TrialLike, step: int) -> list[Finding]:
        """What is wrong at a GLOBAL step."""
        raise NotImplementedError

    def check_waiting(self, *, idle_s: float) -> list[Finding]:
        """What is wrong with having had no new step for `idle_s` seconds while the training runs."""
        return []

    def summary(self, trial: TrialLike) -> list[Check]:
        """The checks the rule consists of, where there are several, or why it could not look."""
        return [] if self._seen else [Check(self.name, "no data", f"nothing was saved of {self.wants}")]

    @property
    def remedy(self) -> str:
        """What to do about the findings so far."""
        return self.advice

    @property
    def steps_needed(self) -> int:
        return self.needs

    @property
    def steps_seen(self) -> int:
        """Saved steps at which there was something to judge."""
        return len(self._seen)

    @property
    def too_few(self) -> bool:
        """Whether too little was seen for "no issue" to mean anything."""
        return self.steps_seen < self.steps_needed

    def account(self) -> str:
        """How much was looked at, for StatusDetails."""
        looked = f"looked at {counted(self.steps_seen, 'step')}"
        if not self.too_few:
            return looked
        missing = f" (nothing was saved of {self.wants})" if not self.steps_seen else ""
        return f"{looked}, needs {self.steps_needed}{missing}: nothing can be said"

    def _see(self, step: int) -> None:
        self._seen.add(step)
