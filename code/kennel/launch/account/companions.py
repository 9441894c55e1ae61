"""What of ours stands around endpoints in other services: schedules, scaling, alarms, log groups.

Exercise it: pytest tests/aws/test_cleanup_on_aws.py
"""

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from kennel.aws.schedule import GROUP
from kennel.aws.tags import MAKER, NAME, Tagged
from kennel.launch.account.things import ALARM, LOG_GROUP, SCALING, SCHEDULE, SCHEDULE_GROUP, Thing
from kennel.launch.places import Place

TAGGED_KINDS: Final = (
    "cloudwatch:alarm",
    "application-autoscaling:scalable-target",
    "scheduler:schedule-group",
    "logs:log-group",
)
ENDPOINT_LOGS: Final = "/aws/sagemaker/Endpoints/"
# What the names of our alarms begin with.
_ALARMS: Final = "kennel-"
_MOST_ALARMS: Final = 100  # of one request
_ENDPOINT: Final = re.compile(r"endpoint/(?P<endpoint>[^/]+)/variant/.+")
_OF: Final = re.compile(r"Kennel: --ttl of endpoint (?P<endpoint>\S+)")
_AT: Final = re.compile(r"at\((?P<at>[\d:T-]+)\)")


class Looking(Protocol):
    """As kennel.launch.account.inventory has it."""

    place: Place

    def ask(self, what: str, question: Any, otherwise: Any = None) -> Any:  # noqa: ANN401  the answer
        ...


@dataclass(frozen=True)
class Around:
    """due: when --ttl deletes an endpoint, by its name."""

    things: tuple[Thing, ...]
    due: Mapping[str, datetime.datetime]


def find(looking: Looking, tagged: Sequence[Tagged], endpoints: Sequence[Thing]) -> Around:
    """All that stands around endpoints, also around those that are gone. tagged: what the tagging API knows."""
    schedules = list(_schedules(looking))
    groups = [Thing(SCHEDULE_GROUP, GROUP, "")] if _has_group(looking, tagged) else []
    scaling, alarms = _scaling(looking, tagged, endpoints), _alarms(looking, tagged)
    return Around((*schedules, *groups, *scaling, *alarms, *_log_groups(looking, tagged, endpoints)), _due(schedules))


def _has_group(looking: Looking, tagged: Sequence[Tagged]) -> bool:
    """Whether there is a group of that name, and it is ours."""
    client = looking.place.client("scheduler")
    found = looking.ask("schedules", lambda: client.get_schedule_group(Name=GROUP))
    if found is None or any(each.arn == found["Arn"] for each in tagged):
        return found is not None
    answer = looking.ask("tags of schedules", lambda: client.list_tags_for_resource(ResourceArn=found["Arn"]))
    return answer is not None and {"Key": MAKER, "Value": "kennel"} in answer["Tags"]


def _schedules(looking: Looking) -> Iterator[Thing]:
    """Of our group: schedules themselves cannot be tagged, and ours say in words what they are for."""
    scheduler = looking.place.client("scheduler")
    listed = looking.ask(
        "schedules",
        lambda: [
            each["Name"]
            for page in scheduler.get_paginator("list_schedules").paginate(GroupName=GROUP)
            for each in page["Schedules"]
        ],
        otherwise=[],
    )
    for name in listed:
        found = looking.ask("schedules", lambda n=name: scheduler.get_schedule(Name=n, GroupName=GROUP))
        of = _OF.search(found.get("Description", "")) if found else None
        if found and of:
            yield Thing(SCHEDULE, name, of["endpoint"], found["ScheduleExpression"], details=found)


def _due(schedules: Sequence[Thing]) -> dict[str, datetime.datetime]:
    """When an endpoint is deleted: the first of its tries."""
    due: dict[str, datetime.datetime] = {}
    for each in schedules:
        at = _AT.fullmatch(each.state)
        if at and each.details["Target"]["Arn"].endswith(":deleteEndpoint"):
            time = datetime.datetime.fromisoformat(at["at"]).replace(tzinfo=datetime.UTC)
            due[each.owner] = min(time, due.get(each.owner, time))
    return due


def _scaling(looking: Looking, tagged: Sequence[Tagged], endpoints: Sequence[Thing]) -> Iterator[Thing]:
    """Scaling of our endpoints, and what carries our tag."""
    client = looking.place.client("application-autoscaling")
    pages = looking.ask(
        "scaling",
        lambda: list(client.get_paginator("describe_scalable_targets").paginate(ServiceNamespace="sagemaker")),
        otherwise=[],
    )
    ours = {each.name for each in endpoints}
    owners = {each.arn: each.tags.get(NAME, "") for each in tagged}
    for target in (target for page in pages for target in page["ScalableTargets"]):
        found = _ENDPOINT.fullmatch(target["ResourceId"])
        endpoint, arn = found["endpoint"] if found else "", target.get("ScalableTargetARN", "")
        if endpoint in ours or arn in owners:
            yield Thing(SCALING, target["ResourceId"], endpoint or owners[arn], arn=arn, details=target)


def _alarms(looking: Looking, tagged: Sequence[Tagged]) -> Iterator[Thing]:
    """Those that carry our tag: named by the tagging API, or named as ours are and asked for their tags."""
    client = looking.place.client("cloudwatch")
    owners = {each.name: each.tags.get(NAME, "") for each in tagged if each.kind == "cloudwatch:alarm"}
    names = sorted(owners)
    questions: list[dict[str, Any]] = [
        {"AlarmNames": names[at : at + _MOST_ALARMS]} for at in range(0, len(names), _MOST_ALARMS)
    ]
    seen = set()
    for question in (*questions, {"AlarmNamePrefix": _ALARMS}):
        for alarm in looking.ask("alarms", lambda q=question: _alarm_pages(client, q), otherwise=[]):
            name, arn = alarm["AlarmName"], alarm["AlarmArn"]
            owner = owners.get(name, None) if name in owners else _owner(looking, client, arn)
            if owner is not None and name not in seen:
                seen.add(name)
                yield Thing(ALARM, name, owner, alarm.get("StateValue", ""), arn=arn, details=alarm)


def _alarm_pages(client: Any, question: Mapping[str, Any]) -> list[dict[str, Any]]:  # noqa: ANN401  boto3's
    pages = client.get_paginator("describe_alarms").paginate(**question)
    return [alarm for page in pages for alarm in page["MetricAlarms"]]


def _owner(looking: Looking, client: Any, arn: str) -> str | None:  # noqa: ANN401  boto3's
    """What an alarm was made for; None if it is not ours."""
    answer = looking.ask(
        "tags of alarms", lambda: client.list_tags_for_resource(ResourceARN=arn), otherwise={"Tags": []}
    )
    tags = {tag["Key"]: tag["Value"] for tag in answer["Tags"]}
    return tags.get(NAME, "") if tags.get(MAKER) == "kennel" else None


def _log_groups(looking: Looking, tagged: Sequence[Tagged], endpoints: Sequence[Thing]) -> Iterator[Thing]:
    """Those of our endpoints, which SageMaker makes without tags, and those that carry ours."""
    owners = {each.name.removesuffix(":*"): each.tags.get(NAME, "") for each in tagged if each.kind == "logs:log-group"}
    for name, owner in (owners | {ENDPOINT_LOGS + each.name: each.name for each in endpoints}).items():
        pages = looking.ask("log groups", lambda n=name: _log_group_pages(looking.place, n), otherwise=[])
        for group in (group for page in pages for group in page["logGroups"] if group["logGroupName"] == name):
            yield Thing(LOG_GROUP, name, owner, arn=group.get("arn", ""), details=group)


def _log_group_pages(place: Place, name: str) -> list[dict[str, Any]]:
    return list(place.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name))
