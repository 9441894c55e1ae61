"""One view of what goes on: states, metrics as they come, epochs, cost; on a terminal and without."""

import datetime
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from kennel.aws.prices import Price, PriceList
from kennel.errors import UserError
from kennel.launch.places import Place
from kennel.launch.watching.kinds import ENDPOINT, TRAINING, Kind, kind_of, kinds_of
from kennel.launch.watching.watch import Watched
from kennel.launch.watching.watch_screens import Lines, LiveView, View, drawn, duration, make_screen, printable

Json = dict[str, Any]
BEGAN = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
EPOCH = "epoch={}/3 train_loss=0.5 train_accuracy=0.8 valid_loss={} valid_accuracy=0.9 valid_top5=1 images_per_s=9"


class Api:
    """SageMaker and CloudWatch that are one step further at each description."""

    def __init__(self, *steps: tuple[str, list[str]]) -> None:
        self._steps = list(steps)
        self.lines: list[str] = []
        self.states: list[str] = []
        self.exceptions = self

    def describe_training_job(self, TrainingJobName: str) -> Json:  # noqa: N803
        state, lines = self._steps.pop(0)
        self.states.append(state)
        self.lines += lines
        return {
            "TrainingJobName": TrainingJobName,
            "TrainingJobStatus": "Completed" if state == "Completed" else "InProgress",
            "SecondaryStatus": state,
            "SecondaryStatusTransitions": [{"Status": each, "StatusMessage": f"is {each}"} for each in self.states],
            "CreationTime": BEGAN,
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            "TrainingStartTime": BEGAN,
            "TrainingEndTime": BEGAN + datetime.timedelta(seconds=200),
        }

    def get_paginator(self, operation: str) -> "Api":
        return self

    def paginate(self, **asked: str) -> Iterator[Json]:
        yield {"logStreams": [{"logStreamName": "dogs/algo-1-17"}]}

    def get_log_events(self, **asked: Any) -> Json:  # noqa: ANN401  GetLogEvents' own
        at = int(asked.get("nextToken") or 0)
        events = [{"timestamp": number, "message": each} for number, each in enumerate(self.lines)][at:]
        return {"events": events, "nextForwardToken": str(len(self.lines))}


def place_of(api: object, name: str = "aws") -> Place:
    place = Place(name, "r", "t", "s", "ml.m5.large")
    place.__dict__.update(sagemaker=api, logs=api, region="eu-west-1")
    return place


class Kept(Lines):
    """Keeps the views."""

    def __init__(self) -> None:
        self.views: list[View] = []

    def show(self, view: View) -> None:
        self.views.append(view)


@pytest.fixture(autouse=True)
def without_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(PriceList, "hourly", lambda *_, **__: Price(Decimal(18), "2026-11-20"))


def test_states_metrics_and_epochs_come_as_they_change(capsys: pytest.CaptureFixture[str]) -> None:
    api = Api(
        ("Starting", []),
        ("Training", [EPOCH.format(1, 0.7)]),
        ("Training", [EPOCH.format(2, 0.6)]),
        ("Completed", ["final valid_loss=0.6 test_accuracy=0.91"]),
        ("Completed", []),
    )
    screen = Kept()
    watched = Watched(TRAINING, "dogs", place_of(api), screen=screen)
    assert [watched.look() for _ in range(5)] == [False] * 4 + [True]
    assert [view.metrics.get("validation:loss") for view in screen.views] == [None, 0.7, 0.6, 0.6, 0.6]
    assert screen.views[-1].metrics["test:accuracy"] == 0.91
    assert [view.epoch for view in screen.views] == [None, (1, 3), (2, 3), (2, 3), (2, 3)]
    assert screen.views[1].state == "Training" and screen.views[1].message == "is Training"
    assert screen.views[1].elapsed_s == 200 and screen.views[1].cost == "$1.00, list price"
    said = capsys.readouterr().out
    assert said.count("training job dogs: Training: is Training") == 2  # two visits of the state
    assert "training job dogs: $1.00, list price" in said


def test_the_live_view_has_all_of_it_and_takes_nothing_for_markup() -> None:
    console = Console(file=io.StringIO(), width=120)
    view = View(
        "training job",
        "dogs",
        "Training",
        "[red]AWS says so",
        metrics={"validation:loss": 0.61234, "train:loss": 0.5, "validation:accuracy": 0.9, "test:top5": 1.0},
        epoch=(2, 3),
        cost="$0.12 so far",
        elapsed_s=3723,
        hint="Ctrl-C: detach or stop",
    )
    console.print(drawn(view))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "training job dogs  Training  [red]AWS says so" in shown
    assert "epoch 2 of 3" in shown
    assert "train:loss 0.5   validation:accuracy 0.9   validation:loss 0.6123" in shown
    assert "1:02:03  $0.12 so far  Ctrl-C: detach or stop" in shown


def test_a_live_view_stands_aside_and_comes_back() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    screen = LiveView(console)
    screen.show(View("endpoint", "dogs", "Creating"))
    with screen.paused():
        assert not console._live_stack
    assert console._live_stack
    screen.say("a line\x1b[2J that clears\tnothing")
    screen.close()
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a line[2J that clears" in written and "endpoint dogs  Creating" in written


def test_a_line_is_made_harmless() -> None:
    assert printable("10%\r20%\r30%") == "30%"
    assert printable("a\tb\x07") == "a       b"
    assert duration(59) == "0:59" and duration(3600) == "1:00:00"


def test_without_a_terminal_there_are_lines() -> None:
    assert isinstance(make_screen(place_of(Api()), has_log=True), Lines)
    here = make_screen(place_of(Api(), "local"), has_log=True)
    assert here.is_terse
    here.close()


class Named:
    """SageMaker with some things of one name."""

    def __init__(self, **found: Json | str) -> None:
        self._found = found

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401  any operation
        def answer(**asked: str) -> Json:
            found = self._found.get(operation.removeprefix("describe_"), "ValidationException")
            if isinstance(found, str):
                response: Any = {"Error": {"Code": found, "Message": "Could not find it"}}
                raise ClientError(response, operation)
            return found

        return answer


def found(kind: Kind, status: str, hours: int) -> Json:
    return {f"{kind.member}Status": status, "CreationTime": BEGAN + datetime.timedelta(hours=hours)}


def test_what_goes_on_counts_before_what_is_newer() -> None:
    place = place_of(Named(training_job=found(TRAINING, "InProgress", 1), endpoint=found(ENDPOINT, "Failed", 2)))
    assert [kind.name for kind, _ in kinds_of("dogs", place)] == ["training", "endpoint"]
    place = place_of(Named(training_job=found(TRAINING, "Completed", 1), endpoint=found(ENDPOINT, "InService", 2)))
    assert [kind.name for kind, _ in kinds_of("dogs", place)] == ["endpoint", "training"]


def test_what_may_not_be_seen_is_not_said_to_be_missing() -> None:
    place = place_of(Named(transform_job="AccessDeniedException"))
    with pytest.raises(ClientError, match="AccessDenied"):
        kinds_of("dogs", place)
    with pytest.raises(ClientError):
        kind_of("transform").describe("dogs", place)
    with pytest.raises(UserError, match="There is no tuning job 'dogs'"):
        kind_of("tuning").describe("dogs", place)
