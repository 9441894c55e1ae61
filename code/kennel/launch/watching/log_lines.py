"""The log of a job or an endpoint, from CloudWatch: what is new since the last look, and how it ended.

    log = LogLines(TRAINING, "dogs-1", place)
    for line in log.new(): ...                  # of all hosts, in the order they were printed

A log that has not begun has no group, and then no streams: that is no error.
Exercise it: pytest tests/unit/launch/test_log_lines.py
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from kennel.aws.words import explained
from kennel.launch.places import Place
from kennel.launch.watching.kinds import Kind, is_missing

# Of one stream at a look: a log that is behind is caught up with over several.
_MOST_PAGES: Final = 20
_LAST_STREAMS: Final = 8


@dataclass(frozen=True)
class _Line:
    time_ms: int
    stream: str
    text: str


class LogLines:
    """Reads each stream on from where it was. since_ms: older lines are left out, such as an earlier endpoint's."""

    def __init__(self, kind: Kind, name: str, place: Place, *, since_ms: int | None = None) -> None:
        self._logs = place.logs
        self._group = (kind.log_group or "").format(name=name)
        self._prefix = "" if "{name}" in (kind.log_group or "") else f"{name}/"
        self._since = {} if since_ms is None else {"startTime": since_ms}
        self._tokens: dict[str, str] = {}

    def new(self) -> Iterator[str]:
        """The lines since the last call, oldest first; of several streams each with its host before it.

        A call that is broken off says its lines again at the next one, rather than never. Raises ClientError.
        """
        streams = self._streams()
        tokens = dict(self._tokens)
        lines = [line for stream in streams for line in self._read_on(stream, tokens)]
        for line in sorted(lines, key=lambda each: each.time_ms):
            yield _shown(line, is_one_of_many=len(streams) > 1)
        self._tokens = tokens

    def last(self, count: int) -> list[str]:
        """The last lines of all streams, oldest first; none where there is no log."""
        streams = self._streams()[-_LAST_STREAMS:]
        lines = []
        for stream in streams:
            page = self._page(stream, startFromHead=False, limit=count)
            lines += _lines(page, stream)
        lines.sort(key=lambda each: each.time_ms)
        return [_shown(each, is_one_of_many=len(streams) > 1) for each in lines if each.text.strip()][-count:]

    def _streams(self) -> list[str]:
        """The names of the streams, of which more may come; none while there is no group."""
        arguments = {"logGroupName": self._group, **({"logStreamNamePrefix": self._prefix} if self._prefix else {})}
        names: list[str] = []
        try:
            for page in self._logs.get_paginator("describe_log_streams").paginate(**arguments):
                names += [str(each["logStreamName"]) for each in page["logStreams"]]
        except ClientError as error:
            if not is_missing(error):
                raise
        return names

    def _read_on(self, stream: str, tokens: dict[str, str]) -> Iterator[_Line]:
        """The stream's new lines. Its end is where the token does not change: on AWS a page may be empty before it."""
        for _ in range(_MOST_PAGES):
            token = tokens.get(stream)
            page = self._page(stream, startFromHead=True, **({"nextToken": token} if token else {}))
            yield from _lines(page, stream)
            tokens[stream] = page["nextForwardToken"]
            if page["nextForwardToken"] == token:
                return

    def _page(self, stream: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  GetLogEvents' own
        return dict(self._logs.get_log_events(logGroupName=self._group, logStreamName=stream, **self._since, **more))


def last_lines(kind: Kind, name: str, place: Place, *, count: int, since_ms: int | None = None) -> list[str]:
    """The end of a log; one line that says why, where it cannot be read: it is told of something that has ended."""
    try:
        return LogLines(kind, name, place, since_ms=since_ms).last(count)
    except (ClientError, BotoCoreError) as error:
        return [f"(the log cannot be read: {explained(error)})"]


def _lines(page: dict[str, Any], stream: str) -> list[_Line]:
    return [_Line(int(each["timestamp"]), stream, str(each["message"]).rstrip("\n")) for each in page["events"]]


def _shown(line: _Line, *, is_one_of_many: bool) -> str:
    return f"[{_host(line.stream)}] {line.text}" if is_one_of_many else line.text


def _host(stream: str) -> str:
    """`algo-2` of `dogs-1/algo-2-1732212345`, `data-log` of a transform's; an endpoint's as it is."""
    head, _, rest = stream.partition("/")
    if rest.endswith("/data-log"):
        return "data-log"
    before, _, time = rest.rpartition("-")
    return before if before and time.isdigit() else f"{head}/{rest}"
