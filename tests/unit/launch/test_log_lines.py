"""The log of several hosts as one, read on from where it was; what CloudWatch's tokens and empty pages mean."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from kennel.launch.places import Place
from kennel.launch.watching.kinds import ENDPOINT, TRAINING, TRANSFORM
from kennel.launch.watching.log_lines import LogLines, last_lines

Json = dict[str, Any]


class Logs:
    """CloudWatch with streams of (time, text); `gap`: an empty page before each page, as AWS has them."""

    def __init__(self, streams: dict[str, list[tuple[int, str]]], *, gap: bool = False) -> None:
        self.streams = streams
        self.asked: list[Json] = []
        self._gap = gap

    def get_paginator(self, operation: str) -> "Logs":
        assert operation == "describe_log_streams"
        return self

    def paginate(self, logGroupName: str, logStreamNamePrefix: str = "") -> Iterator[Json]:  # noqa: N803
        self.asked.append({"group": logGroupName, "prefix": logStreamNamePrefix})
        for name in sorted(self.streams):  # a page each
            if name.startswith(logStreamNamePrefix):
                yield {"logStreams": [{"logStreamName": name}]}

    def get_log_events(self, **asked: Any) -> Json:  # noqa: ANN401  GetLogEvents' own
        self.asked.append(asked)
        events = [each for each in self.streams[asked["logStreamName"]] if each[0] >= asked.get("startTime", 0)]
        if not asked["startFromHead"]:
            return self._page(events[-asked["limit"] :], "b/0")
        at, seen_gap = (asked.get("nextToken") or "0/gap").split("/")
        if self._gap and seen_gap == "gap" and int(at) < len(events):
            return self._page([], f"{at}/seen")
        end = min(int(at) + 2, len(events))
        token = f"{end}/gap" if end > int(at) else f"{at}/{seen_gap}"
        return self._page(events[int(at) : end], token)

    def _page(self, events: list[tuple[int, str]], token: str) -> Json:
        return {"events": [{"timestamp": time, "message": text} for time, text in events], "nextForwardToken": token}


def place_of(logs: object) -> Place:
    place = Place("aws", "r", "t", "s", "ml.m5.large")
    place.__dict__["logs"] = logs  # a cached property
    return place


@pytest.mark.parametrize("gap", [False, True], ids=["", "empty pages between"])
def test_each_line_comes_once_in_the_order_of_all_hosts(gap: bool) -> None:
    one, two = [(1, "a"), (4, "d"), (5, "e")], [(2, "b"), (3, "c")]
    logs = Logs({"dogs/algo-1-17": one, "dogs/algo-2-17": two, "dogs-2/algo-1-9": [(0, "another's")]}, gap=gap)
    log = LogLines(TRAINING, "dogs", place_of(logs))
    assert list(log.new()) == ["[algo-1] a", "[algo-2] b", "[algo-2] c", "[algo-1] d", "[algo-1] e"]
    assert list(log.new()) == []
    two.append((6, "f"))
    assert list(log.new()) == ["[algo-2] f"]
    assert logs.asked[0] == {"group": "/aws/sagemaker/TrainingJobs", "prefix": "dogs/"}


def test_a_broken_off_look_is_said_again() -> None:
    log = LogLines(TRAINING, "dogs", place_of(Logs({"dogs/algo-1-17": [(1, "a"), (2, "b")]})))
    assert next(log.new()) == "a"
    assert list(log.new()) == ["a", "b"]


def test_an_earlier_endpoints_lines_are_left_out() -> None:
    logs = Logs({"AllTraffic/i-1": [(10, "old"), (30, "new")]})
    assert list(LogLines(ENDPOINT, "dogs", place_of(logs), since_ms=20).new()) == ["new"]
    assert logs.asked[0] == {"group": "/aws/sagemaker/Endpoints/dogs", "prefix": ""}


def test_the_end_is_of_all_hosts() -> None:
    logs = Logs({"b/i-1-17": [(time, f"line {time}") for time in range(50)], "b/i-1-17/data-log": [(48, "bad: a.jpg")]})
    assert LogLines(TRANSFORM, "b", place_of(logs)).last(3) == [
        "[i-1] line 48",
        "[data-log] bad: a.jpg",
        "[i-1] line 49",
    ]


class Refusing:
    def __init__(self, code: str) -> None:
        self._code = code

    def get_paginator(self, operation: str) -> "Refusing":
        return self

    def paginate(self, **asked: str) -> Iterator[Json]:
        response: Any = {"Error": {"Code": self._code, "Message": "The specified log group does not exist."}}
        raise ClientError(response, "DescribeLogStreams")


def test_a_log_that_has_not_begun_is_empty_and_one_that_is_refused_is_said() -> None:
    assert list(LogLines(TRAINING, "dogs", place_of(Refusing("ResourceNotFoundException"))).new()) == []
    [line] = last_lines(TRAINING, "dogs", place_of(Refusing("AccessDeniedException")), count=5)
    assert line.startswith("(the log cannot be read: AWS refused DescribeLogStreams")
    with pytest.raises(ClientError):
        list(LogLines(TRAINING, "dogs", place_of(Refusing("ThrottlingException"))).new())
