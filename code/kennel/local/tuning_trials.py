"""The trials of a tuning job: what became of each, what they amount to, and the file that keeps them.

runs/<tuning job>/trials.json is a list of what `Trial.to_json` gives. It is replaced whole whenever something changes,
so that a report, and the service that is started after a kill -9, find every trial as it was.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kennel.local.json_file import write_json
from kennel.local.validation import Json

ENDED: Final = ("Completed", "Failed", "Stopped")
# Of a longer history every so-manieth value is kept on disk, and the last.
_LONGEST_HISTORY: Final = 1000


@dataclass(frozen=True)
class Trial:
    """One training job of a search.

    number: counted from 1 over the whole tuning job, as in the name. draw: counted from 0 within its definition; one
    that was interrupted and the one that tries its hyperparameters again have the same. in_study: the study's number.
    history: the objective after each epoch. reason: why it failed, or why it has no objective.
    is_interrupted: its service was killed, and its hyperparameters are tried again. is_parents: of an earlier search.
    """

    number: int
    name: str
    parameters: dict[str, str]
    status: str = "InProgress"
    objective: float | None = None
    objective_status: str = "Pending"
    history: tuple[float, ...] = field(default=(), repr=False)
    seconds: int | None = None
    stopped_early: bool = False
    reason: str | None = None
    is_parents: bool = False
    is_interrupted: bool = False
    definition: str | None = None
    draw: int = 0
    in_study: int = -1

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    def to_json(self) -> Json:
        """As it stands in trials.json."""
        return {
            "number": self.number,
            "TrainingJobName": self.name,
            "parameters": self.parameters,
            "status": self.status,
            "objective": self.objective,
            "objective_status": self.objective_status,
            "history": _thinned(self.history),
            "seconds": self.seconds,
            "stopped_early": self.stopped_early,
            "reason": self.reason,
            "is_parents": self.is_parents,
            "is_interrupted": self.is_interrupted,
            "definition": self.definition,
            "draw": self.draw,
            "in_study": self.in_study,
        }

    @classmethod
    def from_json(cls, content: Json) -> "Trial":
        """The inverse of `to_json`. Raises KeyError or TypeError for what is none."""
        known = {**content, "name": content["TrainingJobName"], "history": tuple(content["history"])}
        del known["TrainingJobName"]
        return cls(**known)


def write_trials(file: Path, trials: Iterable[Trial]) -> None:
    """Replaces trials.json."""
    write_json(file, [trial.to_json() for trial in trials])


def read_trials(file: Path) -> list[Trial]:
    """The trials in a trials.json; none if there is no file. Raises OSError or ValueError for a file that is none."""
    if not file.is_file():
        return []
    try:
        return [Trial.from_json(each) for each in json.loads(file.read_text())]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} holds no trials: {error!r}") from error


def status_counters(trials: Iterable[Trial]) -> dict[str, int]:
    """TrainingJobStatusCounters."""
    counters = dict.fromkeys(("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0)
    for trial in trials:
        counters[_counted_as(trial)] += 1
    return counters


def objective_counters(trials: Iterable[Trial]) -> dict[str, int]:
    """ObjectiveStatusCounters."""
    counters = dict.fromkeys(("Succeeded", "Pending", "Failed"), 0)
    for trial in trials:
        counters[trial.objective_status] += 1
    return counters


def best_of(trials: Iterable[Trial], *, minimize: bool) -> Trial | None:
    """The trial with the best objective; of those that completed if any did, since only they surely have a model."""
    found = [trial for trial in trials if trial.objective is not None and trial.objective_status == "Succeeded"]
    candidates = [trial for trial in found if trial.status == "Completed"] or found
    sign = 1.0 if minimize else -1.0
    return min(candidates, key=lambda trial: sign * (trial.objective or 0.0), default=None)


def objectives_of(trials: Iterable[Trial]) -> list[float]:
    """The objectives that count, in the order in which the trials were begun."""
    return [trial.objective for trial in trials if trial.objective is not None and not trial.is_parents]


def _counted_as(trial: Trial) -> str:
    if trial.status == "Failed":
        return "RetryableError" if trial.is_interrupted else "NonRetryableError"
    return trial.status if trial.has_ended else "InProgress"


def _thinned(history: Sequence[float]) -> list[float]:
    if len(history) <= _LONGEST_HISTORY:
        return list(history)
    step = -(-len(history) // (_LONGEST_HISTORY - 1))
    return [*history[:-1:step], history[-1]]
