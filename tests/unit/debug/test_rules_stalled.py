"""StalledTrainingRule: by the clock while a training runs, by its files after it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_runs import Training, findings, write_trial

from kennel.debug.rules import build_rule
from kennel.debug.rules.stalled import StalledTrainingRule
from kennel.debug.tensors import Trial


class InMemory:
    """A trial that knows its steps only: the rule then goes by its own clock."""

    facts: dict[str, Any] = {}

    def mode_of(self, step: int) -> tuple[str, int]:
        return "TRAIN", step


def clock(*times: float) -> Iterator[float]:
    yield from times


def set_time(trial: Trial, step: int, seconds: float) -> None:
    (path,) = trial.folder.glob(f"index/*/{step:012d}_*.json")
    os.utime(path, (seconds, seconds))


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Training(epochs=1, validates=False).run(tmp_path / "out")


def test_a_training_that_saves_its_steps_is_not_stalled(trial: Trial) -> None:
    rule = build_rule("StalledTrainingRule", {})
    assert not findings(trial, rule) and rule.steps_seen == 8
    assert rule.summary(trial)[0].outcome == "ok"


def test_a_pause_between_two_steps_is_found_in_the_files(trial: Trial) -> None:
    """Step 5 comes 31 minutes after step 4."""
    for step in trial.steps():
        set_time(trial, step, 1e9 + step + (1860 if step >= 5 else 0))
    rule = build_rule("StalledTrainingRule", {})
    found = findings(trial, rule)
    assert list(found) == [5] and found[5][0].value == 1861
    assert (
        found[5][0].message == "No tensor was saved for 1861 s between TRAIN step 4 and TRAIN step 5, more than 1800 s."
    )
    assert rule.summary(trial)[0].detail == "at most 1861.0 s"
    assert not findings(trial, build_rule("StalledTrainingRule", {"threshold": "1861"}))


def test_waiting_longer_than_the_threshold_is_found_once(trial: Trial) -> None:
    rule = build_rule("StalledTrainingRule", {"threshold": "60"})
    findings(trial, rule)
    assert not rule.check_waiting(idle_s=60.0)
    (finding,) = rule.check_waiting(idle_s=61.0)
    assert finding.message == "No tensor was saved for 61 s since TRAIN step 7, more than 60 s."
    assert not rule.check_waiting(idle_s=120.0)
    assert rule.summary(trial)[0].outcome == "fired"


def test_a_new_step_ends_the_wait(tmp_path: Path) -> None:
    times = clock(0.0, 10.0, 200.0)
    rule: Any = StalledTrainingRule(StalledTrainingRule.Parameters(threshold=60), clock=lambda: next(times))
    memory: Any = InMemory()
    assert not rule.check(memory, 0) and not rule.check(memory, 1)
    assert rule.check_waiting(idle_s=100.0) and rule.check(memory, 2)[0].value == 190.0
    assert rule.check_waiting(idle_s=100.0), "a second wait is a second finding"


def test_a_training_that_never_saved_anything_is_found(tmp_path: Path) -> None:
    rule = build_rule("StalledTrainingRule", {"threshold": "60"})
    (finding,) = rule.check_waiting(idle_s=61.0)
    assert "since the start" in finding.message
    assert rule.too_few and rule.summary(Trial(tmp_path))[0].outcome == "no data"


def test_whether_it_stops_the_training_is_its_parameter() -> None:
    for sent, expected in (({}, False), ({"stop_training_on_fire": "True", "training_job_name_prefix": "dogs"}, True)):
        rule = build_rule("StalledTrainingRule", sent)
        assert isinstance(rule, StalledTrainingRule) and rule.stop_training is expected


def test_steps_of_both_modes_count(tmp_path: Path) -> None:
    modes = {0: ("TRAIN", 0), 1: ("EVAL", 0)}
    trial = write_trial(tmp_path / "trial", {0: {"loss": 1.0}, 1: {"loss": 1.0}}, modes=modes)
    set_time(trial, 0, 1e9)
    set_time(trial, 1, 1e9 + 7200)
    found = findings(trial, build_rule("StalledTrainingRule", {}))
    assert found[1][0].mode == "EVAL" and "between TRAIN step 0 and EVAL step 0" in found[1][0].message
