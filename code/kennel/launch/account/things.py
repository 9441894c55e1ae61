"""What Kennel made on AWS, as values: one thing, and all that was found.

Exercise it: pytest tests/unit/launch/test_cost.py tests/aws/test_cleanup_on_aws.py
"""

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

ENDPOINT: Final = "endpoint"
CONFIG: Final = "endpoint configuration"
MODEL: Final = "model"
TRAINING: Final = "training job"
TUNING: Final = "tuning job"
TRANSFORM: Final = "transform job"
ALARM: Final = "alarm"
SCALING: Final = "scaling"
SCHEDULE: Final = "schedule"
SCHEDULE_GROUP: Final = "schedule group"
LOG_GROUP: Final = "log group"
OTHER: Final = "other"
JOBS: Final = (TRAINING, TUNING, TRANSFORM)
# What is made for an endpoint, and goes with it.
OF_ENDPOINTS: Final = (SCHEDULE, SCALING, ALARM, ENDPOINT, CONFIG, MODEL, LOG_GROUP)
# States in which machines run, or are about to.
_WORKING: Final = ("InProgress", "Stopping")
_SERVING: Final = ("Creating", "InService", "Updating", "SystemUpdating", "RollingBack", "UpdateRollbackFailed")
_WARM: Final = ("Available", "InUse")
_TUNING_ARN: Final = re.compile(r".*:hyper-parameter-tuning-job/(.+)")


@dataclass(frozen=True)
class Thing:
    """kind: ENDPOINT and so on. owner: what it was made for, its tag kennel:name. details: as AWS describes it.

    state: as AWS names it; "" of what has none, "?" where AWS does not let us look.
    """

    kind: str
    name: str
    owner: str
    state: str = ""
    created: datetime.datetime | None = None
    arn: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def is_running(self) -> bool:
        """Whether it may cost money now: machines run for it, or are kept warm."""
        if self.kind == ENDPOINT:
            return self.state in _SERVING
        return self.kind in JOBS and (self.state in _WORKING or self.is_warm)

    @property
    def is_warm(self) -> bool:
        """Whether a training's machines wait for the next one; they are billed."""
        return self.state not in _WORKING and self.details.get("WarmPoolStatus", {}).get("Status") in _WARM[:1]

    @property
    def search(self) -> str | None:
        """The tuning job that a training job is of."""
        found = _TUNING_ARN.fullmatch(self.details.get("TuningJobArn", ""))
        return found[1] if found else None


@dataclass(frozen=True)
class Inventory:
    """All that was found. unasked: what could not be looked at, and why. due: by endpoint, when --ttl deletes it."""

    things: tuple[Thing, ...]
    unasked: tuple[str, ...] = ()
    due: Mapping[str, datetime.datetime] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[Thing]:
        """Those of some kinds, newest first."""
        found = [each for each in self.things if each.kind in kinds]
        return sorted(found, key=lambda each: each.created.timestamp() if each.created else 0, reverse=True)

    @property
    def alone(self) -> list[Thing]:
        """Jobs but for trials of a tuning job that is there too, newest first."""
        return [each for each in self.of(*JOBS) if not self._is_trial(each)]

    def trials(self, tuning: Thing) -> list[Thing]:
        """A tuning job's training jobs."""
        return [each for each in self.of(TRAINING) if _same(each.search, tuning.name)]

    def for_endpoint(self, name: str) -> "Inventory":
        """An endpoint with all that was made for it."""
        return self._only(each for each in self.of(*OF_ENDPOINTS) if each.owner == name)

    def for_job(self, name: str) -> "Inventory":
        """A job, its trials, and models that were made for it alone."""
        jobs = [each for each in self.of(*JOBS) if each.name == name]
        jobs += [trial for job in list(jobs) if job.kind == TUNING for trial in self.trials(job)]
        serves = any(each.owner == name for each in self.of(ENDPOINT, CONFIG))
        models = [] if serves or not jobs else [each for each in self.of(MODEL) if each.owner == name]
        return self._only([*jobs, *models])

    def _only(self, things: Iterable[Thing]) -> "Inventory":
        return Inventory(tuple(things), self.unasked, self.due)

    def _is_trial(self, thing: Thing) -> bool:
        return any(_same(thing.search, tuning.name) for tuning in self.of(TUNING))


def _same(one: str | None, other: str) -> bool:
    """ARNs have names in lower case."""
    return one is not None and one.lower() == other.lower()
