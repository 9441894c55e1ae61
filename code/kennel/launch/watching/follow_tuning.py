"""Shows a search while it goes on, through the API's own calls: a live table on a terminal, else a line a training.

outcome = follow_tuning("dogs-1", open_place("local"))
outcome.description["HyperParameterTuningJobStatus"], best_of(outcome.description)
"""

import dataclasses
import datetime
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from kennel.launch.places import Place
from kennel.launch.tuning import ENDED, bare_values, list_trials, trial_label
from kennel.launch.watching.attend import attend, manner_of
from kennel.launch.watching.failures import print_failure, trial_failure_lines
from kennel.launch.watching.kinds import TUNING
from kennel.launch.watching.spending import spending_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Json = dict[str, Any]
_PAGE: Final = 100  # trainings in an answer: long searches are asked for less often
_REASON_CHARACTERS: Final = 220
_ROWS_KEPT: Final = 40  # of a long search, in the table that stays
_FRAME_ROWS: Final = 9  # of a screen, that are no training
_STYLES: Final = {"Failed": "red", "Stopped": "yellow", "Stopping": "yellow", "InProgress": "cyan"}


@dataclass(frozen=True)
class Outcome:
    """A search as the API tells it: DescribeHyperParameterTuningJob's answer, and the summaries of its trainings.

    so_far: by name, the objective's last value of trainings that go on, where it was asked for. cost: in words.
    """

    description: Json
    trials: list[Json]
    so_far: Mapping[str, float] = field(default_factory=dict)
    cost: str = ""

    @property
    def status(self) -> str:
        return str(self.description["HyperParameterTuningJobStatus"])

    @property
    def metric(self) -> str:
        return str(self._objective.get("MetricName", "objective"))

    @property
    def jobs(self) -> int:
        """How many trainings there will be at most."""
        limits = self.description["HyperParameterTuningJobConfig"].get("ResourceLimits", {})
        return int(limits.get("MaxNumberOfTrainingJobs") or len(self.trials) or 1)

    @property
    def best(self) -> str | None:
        """The name of the best training of this search."""
        name = (self.description.get("BestTrainingJob") or {}).get("TrainingJobName")
        return str(name) if name else None

    @property
    def _objective(self) -> Json:
        config = self.description["HyperParameterTuningJobConfig"]
        return dict(config.get("HyperParameterTuningJobObjective") or {})


class Screen(Protocol):
    """Where a search is shown. is_live: whether it shows trainings that go on."""

    is_live: bool

    def show(self, outcome: Outcome) -> None: ...

    def say(self, line: str) -> None:
        """A line that stays."""
        ...

    def paused(self) -> AbstractContextManager[None]:
        """Somebody is asked something meanwhile."""
        ...

    def close(self, outcome: Outcome | None) -> None: ...


def follow_tuning(name: str, place: Place, screen: Screen | None = None) -> Outcome:
    """Shows the search until it has ended.

    On this machine Ctrl-C stops it: its running trainings end, and what was found is kept. A second one leaves without
    waiting. On AWS it asks: see kennel.launch.watching.watch.
    """
    screen = screen or make_screen()
    search = _Search(name, place, screen)
    try:
        attend(search, manner_of(place))
    finally:
        screen.close(search.outcome)
    assert search.outcome is not None  # noqa: S101  attend returns when it has ended
    if place.is_aws:
        print(f"cost: {search.outcome.cost}")
        print_failure(trial_failure_lines(search.outcome.trials, place))
    return search.outcome


def make_screen() -> Screen:
    """A live table on a terminal, lines elsewhere."""
    return LiveTable() if sys.stdout.isatty() else Lines()


class _Search:
    """A tuning job, on a screen."""

    kind = TUNING

    def __init__(self, name: str, place: Place, screen: Screen) -> None:
        self.name = name
        self.place = place
        self.outcome: Outcome | None = None
        self._screen = screen
        self._spending = spending_of(place)

    @property
    def weight(self) -> float:
        return 2.0 + len(self.outcome.trials if self.outcome else ()) // _PAGE

    def look(self) -> bool:
        # In this order: the trainings of a search that has ended are all there.
        description = TUNING.describe(self.name, self.place)
        outcome = Outcome(description, list_trials(self.name, self.place))
        if self._screen.is_live:
            outcome = dataclasses.replace(outcome, so_far=_so_far(outcome, self.place))
        if self._spending:
            outcome = dataclasses.replace(outcome, cost=str(self._spending.of_trials(description, outcome.trials)))
        self.outcome = outcome
        self._screen.show(outcome)
        return outcome.status in TUNING.ended

    def say(self, line: str) -> None:
        self._screen.say(line)

    def paused(self) -> AbstractContextManager[None]:
        return self._screen.paused()


def _so_far(outcome: Outcome, place: Place) -> dict[str, float]:
    """The last value of the objective in the log of each training that goes on."""
    found = {}
    for trial in outcome.trials:
        if trial["TrainingJobStatus"] == "InProgress":
            job = place.sagemaker.describe_training_job(TrainingJobName=trial["TrainingJobName"])
            for metric in job.get("FinalMetricDataList") or []:
                if metric["MetricName"] == outcome.metric:
                    found[trial["TrainingJobName"]] = float(metric["Value"])
    return found


class Lines:
    """A line for each training that has ended, key=value."""

    is_live = False

    def __init__(self) -> None:
        self._said: set[str] = set()

    def show(self, outcome: Outcome) -> None:
        for trial in _newly_ended(outcome, self._said):
            print(trial_line(trial, outcome), flush=True)

    def say(self, line: str) -> None:
        print(line, flush=True)

    def paused(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self, outcome: Outcome | None) -> None:
        """Nothing is left to say."""


def trial_line(trial: Json, outcome: Outcome) -> str:
    """`trial=003 state=Completed objective=0.4321 lr=0.0042 seconds=4 best=yes job=dogs-1-003-0a1b2c3d`."""
    value = objective_of(trial)
    parts = {
        "trial": trial_label(trial["TrainingJobName"]),
        "state": trial["TrainingJobStatus"],
        "objective": "none" if value is None else f"{value:.6g}",
        **bare_values(trial.get("TunedHyperParameters", {})),
        "seconds": f"{seconds_of(trial):.0f}",
        "best": "yes" if trial["TrainingJobName"] == outcome.best else "no",
        "job": trial["TrainingJobName"],
    }
    line = " ".join(f"{key}={text}" for key, text in parts.items())
    reason = reason_of(trial)
    return f"{line} reason: {reason}" if reason else line


def _newly_ended(outcome: Outcome, said: set[str]) -> list[Json]:
    """The trainings that have ended since the last call; `said` remembers them."""
    ended = [
        trial
        for trial in outcome.trials
        if trial["TrainingJobStatus"] in ENDED
        and trial.get("ObjectiveStatus") != "Pending"
        and trial["TrainingJobName"] not in said
    ]
    said.update(trial["TrainingJobName"] for trial in ended)
    return ended


class LiveTable:
    """A table that follows the search, with a bar over its trainings; the whole table stays at the end."""

    is_live = True

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(highlight=False, markup=False)
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._said: set[str] = set()
        self._live.start()

    def show(self, outcome: Outcome) -> None:
        from rich.console import Group
        from rich.text import Text

        for trial in _newly_ended(outcome, self._said):
            if reason := reason_of(trial):
                label = trial_label(trial["TrainingJobName"])
                self._live.console.print(Text(f"training {label} {trial['TrainingJobStatus']}: {reason}"))
        rows = max(3, self._console.height - _FRAME_ROWS)
        self._live.update(Group(trial_table(outcome, rows=rows), _bar(outcome)), refresh=True)

    def say(self, line: str) -> None:
        from rich.text import Text

        self._live.console.print(Text(line), soft_wrap=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._live.stop()
        try:
            yield
        finally:
            self._live.start(refresh=True)

    def close(self, outcome: Outcome | None) -> None:
        self._live.stop()
        if outcome and outcome.trials:
            self._console.print(trial_table(outcome, rows=_ROWS_KEPT))


def trial_table(outcome: Outcome, *, rows: int) -> "Table":
    """Training, hyperparameters, objective, state and seconds; of more than `rows`, the best and the latest."""
    from rich.table import Table

    shown = _fitting(outcome, rows)
    names = list(dict.fromkeys(name for trial in outcome.trials for name in _tuned(trial)))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("training", *names, outcome.metric, "state", "seconds"):
        table.add_column(column, justify="left" if column in ("training", "state") else "right", overflow="fold")
    for trial in shown:
        values, state = _tuned(trial), trial["TrainingJobStatus"]
        found = objective_of(trial)
        value = found if found is not None else outcome.so_far.get(trial["TrainingJobName"])
        is_best = trial["TrainingJobName"] == outcome.best
        cells = [trial_label(trial["TrainingJobName"]), *(_short(values.get(name, "")) for name in names)]
        cells += ["" if value is None else f"{value:.4g}", "best" if is_best else state, f"{seconds_of(trial):.0f}"]
        table.add_row(*cells, style="bold green" if is_best else _STYLES.get(state, ""))
    hidden = len(outcome.trials) - len(shown)
    table.caption = f"{hidden} more" if hidden > 0 else None
    return table


def _fitting(outcome: Outcome, rows: int) -> list[Json]:
    trials = outcome.trials
    if len(trials) <= rows:
        return trials
    best = [trial for trial in trials if trial["TrainingJobName"] == outcome.best]
    latest = trials[-(rows - len(best)) :]
    return latest if best and best[0] in latest else [*best, *latest]


def _bar(outcome: Outcome) -> "Table":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    done = sum(trial["TrainingJobStatus"] in ENDED for trial in outcome.trials)
    grid = Table.grid(padding=(1, 2, 0, 0))
    words = "  ".join(each for each in (f"{done} of {outcome.jobs} trainings", outcome.status, outcome.cost) if each)
    grid.add_row(ProgressBar(total=outcome.jobs, completed=done, width=40), words)
    return grid


def _tuned(trial: Json) -> dict[str, str]:
    return bare_values(trial.get("TunedHyperParameters", {}))


def _short(text: str) -> str:
    """Four digits of a number with many; whatever else as it is."""
    try:
        return text if len(text) <= 8 else f"{float(text):.4g}"
    except ValueError:
        return text


def objective_of(trial: Json) -> float | None:
    """The objective's value, where it is known."""
    value = (trial.get("FinalHyperParameterTuningJobObjectiveMetric") or {}).get("Value")
    return None if value is None else float(value)


def seconds_of(trial: Json) -> float:
    """How long a training has run; 0 before it does."""
    started = trial.get("TrainingStartTime")
    if started is None:
        return 0.0
    ended = trial.get("TrainingEndTime") or datetime.datetime.now(datetime.UTC)
    return max(0.0, float((ended - started).total_seconds()))


def reason_of(trial: Json) -> str:
    """Why a training failed, or has no objective, in one line; "" for others."""
    text = " ".join(str(trial.get("FailureReason") or "").split())
    if not text and trial["TrainingJobStatus"] == "Failed":
        text = "no reason was left"
    return text if len(text) <= _REASON_CHARACTERS else f"{text[: _REASON_CHARACTERS - 1]}…"
