"""Deletes an endpoint when its time is over, by EventBridge Scheduler: AWS does it, whether this machine sleeps or not.

    TimeToLive(client, role_arn, partition="aws").set("dogs", in_s=7200, configs=("dogs",), models=("dogs",))
    TimeToLive(...).cancel("dogs")

A schedule calls one operation once. An endpoint that is being updated refuses to be deleted, so it is tried three
times, and what costs nothing (configuration, models) goes an hour after the last try: a configuration must not go
before its endpoint. Schedules cannot be tagged: ours are those of the group `kennel`, named after the endpoint.
The role must trust scheduler.amazonaws.com (iam/scheduler-role.json).
Exercise it: pytest tests/aws/test_schedule.py
"""

import datetime
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.errors import UserError

GROUP: Final = "kennel"
# After the time that was asked for: an update of an endpoint takes at most so long, most take minutes.
_TRIES_S: Final = (0, 3600, 6 * 3600)
_REST_S: Final = 7 * 3600
_LONGEST_NAME: Final = 64
_FIRST: Final = "endpoint-1"
_DISTRUST: Final = (
    "EventBridge Scheduler may not act as {role} (--ttl). Its trust policy is in iam/scheduler-role.json; a role that "
    "was made a minute ago may not be known everywhere yet: say it again."
)
_SHORTEST_S: Final = 300
_LONGEST_S: Final = 365 * 24 * 3600
_UNITS: Final = {"m": 60, "h": 3600, "d": 24 * 3600}
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?")


@dataclass(frozen=True)
class TimeToLive:
    """Schedules of one account and region. client: boto3's `scheduler`. role: what the scheduler acts as."""

    client: Any
    role: str
    partition: str = "aws"
    now: Callable[[], float] = time.time

    def set(self, endpoint: str, *, in_s: float, configs: Sequence[str], models: Sequence[str]) -> datetime.datetime:
        """Deletes it then, and these configurations and models; replaces what was set before. Returns the time, in UTC.

        Raises UserError where the scheduler may not act as the role.
        """
        due = _utc(self.now() + in_s)
        self.cancel(endpoint)
        self._make_group()
        try:
            self._create(endpoint, due, configs, models)
        except ClientError as error:
            if "to assume the role" in error.response["Error"].get("Message", ""):
                raise UserError(_DISTRUST.format(role=self.role)) from error
            raise
        return due

    def due(self, endpoint: str) -> datetime.datetime | None:
        """When the endpoint is deleted, in UTC; None where nothing is set."""
        try:
            found = self.client.get_schedule(Name=_name(endpoint, _FIRST), GroupName=GROUP)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return None
            raise
        at = found["ScheduleExpression"].removeprefix("at(").removesuffix(")")
        return datetime.datetime.fromisoformat(at).replace(tzinfo=datetime.UTC)

    def _create(self, endpoint: str, due: datetime.datetime, configs: Sequence[str], models: Sequence[str]) -> None:
        for suffix, after_s, operation, given in _steps(endpoint, configs, models):
            at = due + datetime.timedelta(seconds=after_s)
            self.client.create_schedule(
                Name=_name(endpoint, suffix),
                GroupName=GROUP,
                Description=f"Kennel: --ttl of endpoint {endpoint}",
                ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
                ScheduleExpressionTimezone="UTC",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={
                    "Arn": f"arn:{self.partition}:scheduler:::aws-sdk:sagemaker:{operation}",
                    "RoleArn": self.role,
                    "Input": json.dumps(given),
                    "RetryPolicy": {"MaximumRetryAttempts": 20, "MaximumEventAgeInSeconds": 3600},
                },
            )

    def cancel(self, endpoint: str) -> list[str]:
        """Forgets it: the names of the schedules that are deleted."""
        names = self.schedules(endpoint)
        for name in names:
            try:
                self.client.delete_schedule(Name=name, GroupName=GROUP)
            except ClientError as error:  # it has just run
                if error.response["Error"]["Code"] != "ResourceNotFoundException":
                    raise
        return names

    def schedules(self, endpoint: str) -> list[str]:
        """The names of an endpoint's schedules."""
        prefix = _name(endpoint, "")
        try:
            pages = self.client.get_paginator("list_schedules").paginate(GroupName=GROUP, NamePrefix=prefix)
            return [each["Name"] for page in pages for each in page["Schedules"]]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":  # there never was a group
                return []
            raise

    def _make_group(self) -> None:
        try:
            self.client.get_schedule_group(Name=GROUP)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            self.client.create_schedule_group(Name=GROUP, Tags=[{"Key": "kennel:created-by", "Value": "kennel"}])


def read_duration(text: str) -> int:
    """Seconds of `90m`, `2h` or `1d12h`. Raises UserError for what is none, under 5 minutes, or over a year."""
    found = _DURATION.fullmatch(text.strip())
    if not text.strip() or found is None:
        raise UserError(f"'{text}' is no duration. Expected such as 90m, 2h or 1d12h.")
    seconds = sum(
        int(count) * _UNITS[unit] for count, unit in zip(found.groups(), ("d", "h", "m"), strict=True) if count
    )
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise UserError(f"'{text}' is outside of 5 minutes to 365 days.")
    return seconds


def _steps(
    endpoint: str, configs: Sequence[str], models: Sequence[str]
) -> Iterator[tuple[str, int, str, dict[str, str]]]:
    """Suffix of the name, seconds after the time, SDK operation and its parameters, of each schedule."""
    for number, after_s in enumerate(_TRIES_S, 1):
        yield f"endpoint-{number}", after_s, "deleteEndpoint", {"EndpointName": endpoint}
    for number, config in enumerate(configs, 1):
        yield f"config-{number}", _REST_S, "deleteEndpointConfig", {"EndpointConfigName": config}
    for number, model in enumerate(models, 1):
        yield f"model-{number}", _REST_S, "deleteModel", {"ModelName": model}


def _name(endpoint: str, suffix: str) -> str:
    """Of at most 64 characters, with a hash of the endpoint's name: no endpoint's are a prefix of another's."""
    digest = hashlib.sha256(endpoint.encode()).hexdigest()[:8]
    return f"{endpoint[: _LONGEST_NAME - 22]}.{digest}.{suffix}"


def _utc(at: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at, datetime.UTC)
