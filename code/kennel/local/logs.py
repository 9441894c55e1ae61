"""CloudWatch Logs' calls that read and delete, answered from the logs of jobs and endpoints on disk.

/aws/sagemaker/TrainingJobs        streams <job>/algo-1-<when it was created>
/aws/sagemaker/Endpoints/<name>    streams <variant>/local-<number of its server>
/aws/sagemaker/TransformJobs       streams <job>/<instance>-<when it was created>, and the same with /data-log
"""

import hashlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kennel.local.faults import ApiError
from kennel.local.listing import page_of
from kennel.local.log_file import LogEvent, read_events
from kennel.local.settings import ACCOUNT, REGION, Layout
from kennel.local.store import Store
from kennel.local.transform_run import data_log, work_folder
from kennel.local.validation import Json, Operation

TRAINING_GROUP: Final = "/aws/sagemaker/TrainingJobs"
TRANSFORM_GROUP: Final = "/aws/sagemaker/TransformJobs"
ENDPOINT_GROUPS: Final = "/aws/sagemaker/Endpoints/"
_PAGE: Final = 10_000


@dataclass(frozen=True)
class Stream:
    """One program's log."""

    name: str
    log: Path
    created_ms: int


class Logs:
    """The log groups of a runs folder. Jobs and endpoints write: CloudWatch's writing calls are not answered."""

    def __init__(self, layout: Layout, jobs: Store, transforms: Store, *, endpoints: Store) -> None:
        self._layout = layout
        self._jobs = jobs
        self._transforms = transforms
        self._endpoints = endpoints

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by CloudWatch Logs' names."""
        return {
            "DescribeLogGroups": self.describe_groups,
            "DescribeLogStreams": self.describe_streams,
            "GetLogEvents": self.get_events,
            "FilterLogEvents": self.filter_events,
            "DeleteLogStream": self.delete_stream,
            "DeleteLogGroup": self.delete_group,
        }

    def describe_groups(self, request: Json) -> Json:
        prefix = request.get("logGroupNamePrefix", "")
        names = [TRAINING_GROUP] if self._jobs.all() else []
        names += [TRANSFORM_GROUP] if self._transforms.all() else []
        names += [ENDPOINT_GROUPS + each.description["EndpointName"] for each in self._endpoints.all()]
        groups = [{"logGroupName": name, "arn": _arn(name)} for name in sorted(names) if name.startswith(prefix)]
        return _page(request, groups, key="logGroups", limit=50)

    def describe_streams(self, request: Json) -> Json:
        group, prefix = _group(request), request.get("logStreamNamePrefix", "")
        streams = [each for each in self._streams(group) if each.name.startswith(prefix)]
        by_time = request.get("orderBy") == "LastEventTime"
        streams.sort(
            key=lambda each: (each.created_ms if by_time else 0, each.name), reverse=request.get("descending", False)
        )
        page = _page(request, streams, key="logStreams", limit=50)
        return {**page, "logStreams": [_describe(each, group) for each in page["logStreams"]]}

    def get_events(self, request: Json) -> Json:
        """Forward from the token or the head, or the last events; tokens are line numbers.

        The forward token of an answer without events is the one that was passed in: that is how readers know the end.
        """
        stream = self._stream(_group(request), request["logStreamName"])
        events = [each for each in read_events(stream.log) if _is_within(each, request)]
        direction, edge = _read_token(request, events)
        limit = request.get("limit", _PAGE)
        if direction == "f":
            page = [each for each in events if each.number >= edge][:limit]
        else:
            page = [each for each in events if each.number < edge][-limit:]
        first, end = (page[0].number, page[-1].number + 1) if page else (edge, edge)
        return {
            "events": [_event(each) for each in page],
            "nextForwardToken": f"f/{end}",
            "nextBackwardToken": f"b/{first}",
        }

    def filter_events(self, request: Json) -> Json:
        group = _group(request)
        names, prefix = request.get("logStreamNames"), request.get("logStreamNamePrefix", "")
        streams = [
            each for each in self._streams(group) if each.name.startswith(prefix) and (not names or each.name in names)
        ]
        is_match = _pattern(request.get("filterPattern", ""))
        found = [
            {"logStreamName": stream.name, "eventId": f"{stream.created_ms}-{each.number}", **_event(each)}
            for stream in streams
            for each in read_events(stream.log)
            if _is_within(each, request) and is_match(each.message)
        ]
        found.sort(key=lambda each: each["timestamp"])
        searched = [{"logStreamName": each.name, "searchedCompletely": True} for each in streams]
        return {**_page(request, found, key="events", limit=_PAGE), "searchedLogStreams": searched}

    def delete_stream(self, request: Json) -> Json:
        """Removes the file; what is still written goes nowhere."""
        self._stream(_group(request), request["logStreamName"]).log.unlink(missing_ok=True)
        return {}

    def delete_group(self, request: Json) -> Json:
        """Removes all its streams. A group is there as long as what writes into it."""
        for stream in self._streams(_group(request)):
            stream.log.unlink(missing_ok=True)
        return {}

    def _streams(self, group: str) -> list[Stream]:
        """The streams of a group. Raises ApiError for a group that is not there."""
        if group == TRAINING_GROUP and self._jobs.all():
            return list(self._training_streams())
        if group == TRANSFORM_GROUP and self._transforms.all():
            return list(self._transform_streams())
        name = group.removeprefix(ENDPOINT_GROUPS)
        record = self._endpoints.get(name) if group.startswith(ENDPOINT_GROUPS) else None
        if record is None:
            raise ApiError("ResourceNotFoundException", "The specified log group does not exist.")
        variant = record.description["ProductionVariants"][0]["VariantName"]
        created_ms = int(record.description["CreationTime"] * 1000)
        logs = sorted(self._layout.endpoint_dir(name).glob("log*.txt"))
        return [Stream(f"{variant}/local-{log.stem[4:] or 1}", log, created_ms) for log in logs]

    def _training_streams(self) -> Iterator[Stream]:
        for record in self._jobs.all():
            name = record.description["TrainingJobName"]
            created = record.description["CreationTime"]
            log = self._layout.job_dir(name) / "log.txt"
            if log.exists():
                yield Stream(f"{name}/algo-1-{int(created)}", log, int(created * 1000))

    def _transform_streams(self) -> Iterator[Stream]:
        for record in self._transforms.all():
            name, created = record.description["TransformJobName"], record.description["CreationTime"]
            folder = work_folder(self._layout, name)
            instance = hashlib.sha256(name.encode()).hexdigest()[:17]  # as long as EC2's
            for log, suffix in ((folder / "log.txt", ""), (data_log(folder), "/data-log")):
                if log.exists():
                    yield Stream(f"{name}/i-{instance}-{int(created)}{suffix}", log, int(created * 1000))

    def _stream(self, group: str, name: str) -> Stream:
        for stream in self._streams(group):
            if stream.name == name:
                return stream
        raise ApiError("ResourceNotFoundException", "The specified log stream does not exist.")


def _group(request: Json) -> str:
    name = request.get("logGroupName") or request.get("logGroupIdentifier", "").partition("log-group:")[2]
    if not name:
        raise ApiError("InvalidParameterException", "Name the log group: logGroupName, or its ARN.")
    return str(name)


def _arn(group: str) -> str:
    return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"


def _describe(stream: Stream, group: str) -> Json:
    events = read_events(stream.log)
    times = {"firstEventTimestamp": events[0].time_ms, "lastEventTimestamp": events[-1].time_ms} if events else {}
    return {
        "logStreamName": stream.name,
        "creationTime": stream.created_ms,
        "arn": f"{_arn(group)}:log-stream:{stream.name}",
        **times,
    }


def _event(event: LogEvent) -> Json:
    return {"timestamp": event.time_ms, "message": event.message, "ingestionTime": event.time_ms}


def _is_within(event: LogEvent, request: Json) -> bool:
    return bool(request.get("startTime", 0) <= event.time_ms < request.get("endTime", float("inf")))


def _page(request: Json, items: Sequence[Any], *, key: str, limit: int) -> Json:
    """A page by CloudWatch's names for its members."""
    token = {"NextToken": request["nextToken"]} if "nextToken" in request else {}
    page = page_of({**token, "MaxResults": request.get("limit", limit)}, items, key=key)
    return {key: page[key], **({"nextToken": page["NextToken"]} if "NextToken" in page else {})}


def _read_token(request: Json, events: list[LogEvent]) -> tuple[str, int]:
    """The direction ("f" or "b") to read in, and the line to begin at: by the token, else from the head or the end."""
    if "nextToken" not in request:
        return ("f", 0) if request.get("startFromHead") else ("b", events[-1].number + 1 if events else 0)
    direction, _, number = request["nextToken"].partition("/")
    if direction not in ("f", "b") or not number.isdigit():
        raise ApiError("InvalidParameterException", "The specified nextToken is invalid.")
    return direction, int(number)


def _pattern(text: str) -> Callable[[str], bool]:
    """A filter pattern of words and quoted phrases, all of which must be there. Raises ApiError for the other kinds."""
    if text.strip().startswith(("{", "[", "%")) or "?" in text:
        raise ApiError("InvalidParameterException", f"Filter pattern '{text}' is not read here; give words or phrases.")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ApiError("InvalidParameterException", f"Invalid filter pattern '{text}': {error}") from error
    wanted = [word for word in words if not word.startswith("-")]
    unwanted = [word[1:] for word in words if word.startswith("-")]
    return lambda line: all(word in line for word in wanted) and not any(word in line for word in unwanted)
