"""Deletes what Kennel made on AWS, in an order that AWS takes, and goes on after a refusal.

    removal = Removal(inventory, place, costs_of(inventory, place), say=print)
    removal.run()
    removal.left                        # what is still there, and why

What costs goes first: jobs are told to stop; scaling and alarms go; then endpoints, what they were made of, what would
have deleted them later (not before: one that AWS keeps is still deleted by it), and the records and logs of jobs.
Saying it again goes on where it ended. Transform jobs cannot be deleted on AWS: they lose our tags, and cost nothing.
Exercise it: pytest tests/aws/test_cleanup_on_aws.py
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.aws.schedule import GROUP
from kennel.aws.tags import MAKER, NAME, VERSION
from kennel.aws.words import CredentialsError, in_words
from kennel.errors import KennelError
from kennel.launch.account import things as kinds
from kennel.launch.account.cost import Costs, amount
from kennel.launch.account.inventory import KINDS, is_gone
from kennel.launch.account.storage import Stored, remove_stored
from kennel.launch.account.things import Inventory, Thing
from kennel.launch.places import Place

# Until an endpoint that never becomes healthy is Failed takes up to half an hour; until a job has kept its model, less.
_LIMIT_S: Final = 45 * 60
_FIRST_POLL_S: Final = 0.2
_LAST_POLL_S: Final = 10.0
_MOVING: Final = ("Creating", "Updating", "SystemUpdating", "RollingBack")
_PREFIX: Final = {kind.title: kind.prefix for kind in KINDS}
_DESCRIBE: Final = {kind.title: kind.describe_operation for kind in KINDS}
_STOP: Final = {
    kinds.TRAINING: "stop_training_job",
    kinds.TUNING: "stop_hyper_parameter_tuning_job",
    kinds.TRANSFORM: "stop_transform_job",
}
_LOGS: Final = {kinds.TRAINING: "/aws/sagemaker/TrainingJobs", kinds.TRANSFORM: "/aws/sagemaker/TransformJobs"}


@dataclass
class Removal:
    """One clearance. inventory: what is to go. say: told of each thing that is gone. left: what is not, and why.

    pause: waits between questions.
    """

    inventory: Inventory
    place: Place
    costs: Costs
    say: Callable[[str], None]
    pause: Callable[[float], None] = time.sleep
    left: dict[str, str] = field(default_factory=dict)
    _latest: dict[tuple[str, str], Thing] = field(default_factory=dict)

    def run(self, stored: Stored | None = None) -> None:
        """Deletes everything; what is in S3 only if it is given. Raises CredentialsError when the session ends."""
        self._stop_jobs()
        for thing in self.inventory.of(kinds.SCALING):
            self._delete(thing, self._end_scaling)
        for thing in self.inventory.of(kinds.ALARM):
            self._delete(thing, lambda each: self._cloudwatch.delete_alarms(AlarmNames=[each.name]))
        self._delete_endpoints()
        self._delete_schedules()
        self._delete_jobs()
        for thing in self.inventory.of(kinds.LOG_GROUP):
            self._delete(thing, lambda each: self.place.logs.delete_log_group(logGroupName=each.name))
        for thing in self.inventory.of(kinds.OTHER):
            self.left[thing.name] = "Kennel makes no such thing. Delete it by hand"
        if stored:
            self._delete_stored(stored)

    @cached_property
    def _scheduler(self) -> Any:  # noqa: ANN401  boto3's
        return self.place.client("scheduler")

    @cached_property
    def _cloudwatch(self) -> Any:  # noqa: ANN401
        return self.place.client("cloudwatch")

    def _stop_jobs(self) -> None:
        """Asks only: they end meanwhile. A tuning job stops its own."""
        searches = {each.name.lower() for each in self.inventory.of(kinds.TUNING)}
        for job in self.inventory.of(*kinds.JOBS):
            if job.state != "InProgress" or (job.search or "").lower() in searches:
                continue
            with self._attempt(str(job)):
                try:
                    getattr(self.place.sagemaker, _STOP[job.kind])(**_named(job))
                    self.say(f"stopping {job}")
                except ClientError as error:
                    if "in status" not in str(error):  # it has just ended
                        raise

    def _end_scaling(self, thing: Thing) -> None:
        self.place.client("application-autoscaling").deregister_scalable_target(
            ServiceNamespace=thing.details["ServiceNamespace"],
            ResourceId=thing.details["ResourceId"],
            ScalableDimension=thing.details["ScalableDimension"],
        )

    def _delete_schedules(self) -> None:
        """Those of --ttl, but of an endpoint that is still there: it costs, and they will delete it."""
        kept = {each.name for each in self.inventory.of(kinds.ENDPOINT) if str(each) in self.left}
        kept &= {each.owner for each in self.inventory.of(kinds.SCHEDULE)}
        for name in kept:
            self.left[f"schedules of endpoint {name}"] = "kept, because it is still there, and they delete it"
        for thing in self.inventory.of(kinds.SCHEDULE):
            if thing.owner not in kept:
                self._delete(thing, lambda each: self._scheduler.delete_schedule(Name=each.name, GroupName=GROUP))
        for thing in self.inventory.of(kinds.SCHEDULE_GROUP):
            if not kept:
                self._delete(thing, self._delete_schedule_group)

    def _delete_schedule_group(self, thing: Thing) -> None:
        """Only an empty one: others may keep schedules in it."""
        pages = self._scheduler.get_paginator("list_schedules").paginate(GroupName=GROUP)
        names = [each["Name"] for page in pages for each in page["Schedules"]]
        if names:
            raise KennelError(f"there are still schedules in it: {', '.join(names[:5])}")
        self._scheduler.delete_schedule_group(Name=thing.name)

    def _delete_endpoints(self) -> None:
        """All are asked to go before the first is waited for; what a configuration is of must be gone before it."""
        endpoints = self.inventory.of(kinds.ENDPOINT)
        asked = [each for each in endpoints if self._succeeds(str(each), lambda e=each: self._ask_to_go(e))]  # type: ignore[misc]
        for endpoint in asked:
            if self._succeeds(str(endpoint), lambda e=endpoint: self._wait_until_gone(e)):  # type: ignore[misc]
                self._tell(endpoint)
        kept = {each.name for each in endpoints if str(each) in self.left}
        for kind, delete in ((kinds.CONFIG, "delete_endpoint_config"), (kinds.MODEL, "delete_model")):
            for thing in self.inventory.of(kind):
                if thing.owner in kept:
                    self.left[str(thing)] = f"kept, because endpoint {thing.owner} is still there"
                else:
                    self._delete(thing, lambda each, d=delete: getattr(self.place.sagemaker, d)(**_named(each)))  # type: ignore[misc]

    def _ask_to_go(self, endpoint: Thing) -> None:
        """An endpoint that is being made or changed refuses until that is done."""
        deadline, is_told = time.monotonic() + _LIMIT_S, False
        for wait_s in _waits():
            state = self._state(endpoint)
            if state == "Deleting":  # somebody has asked already
                return
            try:
                self.place.sagemaker.delete_endpoint(**_named(endpoint))
                return
            except ClientError as error:
                if "in-progress endpoint" not in str(error) or time.monotonic() > deadline:
                    raise
            if not is_told:
                self.say(f"waiting for {endpoint}, which is {state}: AWS deletes it only after that")
                is_told = True
            while self._state(endpoint) in _MOVING and time.monotonic() < deadline:
                self.pause(wait_s)
            self.pause(wait_s)

    def _wait_until_gone(self, endpoint: Thing) -> None:
        deadline = time.monotonic() + _LIMIT_S
        for wait_s in _waits():
            state = self._state(endpoint)  # raises what says that it is gone, which is what is wanted
            if time.monotonic() > deadline:
                raise KennelError(f"it is still {state} after {_LIMIT_S // 60} minutes. Say it again later")
            self.pause(wait_s)

    def _delete_jobs(self) -> None:
        """Searches before their trials, which cannot be deleted while the search runs."""
        jobs = [
            *self.inventory.of(kinds.TUNING),
            *self.inventory.of(kinds.TRANSFORM),
            *self.inventory.of(kinds.TRAINING),
        ]
        searches = {each.name.lower() for each in self.inventory.of(kinds.TUNING)}
        for job in jobs:
            delete = {kinds.TUNING: self._delete_tuning, kinds.TRANSFORM: self._untag_transform}.get(
                job.kind, self._delete_training
            )
            is_trial = (job.search or "").lower() in searches
            self._delete(job, delete, is_told=not is_trial and job.kind != kinds.TRANSFORM)

    def _delete_training(self, job: Thing) -> None:
        if job.is_warm:
            self.place.sagemaker.update_training_job(**_named(job), ResourceConfig={"KeepAlivePeriodInSeconds": 0})
        self._wait_until_ended(job)
        self._delete_streams(job)
        self.place.sagemaker.delete_training_job(**_named(job))

    def _delete_tuning(self, job: Thing) -> None:
        """With trials that began after we had looked."""
        self._wait_until_ended(job)
        pages = self.place.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
            **_named(job)
        )
        trials = [each["TrainingJobName"] for page in pages for each in page["TrainingJobSummaries"]]
        known = {each.name for each in self.inventory.of(kinds.TRAINING)}
        self.place.sagemaker.delete_hyper_parameter_tuning_job(**_named(job))
        for name in trials:
            if name not in known:
                self._delete(Thing(kinds.TRAINING, name, job.owner), self._delete_training, is_told=False)

    def _untag_transform(self, job: Thing) -> None:
        self._wait_until_ended(job)
        self._delete_streams(job)
        self.place.sagemaker.delete_tags(ResourceArn=job.arn, TagKeys=[NAME, MAKER, VERSION])
        self.say(f"{self._with_cost('untagged', job)}: SageMaker keeps the record of a transform job, which is free")

    def _wait_until_ended(self, job: Thing) -> None:
        """Until its machines are gone, those that wait for the next job included."""
        deadline = time.monotonic() + _LIMIT_S
        for wait_s in _waits():
            details = self._describe(job)
            now = replace(job, state=details[f"{_PREFIX[job.kind]}Status"], details=details)
            if not now.is_running:
                self._latest[job.kind, job.name] = now
                return
            if time.monotonic() > deadline:
                raise KennelError(f"it is still {now.state} after {_LIMIT_S // 60} minutes. Say it again later")
            self.pause(wait_s)

    def _delete_streams(self, job: Thing) -> None:
        """The job's own streams in a group that all jobs share. A refusal is remembered, and does not keep the job."""
        group = _LOGS[job.kind]
        with self._attempt(f"logs of {job}"):
            pages = self.place.logs.get_paginator("describe_log_streams").paginate(
                logGroupName=group, logStreamNamePrefix=f"{job.name}/"
            )
            for stream in [each["logStreamName"] for page in pages for each in page["logStreams"]]:
                self.place.logs.delete_log_stream(logGroupName=group, logStreamName=stream)

    def _delete_stored(self, stored: Stored) -> None:
        with self._attempt(str(stored)):
            failed = remove_stored(self.place)
            self.left |= failed
            if not failed:
                self.say(f"deleted {stored}")

    def _delete(self, thing: Thing, delete: Callable[[Thing], object], *, is_told: bool = True) -> None:
        if self._succeeds(str(thing), lambda: delete(thing)) and is_told:
            self._tell(thing)

    def _succeeds(self, label: str, action: Callable[[], object]) -> bool:
        with self._attempt(label):
            action()
        return label not in self.left

    @contextmanager
    def _attempt(self, label: str) -> Iterator[None]:
        """What is gone is fine, a refusal is remembered; without credentials nothing goes on."""
        try:
            with in_words():
                try:
                    yield
                except ClientError as error:
                    if not is_gone(error):
                        raise
        except CredentialsError:
            raise
        except KennelError as error:
            self.left[label] = str(error)

    def _tell(self, thing: Thing) -> None:
        self.say(self._with_cost("deleted", thing))

    def _with_cost(self, verb: str, thing: Thing) -> str:
        """`deleted endpoint dogs ($0.42: 1 x ml.c7i.large, 2.6 h)`; as it was when we last looked."""
        cost = self.costs.of(self._latest.get((thing.kind, thing.name), thing))
        return f"{verb} {thing} ({amount(cost.spent)}: {cost.words})" if cost.words else f"{verb} {thing}"

    def _describe(self, thing: Thing) -> dict[str, Any]:
        return dict(getattr(self.place.sagemaker, _DESCRIBE[thing.kind])(**_named(thing)))

    def _state(self, thing: Thing) -> str:
        return str(self._describe(thing)[f"{_PREFIX[thing.kind]}Status"])


def _named(thing: Thing) -> dict[str, str]:
    return {f"{_PREFIX[thing.kind]}Name": thing.name}


def _waits() -> Iterator[float]:
    """Seconds between questions, ever longer."""
    wait_s = _FIRST_POLL_S
    while True:
        yield wait_s
        wait_s = min(wait_s * 1.5, _LAST_POLL_S)
