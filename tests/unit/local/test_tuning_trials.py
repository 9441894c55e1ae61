"""What trials amount to: counters, the best one, their file; what is read from a log; when a search is complete."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kennel.local.tuning_completion import Completion
from kennel.local.tuning_parents import parents_trials
from kennel.local.tuning_requests import definitions_of, first_description, most_jobs, seeded, trial_name, trial_request
from kennel.local.tuning_trials import (
    Trial,
    best_of,
    objective_counters,
    objectives_of,
    read_trials,
    status_counters,
    write_trials,
)
from kennel.local.tuning_watch import TrialWatch

METRICS = [
    {"Name": "loss", "Regex": r"(?:^|\s)loss=(\S+)"},
    {"Name": "other", "Regex": r"other=([0-9]+)"},
]
RATE = {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1"}
CATEGORY = {"Name": "opt", "Values": ["a", "b"]}


def trial(number: int, status: str = "Completed", objective: float | None = None, **more: Any) -> Trial:  # noqa: ANN401
    ended = {"Completed": "Succeeded", "Stopped": "Succeeded", "Failed": "Failed"}.get(status, "Pending")
    outcome = "Failed" if ended == "Succeeded" and objective is None else ended
    return Trial(
        number, f"job-{number:03d}", {"lr": str(number)}, status, objective, outcome, **{"in_study": number, **more}
    )


def request(**config: object) -> dict[str, Any]:
    return {
        "HyperParameterTuningJobName": "job",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {"ContinuousParameterRanges": [RATE]},
            **config,
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "File", "MetricDefinitions": METRICS},
            "RoleArn": "r",
            "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            "StaticHyperParameters": {"epochs": "3"},
        },
        "Tags": [{"Key": "kennel:on", "Value": "docker"}],
    }


def test_counters_tell_interrupted_trials_from_failed_ones() -> None:
    several = [
        trial(1, objective=1.0),
        trial(2),
        trial(3, "Failed"),
        trial(4, "Failed", is_interrupted=True),
        trial(5, "Stopped", 2.0),
        trial(6, "InProgress"),
        trial(7, "Stopping"),
    ]
    assert status_counters(several) == {
        "Completed": 2,
        "InProgress": 2,
        "RetryableError": 1,
        "NonRetryableError": 1,
        "Stopped": 1,
    }
    assert objective_counters(several) == {"Succeeded": 2, "Pending": 2, "Failed": 3}
    assert objectives_of([*several, trial(8, objective=0.0, is_parents=True)]) == [1.0, 2.0]


def test_best_trial_is_one_that_completed_if_any_did() -> None:
    stopped, worse, better = trial(1, "Stopped", 0.1), trial(2, objective=0.5), trial(3, objective=0.4)
    assert best_of([stopped, worse, better, trial(4)], minimize=True) is better
    assert best_of([stopped, worse, better], minimize=False) is worse
    assert best_of([stopped, trial(4)], minimize=True) is stopped
    assert best_of([trial(4), trial(5, "Failed")], minimize=True) is None


def test_trials_are_read_as_they_were_written(tmp_path: Path) -> None:
    several = [
        trial(1, objective=0.25, history=(0.5, 0.25), seconds=3),
        trial(2, "Failed", reason="why", is_interrupted=True, definition="one", draw=4),
    ]
    write_trials(tmp_path / "trials.json", several)
    assert read_trials(tmp_path / "trials.json") == several
    assert read_trials(tmp_path / "none.json") == []
    first = json.loads((tmp_path / "trials.json").read_text())[0]
    assert first["TrainingJobName"] == "job-001" and first["history"] == [0.5, 0.25] and first["stopped_early"] is False


def test_damaged_file_of_trials_is_named(tmp_path: Path) -> None:
    file = tmp_path / "trials.json"
    file.write_text('[{"number": 1}]')
    with pytest.raises(ValueError, match="trials.json holds no trials: KeyError"):
        read_trials(file)


def test_long_history_keeps_its_ends_on_disk(tmp_path: Path) -> None:
    values = tuple(float(each) for each in range(2501))
    write_trials(tmp_path / "trials.json", [trial(1, objective=2500.0, history=values)])
    kept = read_trials(tmp_path / "trials.json")[0].history
    assert kept[0] == 0.0 and kept[-1] == 2500.0 and 500 <= len(kept) <= 1000 and list(kept) == sorted(kept)


def test_objective_is_the_last_value_in_the_log_and_its_history_is_all_of_them(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("begin\nepoch=1 valid_loss=9 loss=2.5\nepoch=2 loss=1e-1 loss=nan\nother=3\n")
    watch = TrialWatch(log, METRICS, "loss")
    assert watch.read() == [2.5, 0.1]
    with log.open("a") as stream:
        stream.write("loss=low\nfinal loss=0.2\n")
    assert watch.read() == [0.2] and watch.values == (2.5, 0.1, 0.2)
    ended = watch.ended(trial(1, "InProgress"), {"TrainingJobStatus": "Completed", "TrainingTimeInSeconds": 7})
    assert (ended.objective, ended.objective_status, ended.seconds) == (0.2, "Succeeded", 7)
    stopped = watch.ended(trial(1, "Stopping", stopped_early=True), {"TrainingJobStatus": "Stopped"})
    assert stopped.objective == 0.2 and stopped.stopped_early
    too_late = watch.ended(trial(1, "Stopping", stopped_early=True), {"TrainingJobStatus": "Completed"})
    assert not too_late.stopped_early
    failed = watch.ended(trial(1, "InProgress"), {"TrainingJobStatus": "Failed", "FailureReason": "x"})
    assert (failed.objective, failed.objective_status, failed.reason) == (None, "Failed", "x")


def test_objective_that_never_appeared_says_what_was_tried_on_what(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("begin\nepoch 2 loss: 0.5\nbye\n")
    watch = TrialWatch(log, METRICS, "loss")
    assert watch.read() == []
    ended = watch.ended(trial(1, "InProgress"), {"TrainingJobStatus": "Completed"})
    assert (ended.status, ended.objective, ended.objective_status) == ("Completed", None, "Failed")
    assert ended.reason is not None
    for part in (r"regex '(?:^|\s)loss=(\S+)'", f"the 3 lines of {log}", "such as 'epoch 2 loss: 0.5'"):
        assert part in ended.reason
    stopped = watch.ended(trial(1, "Stopping"), {"TrainingJobStatus": "Stopped"})
    assert stopped.reason == "The training job was stopped before it printed the objective metric 'loss'"


@pytest.mark.parametrize(
    ("criteria", "values", "words"),
    [
        ({}, [0.1] * 50, None),
        ({"TargetObjectiveMetricValue": 0.5}, [0.9, 0.51], None),
        ({"TargetObjectiveMetricValue": 0.5}, [0.9, 0.5], "TargetObjectiveMetricValue 0.5"),
        ({"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}}, [1.0, 1.0, 1.0], None),
        ({"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}}, [1.0] * 4, "3 training jobs did"),
        ({"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}, [1.0] * 15, "has converged"),
        ({"ConvergenceDetected": {"CompleteOnConvergence": "Disabled"}}, [1.0] * 15, None),
    ],
)
def test_criteria_of_completion(criteria: dict[str, Any], values: list[float], words: str | None) -> None:
    completion = Completion({"ResourceLimits": {}, "TuningJobCompletionCriteria": criteria}, minimize=True)
    reached = completion.reached([trial(index, objective=value) for index, value in enumerate(values)], runtime_s=9e9)
    assert (reached is None) if words is None else (reached is not None and words in reached)


def test_runtime_completes_a_search_and_convergence_is_told_with_its_time() -> None:
    completion = Completion({"ResourceLimits": {"MaxRuntimeInSeconds": 120}}, minimize=True)
    assert completion.reached([], runtime_s=119) is None
    assert completion.reached([], runtime_s=121) == "MaxRuntimeInSeconds 120 has passed"
    assert completion.details([trial(1, objective=1.0)]) == {"NumberOfTrainingJobsObjectiveNotImproving": 0}
    several = [trial(number, objective=1.0) for number in range(15)]
    details = completion.details(several)
    assert details["NumberOfTrainingJobsObjectiveNotImproving"] == 14
    assert (
        completion.details([*several, trial(16, objective=0.1)])["ConvergenceDetectedTime"]
        == (details["ConvergenceDetectedTime"])
    )


def test_request_of_a_trial_is_a_training_jobs_with_what_was_drawn() -> None:
    wanted = seeded(request())
    [definition] = definitions_of(wanted)
    assert not definition.plan.minimize and definition.plan.most == 20
    made = trial_request(wanted, definition, "job-001-x", {"lr": "0.01"})
    assert made["HyperParameters"] == {"epochs": "3", "_tuning_objective_metric": "loss", "lr": "0.01"}
    assert made["TuningJobArn"].endswith(":hyper-parameter-tuning-job/job") and made["Tags"] == wanted["Tags"]
    assert made["ResourceConfig"]["InstanceCount"] == 1 and "StaticHyperParameters" not in made
    saved = {**definition.content, "CheckpointConfig": {"S3Uri": "s3://b/saved/"}}
    own = trial_request(wanted, replace(definition, content=saved), "job-001-x", {})
    assert own["CheckpointConfig"] == {"S3Uri": "s3://b/saved/job-001-x"}


def test_names_and_numbers_of_trials() -> None:
    assert trial_name("job", 7).startswith("job-007-") and len(trial_name("a" * 32, 1000)) <= 63
    assert trial_name("job", 7) != trial_name("job", 7)
    limits = {"MaxParallelTrainingJobs": 1}
    assert most_jobs(request(ResourceLimits=limits)) == 750
    assert most_jobs(request(ResourceLimits=limits, Strategy="Random")) == 10_000
    grid = {"CategoricalParameterRanges": [CATEGORY, {"Name": "x", "Values": ["1", "2", "3"]}]}
    assert most_jobs(request(ResourceLimits=limits, Strategy="Grid", ParameterRanges=grid)) == 6


def test_seed_that_was_drawn_is_kept_in_the_request_and_not_shown() -> None:
    drawn = seeded(request())
    assert 0 <= drawn["HyperParameterTuningJobConfig"]["RandomSeed"] < 2**31
    assert seeded(drawn) == drawn
    assert "RandomSeed" not in first_description(drawn, with_seed=False)["HyperParameterTuningJobConfig"]
    given = first_description(seeded(request(RandomSeed=5)), with_seed=True)
    assert given["HyperParameterTuningJobConfig"]["RandomSeed"] == 5


def test_parents_give_the_trials_that_counted_in_terms_of_the_new_ranges() -> None:
    parent = seeded(request(ParameterRanges={"CategoricalParameterRanges": [CATEGORY]}))
    parent["TrainingJobDefinition"]["StaticHyperParameters"] = {"lr": "0.05"}
    found = [
        replace(trial(1, objective=1.0), parameters={"opt": "a"}),
        trial(2, "Failed"),
        replace(trial(3, objective=0.5), is_parents=True),
    ]
    [inherited] = parents_trials(parent, found, definitions_of(seeded(request())))
    assert inherited.parameters == {"lr": "0.05"}  # static there, tunable here
    assert inherited.is_parents and inherited.objective == 1.0 and inherited.name == "job-001"
