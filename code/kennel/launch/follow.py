"""Shows a job or an endpoint while it comes about, through the API's own calls: states, log lines, a bar."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tqdm import tqdm

from kennel.launch.jobs import describe_training_job
from kennel.launch.places import Place
from kennel.launch.rule_lines import RuleLines, wait_for_rules

FINISHED: Final = ("Completed", "Failed", "Stopped")
_POLL_S: Final = 0.5
_EPOCH = re.compile(r"\bepoch=(\d+)/(\d+) ")


@dataclass(frozen=True)
class LogCursor:
    """How far a log was read."""

    token: str | None = None


def follow_training(name: str, place: Place) -> dict[str, Any]:
    """Prints the job's log as it grows and each rule that fires, and returns the last description, rules settled.

    Ctrl-C stops the job, which keeps its checkpoint and its best model so far; a second one leaves it running.
    """
    try:
        return _follow(name, place)
    except KeyboardInterrupt:
        print(f"\nstopping {name} (again Ctrl-C leaves it running)", file=sys.stderr)
        place.sagemaker.stop_training_job(TrainingJobName=name)
        return _follow(name, place)


def _follow(name: str, place: Place) -> dict[str, Any]:
    bar = tqdm(unit="epoch", disable=not sys.stderr.isatty(), leave=False, dynamic_ncols=True)
    show = _shower(bar)
    cursor, last_state, rules = LogCursor(), "", RuleLines()
    with bar:
        while True:
            description = describe_training_job(name, place)
            state = str(description["SecondaryStatus"])
            if state != last_state:
                bar.set_description(f"{name} {state}")
                last_state = state
            lines, cursor = _new_log_lines(name, place, cursor)
            for line in (*lines, *rules.new(description)):
                show(line)
            if description["TrainingJobStatus"] in FINISHED and not lines:
                break
            time.sleep(_POLL_S)
        description = wait_for_rules(description, place)
        for line in rules.new(description):
            show(line)
    return description


def _shower(bar: "tqdm[Any]") -> Callable[[str], None]:
    def show(line: str) -> None:
        bar.write(line, file=sys.stdout)
        sys.stdout.flush()
        if match := _EPOCH.search(line):
            bar.total = int(match.group(2))
            bar.n = int(match.group(1))
            bar.refresh()

    return show


def _new_log_lines(name: str, place: Place, cursor: LogCursor) -> tuple[list[str], LogCursor]:
    """Lines since `cursor`; a job whose log has not begun has none."""
    group = "/aws/sagemaker/TrainingJobs"
    try:
        streams = place.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
    except place.logs.exceptions.ResourceNotFoundException:
        return [], cursor
    if not streams:
        return [], cursor
    position = {"nextToken": cursor.token} if cursor.token else {}
    page = place.logs.get_log_events(
        logGroupName=group, logStreamName=streams[0]["logStreamName"], startFromHead=True, **position
    )
    return [event["message"] for event in page["events"]], LogCursor(page["nextForwardToken"])


def wait_for_endpoint(name: str, place: Place) -> dict[str, Any]:
    """DescribeEndpoint's answer once the endpoint is InService or Failed."""
    for description in _endpoint_states(name, place):
        print(f"endpoint {name}: {description['EndpointStatus']}", flush=True)
    return description


def _endpoint_states(name: str, place: Place) -> Iterator[dict[str, Any]]:
    """One description for every change of state."""
    last_state = ""
    while last_state not in ("InService", "Failed"):
        description = place.sagemaker.describe_endpoint(EndpointName=name)
        if description["EndpointStatus"] != last_state:
            last_state = description["EndpointStatus"]
            yield description
        else:
            time.sleep(_POLL_S)
