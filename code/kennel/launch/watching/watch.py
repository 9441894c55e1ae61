"""One view of what goes on, until it has ended: for jobs of every kind and for endpoints.

    description = watch("training", "dogs-1", place)        # the last description

On AWS, Ctrl-C asks whether to detach, stop or go on; throttling and a lost network are waited for. What is left that
way raises Detached (130), expired credentials CredentialsError (5): what was watched goes on, and `kennel attach`
follows it again.
Exercise it: pytest tests/unit/launch/test_watch.py tests/aws/test_watch_aws.py
"""

import datetime
import re
from contextlib import AbstractContextManager
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.aws.states import Transitions, state_words
from kennel.aws.words import explained, passing_cause
from kennel.launch.places import Place
from kennel.launch.watching.attend import Manner, attend, manner_of
from kennel.launch.watching.failures import failure_lines, print_failure, since_ms
from kennel.launch.watching.kinds import ENDPOINT, TRAINING, TRANSFORM, TUNING, Kind, kind_of
from kennel.launch.watching.log_lines import LogLines
from kennel.launch.watching.rule_lines import RuleLines
from kennel.launch.watching.spending import Spending, spending_of
from kennel.launch.watching.watch_screens import Screen, View, make_screen
from kennel.metrics import read_metrics

Json = dict[str, Any]
_EPOCH: Final = re.compile(r"\bepoch=(\d+)/(\d+) ")
_HINT: Final = "Ctrl-C: detach or stop"


def watch(kind: str, name: str, place: Place) -> Json:
    """Shows it until it has ended; its last description. kind: training, tuning, transform or endpoint.

    Raises UserError where there is none of that name, Detached, CredentialsError.
    """
    return watch_kind(kind_of(kind), name, place)


def watch_kind(kind: Kind, name: str, place: Place, manner: Manner | None = None) -> Json:
    """The same for a kind itself. manner: how often is asked, and what Ctrl-C does; by the place."""
    if kind is TUNING:
        from kennel.launch.watching.follow_tuning import follow_tuning

        return follow_tuning(name, place).description
    screen = make_screen(place, has_log=kind is TRAINING)
    watched = Watched(kind, name, place, screen=screen)
    try:
        attend(watched, manner or manner_of(place))
    finally:
        screen.close()
    if place.is_aws:
        print_failure(failure_lines(kind, watched.description, place))
    return watched.description


class Watched:
    """A training job, a transform job or an endpoint, on a screen."""

    weight = 1.0

    def __init__(self, kind: Kind, name: str, place: Place, *, screen: Screen) -> None:
        self.kind = kind
        self.name = name
        self.place = place
        self.description: Json = {}
        self._screen = screen
        self._spending = spending_of(place)
        self._hour = ""
        self._log: LogLines | None = None
        self._is_log_denied = False
        self._said = ""
        self._transitions = Transitions()
        self._rules = RuleLines()
        self._metrics: dict[str, float] = {}
        self._epoch: tuple[int, int] | None = None

    def look(self) -> bool:
        self.description = self.kind.describe(self.name, self.place)
        self._say_changes()
        is_new = self._say_log()
        if self.kind is TRAINING:
            for line in self._rules.new(self.description):
                self.say(line)
        self._screen.show(self._view())
        # What was printed last comes a moment after the end.
        return self.kind.has_ended(self.description) and not is_new

    def say(self, line: str) -> None:
        self._screen.say(line)

    def paused(self) -> AbstractContextManager[None]:
        return self._screen.paused()

    def _say_changes(self) -> None:
        """A line for each state since the last look, and at the end what it has cost."""
        state = self.kind.status(self.description)
        lines = list(self._transitions.new(self.description)) if self.kind is TRAINING else []
        if self.kind is not TRAINING and state != self._said:
            words = state_words(state) if self.place.is_aws else ""
            lines.append(f"{state}: {words}" if words else state)
        self._said = state
        if self._screen.is_terse:
            return
        if lines and self.place.is_aws and self.kind.has_ended(self.description):
            lines.append(self._cost())
        for line in lines:
            self.say(f"{self.kind.title} {self.name}: {line}")

    def _say_log(self) -> bool:
        """Whether there was anything new."""
        if self._is_log_denied or not self._has_log():
            return False
        if self._log is None:
            self._log = LogLines(self.kind, self.name, self.place, since_ms=since_ms(self.kind, self.description))
        is_new = False
        try:
            for line in self._log.new():
                is_new = True
                self.say(line)
                self._read(line)
        except ClientError as error:
            said = explained(error)
            if passing_cause(error) or said.exit_status == 5:
                raise
            self._is_log_denied = True
            self.say(f"the log cannot be shown: {said}")
        return is_new

    def _has_log(self) -> bool:
        """Here only a training's is shown; on AWS all, but for an endpoint that answers already."""
        if not self.place.is_aws:
            return self.kind is TRAINING
        return self.kind is not ENDPOINT or self._log is not None or not self.kind.has_ended(self.description)

    def _read(self, line: str) -> None:
        self._metrics.update(read_metrics(line))
        if found := _EPOCH.search(line):
            self._epoch = int(found[1]), int(found[2])

    def _view(self) -> View:
        description = self.description
        state = str(description.get("SecondaryStatus") or self.kind.status(description))
        transitions = description.get("SecondaryStatusTransitions") or [{}]
        return View(
            title=self.kind.title,
            name=self.name,
            state=state,
            message=state_words(state, str(transitions[-1].get("StatusMessage") or "")),
            metrics=dict(self._metrics),
            epoch=self._epoch,
            cost=self._cost(),
            elapsed_s=self._elapsed_s(),
            hint=_HINT,
        )

    def _cost(self) -> str:
        if self._spending is None:
            return ""
        if self.kind is TRAINING:
            return str(self._spending.of_training(self.description))
        if self.kind is TRANSFORM:
            return str(self._spending.of_transform(self.description))
        if not self._hour:
            self._hour = hourly_words(self.description, self.place, self._spending)
        return self._hour

    def _elapsed_s(self) -> float:
        """Since a job's machines began to work, or an endpoint was made."""
        what = self.kind.name.capitalize()
        began = self.description.get(f"{what}StartTime" if self.kind.is_job else "CreationTime")
        ended = self.description.get(f"{what}EndTime")
        if began is None:
            return 0.0
        return max(0.0, float(((ended or datetime.datetime.now(datetime.UTC)) - began).total_seconds()))


def hourly_words(description: Json, place: Place, spending: Spending) -> str:
    """What an endpoint costs while it exists: `$0.23 an hour`; for serverless ones `by the request`."""
    try:
        config = place.sagemaker.describe_endpoint_config(EndpointConfigName=description["EndpointConfigName"])
    except ClientError:  # deleted since, or not ours to see: the view does without
        return "cost not known"
    if all("ServerlessConfig" in each for each in config["ProductionVariants"]):
        return "costs by the request"
    return spending.endpoint_words(config)
