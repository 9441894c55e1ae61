import dataclasses
import io
import shlex
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from kennel.aws.prices import Price, PriceList
from kennel.launch import tune_command
from kennel.launch.places import Place
from kennel.launch.watching import attend, follow_tuning
from kennel.launch.watching.follow_tuning import Lines, LiveTable, Outcome, trial_table
from made_search import NAME, Json, made_description, made_summary, made_trial, made_trials


class Api:
    """A SageMaker that tells of a search, one step further at each question."""

    def __init__(self, steps: Sequence[tuple[Json, list[Json]]], on_describe: Callable[[], None] | None = None) -> None:
        self._steps: Iterator[tuple[Json, list[Json]]] = iter(steps)
        self._now = steps[0]
        self._on_describe = on_describe or (lambda: None)
        self.stopped: list[str] = []

    def describe_hyper_parameter_tuning_job(self, HyperParameterTuningJobName: str) -> Json:  # noqa: N803
        self._on_describe()
        self._now = next(self._steps, self._now)
        return self._now[0]

    def get_paginator(self, operation: str) -> Any:  # noqa: ANN401
        assert operation == "list_training_jobs_for_hyper_parameter_tuning_job"
        return self

    def paginate(self, **arguments: str) -> list[Json]:
        assert arguments["HyperParameterTuningJobName"] == NAME
        return [{"TrainingJobSummaries": [summary]} for summary in self._now[1]]

    def describe_training_job(self, TrainingJobName: str) -> Json:  # noqa: N803
        return {"FinalMetricDataList": [{"MetricName": "validation:loss", "Value": 0.7531}]}

    def stop_hyper_parameter_tuning_job(self, HyperParameterTuningJobName: str) -> None:  # noqa: N803
        self.stopped.append(HyperParameterTuningJobName)


def place_of(api: Api) -> Place:
    place = Place(name="local", role="r", train_image="t", serve_image="s", instance_type="ml.m5.large")
    place.__dict__["sagemaker"] = api  # a cached_property's own value
    return place


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attend, "_HERE", attend.Manner(poll_s=0))


def step(trials: list[Json], status: str = "InProgress") -> tuple[Json, list[Json]]:
    return made_description(trials, status=status), [made_summary(trial) for trial in trials]


def outcome_of(trials: list[Json], status: str = "Completed") -> Outcome:
    return Outcome(*step(trials, status))


def test_without_a_terminal_each_training_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    running = made_trial(2, status="InProgress", objective=None, objective_status="Pending")
    trials = [made_trial(1), made_trial(2), made_trial(3, status="Failed")]
    api = Api([step([trials[0], running]), step(trials), step(trials, "Completed")])
    outcome = follow_tuning.follow_tuning(NAME, place_of(api), Lines())
    lines = capsys.readouterr().out.splitlines()
    assert outcome.status == "Completed"
    assert [line.split()[0] for line in lines] == ["trial=001", "trial=002", "trial=003"]
    said = dict(word.split("=", 1) for word in lines[0].split())
    assert said["batch-size"] == "32"
    assert said["optimizer"] == "adamw"
    assert float(said["objective"]) == pytest.approx(trials[0]["objective"], rel=1e-5)
    assert lines[2].endswith("reason: AlgorithmError: lr 0.000214 <b>fell</b> over")


def test_a_terminal_gets_a_table_with_the_best_marked() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, height=40, color_system=None)
    trials = made_trials()
    api = Api([step(trials[:6]), step(trials, "Completed")])
    follow_tuning.follow_tuning(NAME, place_of(api), LiveTable(screen))
    written = screen.file.getvalue()  # type: ignore[attr-defined]
    kept = written.rsplit("training", 1)[1]
    assert len([line for line in kept.splitlines() if line[:3].isdigit()]) == 12
    assert len([line for line in kept.splitlines() if " best " in line]) == 1
    assert "training 003 Failed: AlgorithmError: lr" in written
    assert "6 of 6 trainings" in written


def test_a_training_that_goes_on_shows_its_objective_so_far() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, height=40, color_system=None, markup=False)
    running = made_trial(1, status="InProgress", objective=None, objective_status="Pending")
    running["parameters"]["optimizer"] = "[red]"
    api = Api([step([running]), step([running]), step([made_trial(1)], "Completed")])
    follow_tuning.follow_tuning(NAME, place_of(api), LiveTable(screen))
    written = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "0.7531" in written
    assert "[red]" in written  # a value is never markup


def test_a_long_search_shows_its_best_and_its_latest() -> None:
    trials = [made_trial(number, objective=float(number)) for number in range(1, 31)]
    screen = Console(file=io.StringIO(), width=100)
    screen.print(trial_table(outcome_of(trials), rows=5))
    shown = [line[:3] for line in screen.file.getvalue().splitlines() if line[:3].isdigit()]  # type: ignore[attr-defined]
    assert shown == ["001", "027", "028", "029", "030"]
    assert "25 more" in screen.file.getvalue()  # type: ignore[attr-defined]


def test_ctrl_c_stops_the_search_and_ends_with_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []

    def interrupt() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt

    api = Api([step([made_trial(1)]), step([made_trial(1)], "Stopped")], interrupt)
    outcome = follow_tuning.follow_tuning(NAME, place_of(api), Lines())
    assert api.stopped == [NAME]
    assert outcome.status == "Stopped"
    assert f"stopping {NAME}" in capsys.readouterr().err


def test_a_second_ctrl_c_leaves_it() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    api = Api([step([made_trial(1)])], interrupt)
    with pytest.raises(KeyboardInterrupt):
        follow_tuning.follow_tuning(NAME, place_of(api), Lines())
    assert api.stopped == [NAME]


def test_a_search_that_ended_before_it_was_stopped_is_told_as_it_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def interrupt() -> None:
        asked.append(1)
        if len(asked) == 1:
            raise KeyboardInterrupt

    def refuse(self: Api, HyperParameterTuningJobName: str) -> None:  # noqa: N803
        raise ClientError({"Error": {"Message": "It is Completed"}}, "StopHyperParameterTuningJob")

    monkeypatch.setattr(Api, "stop_hyper_parameter_tuning_job", refuse)
    api = Api([step([made_trial(1)], "Completed")], interrupt)
    assert follow_tuning.follow_tuning(NAME, place_of(api), Lines()).status == "Completed"
    assert f"{NAME}: It is Completed" in capsys.readouterr().out


def test_on_aws_the_cost_is_shown_and_ctrl_c_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        interrupts.append(1)
        if len(interrupts) in (2, 4):
            raise KeyboardInterrupt

    interrupts, answers = list[int](), ["c", "d"]
    manner = attend.Manner(0, ask=lambda question, choices: answers.pop(0), is_patient=True)
    monkeypatch.setattr(attend, "_AWS", manner)
    monkeypatch.setattr(PriceList, "hourly", lambda *_, **__: Price(Decimal(3600), "2026-11-20"))
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, height=40, color_system=None)
    description, summaries = step([made_trial(1), made_trial(2)])
    machines = {"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}}
    api = Api([({**description, "TrainingJobDefinition": machines}, summaries)], interrupt)
    place = dataclasses.replace(place_of(api), name="aws")
    place.__dict__.update(sagemaker=api, region="eu-west-1")
    with pytest.raises(attend.Detached, match=f"tuning job {NAME} goes on"):
        follow_tuning.follow_tuning(NAME, place, LiveTable(screen))
    assert answers == [] and api.stopped == []
    assert "so far" in screen.file.getvalue() and "$" in screen.file.getvalue()  # type: ignore[attr-defined]


def test_the_end_says_the_best_ready_to_paste() -> None:
    outcome = outcome_of(made_trials())
    said = tune_command.summary(outcome, Path("/photos/my dogs"))
    best = outcome.description["BestTrainingJob"]
    assert f"best: {best['TrainingJobName']}  validation:loss=" in said
    assert f"-p lr={best['TunedHyperParameters']['lr']} -p views=" in said
    assert "12 trainings (10 completed, 1 stopped, 1 failed)" in said
    command = said.splitlines()[-1].split(": ", 1)[1]
    assert shlex.split(command) == ["scripts/train.sh", "--data", "/photos/my dogs", "--best-of", NAME]
    assert tune_command.exit_status(outcome) == 0


@pytest.mark.parametrize(("status", "count"), [("Stopped", 3), ("Failed", 0), ("Completed", 0)])
def test_a_search_without_end_or_best_is_no_success(status: str, count: int) -> None:
    outcome = outcome_of(made_trials(count), status)
    assert tune_command.exit_status(outcome) == 1
    assert ("there is no best one" in tune_command.summary(outcome, Path("d"))) == (count == 0)
