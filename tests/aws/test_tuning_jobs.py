"""Tuning jobs through plain boto3, with stand-in trainings whose objective is a function of their hyperparameters."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_service import Client, training_request, wait_until

OBJECTIVE = [{"Name": "objective", "Regex": r"objective=([0-9.]+)"}, {"Name": "loss", "Regex": r"loss=([0-9.]+)"}]
RATE = {"Name": "lr", "MinValue": "0.0001", "MaxValue": "1", "ScalingType": "Logarithmic"}
BATCH = {"Name": "batch", "Values": ['"16"', '"32"', '"64"']}
ENDED = ("Completed", "Failed", "Stopped")


def tuning_request(
    name: str,
    *,
    jobs: int | None = 4,
    parallel: int = 2,
    orders: dict[str, str] | None = None,
    ranges: dict[str, Any] | None = None,
    definition: dict[str, Any] | None = None,
    **config: object,
) -> dict[str, Any]:
    """CreateHyperParameterTuningJob's request for searches of the stand-in program."""
    training = training_request("unused")
    algorithm = {**training["AlgorithmSpecification"], "MetricDefinitions": OBJECTIVE}
    shared = {key: training[key] for key in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")}
    static = {"objective": "1", "steps": "3", **(orders or {})}
    limits = {"MaxParallelTrainingJobs": parallel, **({} if jobs is None else {"MaxNumberOfTrainingJobs": jobs})}
    wanted = {"ContinuousParameterRanges": [RATE], "CategoricalParameterRanges": [BATCH]} if ranges is None else ranges
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "objective"},
            "ResourceLimits": limits,
            "ParameterRanges": wanted,
            **config,
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": algorithm,
            **shared,
            "StaticHyperParameters": static,
            **(definition or {}),
        },
    }


def tune(client: Client, name: str, *, outer: dict[str, Any] | None = None, **changes: Any) -> None:  # noqa: ANN401
    client.sagemaker.create_hyper_parameter_tuning_job(**tuning_request(name, **changes), **(outer or {}))


def search(client: Client, name: str) -> dict[str, Any]:
    return client.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def ended_search(client: Client, name: str) -> dict[str, Any]:
    wait_until(
        lambda: search(client, name)["HyperParameterTuningJobStatus"] in ENDED,
        what=f"the end of {name}",
        deadline_s=120,
    )
    return search(client, name)


def trials(client: Client, name: str, **how: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    answer = client.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, **{"MaxResults": 100, **how}
    )
    return answer["TrainingJobSummaries"]


def kept_trials(client: Client, name: str) -> list[dict[str, Any]]:
    return json.loads((client.runs / name / "trials.json").read_text())


def wait_for_trials(client: Client, name: str, count: int, *, status: str = "InProgress") -> None:
    wait_until(
        lambda: len(trials(client, name, StatusEquals=status)) >= count, what=f"{count} {status} trials of {name}"
    )


def test_search_completes_with_its_best_training_job(client: Client) -> None:
    tune(client, "hpo-whole", jobs=6, outer={"Tags": [{"Key": "owner", "Value": "tests"}]})
    first = search(client, "hpo-whole")
    assert first["HyperParameterTuningJobStatus"] == "InProgress"
    job = ended_search(client, "hpo-whole")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"] == {
        "Completed": 6,
        "InProgress": 0,
        "RetryableError": 0,
        "NonRetryableError": 0,
        "Stopped": 0,
    }
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 6, "Pending": 0, "Failed": 0}
    assert job["HyperParameterTuningEndTime"] >= job["CreationTime"]
    assert job["ConsumedResources"]["RuntimeInSeconds"] >= 1
    found = trials(client, "hpo-whole")
    values = [each["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for each in found]
    best = job["BestTrainingJob"]
    assert best["FinalHyperParameterTuningJobObjectiveMetric"] == {
        "Type": "Minimize",
        "MetricName": "objective",
        "Value": min(values),
    }
    assert best["TunedHyperParameters"] == found[values.index(min(values))]["TunedHyperParameters"]
    assert isinstance(best["TrainingEndTime"], datetime) and best["ObjectiveStatus"] == "Succeeded"
    assert "FailureReason" not in job and "OverallBestTrainingJob" not in job
    tags = client.sagemaker.list_tags(ResourceArn=job["HyperParameterTuningJobArn"])["Tags"]
    assert tags == client.sagemaker.list_tags(ResourceArn=best["TrainingJobArn"])["Tags"]
    assert tags == [{"Key": "owner", "Value": "tests"}]


def test_trial_is_a_training_job_that_says_what_it_belongs_to(client: Client) -> None:
    tune(client, "hpo-parts", jobs=1, parallel=1, orders={"look": "1"})
    arn = ended_search(client, "hpo-parts")["HyperParameterTuningJobArn"]
    [trial] = trials(client, "hpo-parts")
    assert (
        trial["TrainingJobName"].startswith("hpo-parts-001-")
        and len(trial["TrainingJobName"]) == len("hpo-parts-001-") + 8
    )
    job = client.job(trial["TrainingJobName"])
    assert job["TuningJobArn"] == arn
    tuned = trial["TunedHyperParameters"]
    assert set(tuned) == {"lr", "batch"} and tuned["batch"] in BATCH["Values"] and 0.0001 <= float(tuned["lr"]) <= 1
    static = {"objective": "1", "steps": "3", "look": "1", "_tuning_objective_metric": "objective"}
    assert job["HyperParameters"] == {**static, **tuned}
    assert {each["MetricName"] for each in job["FinalMetricDataList"]} == {"objective", "loss"}
    seen = (client.runs / trial["TrainingJobName"] / "log.txt").read_text()
    assert f'"KENNEL_SHARED_DIR": "{client.runs}/hpo-parts/shared"' in seen
    assert not (client.runs / "hpo-parts" / "shared").exists()
    assert client.s3.head_object(
        Bucket="sagemaker-us-east-1-123456789012", Key=f"results/{trial['TrainingJobName']}/output/model.tar.gz"
    )


def test_file_of_trials_says_what_the_api_says(client: Client) -> None:
    tune(client, "hpo-filed", jobs=2)
    ended_search(client, "hpo-filed")
    shown = {each["TrainingJobName"]: each for each in trials(client, "hpo-filed")}
    for number, kept in enumerate(kept_trials(client, "hpo-filed"), 1):
        summary = shown[kept["TrainingJobName"]]
        assert kept["number"] == number and kept["parameters"] == summary["TunedHyperParameters"]
        assert kept["objective"] == summary["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
        assert kept["history"][-1] == kept["objective"] and len(kept["history"]) == 3
        assert (kept["status"], kept["objective_status"]) == ("Completed", "Succeeded")
        assert (kept["is_parents"], kept["stopped_early"], kept["reason"]) == (False, False, None)
        assert kept["seconds"] == client.job(kept["TrainingJobName"])["TrainingTimeInSeconds"]


def test_never_more_trials_at_once_than_asked_for(client: Client) -> None:
    tune(client, "hpo-narrow", jobs=5, parallel=2, orders={"step-s": "0.1"})
    most = 0
    while search(client, "hpo-narrow")["HyperParameterTuningJobStatus"] == "InProgress":
        running = search(client, "hpo-narrow")["TrainingJobStatusCounters"]["InProgress"]
        most = max(most, running, len(trials(client, "hpo-narrow", StatusEquals="InProgress")))
        time.sleep(0.05)
    assert most == 2
    assert len(trials(client, "hpo-narrow")) == 5


def test_description_has_what_the_sdk_counts_on(client: Client) -> None:
    tune(client, "hpo-shown", jobs=1, parallel=1, ranges={"ContinuousParameterRanges": [RATE]})
    job = ended_search(client, "hpo-shown")
    config = job["HyperParameterTuningJobConfig"]
    assert config["ParameterRanges"] == {
        "ContinuousParameterRanges": [RATE],
        "IntegerParameterRanges": [],
        "CategoricalParameterRanges": [],
    }
    assert config["TrainingJobEarlyStoppingType"] == "Off" and "RandomSeed" not in config
    assert job["TrainingJobDefinition"]["StaticHyperParameters"]["_tuning_objective_metric"] == "objective"
    assert job["TuningJobCompletionDetails"] == {"NumberOfTrainingJobsObjectiveNotImproving": 0}


def test_random_search_with_a_seed_is_the_same_again_whatever_its_trials_take(client: Client) -> None:
    tune(client, "hpo-seeded-a", jobs=6, parallel=3, RandomSeed=5, orders={"step-s": "0.05"})
    tune(client, "hpo-seeded-b", jobs=6, parallel=1, RandomSeed=5, orders={"steps": "1"})
    tune(client, "hpo-seeded-c", jobs=6, parallel=3, RandomSeed=6, orders={"steps": "1"})
    tried = {}
    for name in ("hpo-seeded-a", "hpo-seeded-b", "hpo-seeded-c"):
        assert ended_search(client, name)["HyperParameterTuningJobStatus"] == "Completed"
        tried[name] = [each["parameters"] for each in kept_trials(client, name)]
    assert tried["hpo-seeded-a"] == tried["hpo-seeded-b"] != tried["hpo-seeded-c"]


def test_grid_tries_every_combination_once(client: Client) -> None:
    ranges = {"CategoricalParameterRanges": [BATCH, {"Name": "lr", "Values": ["0.1", "0.01"]}]}
    tune(client, "hpo-grid", jobs=None, parallel=3, Strategy="Grid", ranges=ranges, orders={"steps": "1"})
    job = ended_search(client, "hpo-grid")
    assert job["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"] == 6
    assert {tuple(sorted(each["TunedHyperParameters"].items())) for each in trials(client, "hpo-grid")} == {
        (("batch", batch), ("lr", lr)) for batch in BATCH["Values"] for lr in ("0.1", "0.01")
    }
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"batch": '"32"', "lr": "0.01"}


def test_hyperband_stops_trials_before_their_last_epoch(client: Client) -> None:
    tune(
        client,
        "hpo-bands",
        jobs=8,
        parallel=2,
        Strategy="Hyperband",
        RandomSeed=3,
        orders={"epochs": "9", "steps": "9", "step-s": "0.2"},
    )
    assert ended_search(client, "hpo-bands")["HyperParameterTuningJobStatus"] == "Completed"
    kept = kept_trials(client, "hpo-bands")
    stopped = [each for each in kept if each["stopped_early"]]
    assert stopped and len(stopped) < len(kept)
    assert all(each["status"] == "Stopped" and each["objective_status"] == "Succeeded" for each in stopped)
    assert all(len(each["history"]) < 9 for each in stopped)


def test_early_stopping_stops_a_trial_that_is_worse_than_the_median(client: Client) -> None:
    ranges = {"CategoricalParameterRanges": [{"Name": "lr", "Values": ["0.01", "0.02", "0.011", "0.009", "1"]}]}
    tune(
        client,
        "hpo-median",
        jobs=None,
        parallel=1,
        Strategy="Grid",
        ranges=ranges,
        RandomSeed=0,
        TrainingJobEarlyStoppingType="Auto",
        orders={"steps": "8", "step-s": "0.2"},
    )
    job = ended_search(client, "hpo-median")
    kept = {each["parameters"]["lr"]: each for each in kept_trials(client, "hpo-median")}
    assert [each["parameters"]["lr"] for each in kept_trials(client, "hpo-median")].index("1") >= 3, (
        "choose another seed"
    )
    assert kept["1"]["status"] == "Stopped" and kept["1"]["stopped_early"] and len(kept["1"]["history"]) < 8
    assert kept["1"]["objective"] == kept["1"]["history"][-1]
    assert kept["0.01"]["status"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Stopped"] >= 1
    message = client.job(kept["1"]["TrainingJobName"])["SecondaryStatusTransitions"][-1]["StatusMessage"]
    assert message.startswith("Stopped early: its objective is worse")


def test_failed_trial_does_not_end_the_search(client: Client) -> None:
    ranges = {"CategoricalParameterRanges": [{"Name": "lr", "Values": ["0.1", "0.01", "1"]}]}
    tune(client, "hpo-bumpy", jobs=None, Strategy="Grid", ranges=ranges, orders={"fail-above": "0.5"})
    job = ended_search(client, "hpo-bumpy")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 1
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 2, "Pending": 0, "Failed": 1}
    [failed] = trials(client, "hpo-bumpy", StatusEquals="Failed")
    assert failed["FailureReason"].startswith("AlgorithmError: lr 1 is too high")
    assert failed["ObjectiveStatus"] == "Failed" and "FinalHyperParameterTuningJobObjectiveMetric" not in failed


def test_search_fails_when_every_trial_did_and_gives_the_first_reason(client: Client) -> None:
    tune(client, "hpo-hopeless", jobs=3, orders={"fail": "There are no pictures"})
    job = ended_search(client, "hpo-hopeless")
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("No training job succeeded after 3 attempts.")
    assert "AlgorithmError: There are no pictures" in job["FailureReason"]
    assert "BestTrainingJob" not in job


def test_metric_that_never_appears_is_a_failed_objective_that_says_so(client: Client) -> None:
    definition = {
        "AlgorithmSpecification": {
            **tuning_request("x")["TrainingJobDefinition"]["AlgorithmSpecification"],
            "MetricDefinitions": [{"Name": "objective", "Regex": "accuracy: ([0-9.]+)"}],
        }
    }
    tune(client, "hpo-blind", jobs=2, definition=definition)
    job = ended_search(client, "hpo-blind")
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["TrainingJobStatusCounters"]["Completed"] == 2
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 0, "Pending": 0, "Failed": 2}
    reason = trials(client, "hpo-blind")[0]["FailureReason"]
    assert "the objective metric 'objective' was not found: its regex 'accuracy: ([0-9.]+)' found no number" in reason
    assert "in the 3 lines of" in reason and "such as 'step=2 loss=0.3333 objective=" in reason
    assert reason in job["FailureReason"]


def test_stopped_trial_counts_by_its_last_objective_and_the_search_goes_on(client: Client) -> None:
    tune(client, "hpo-nudged", jobs=2, parallel=1, orders={"steps": "6", "step-s": "0.4"})
    wait_for_trials(client, "hpo-nudged", 1)
    name = trials(client, "hpo-nudged")[0]["TrainingJobName"]
    client.wait_for_line(name, "step=1")
    client.sagemaker.stop_training_job(TrainingJobName=name)
    job = ended_search(client, "hpo-nudged")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    first, second = trials(client, "hpo-nudged")
    assert (first["TrainingJobStatus"], first["ObjectiveStatus"]) == ("Stopped", "Succeeded")
    assert not kept_trials(client, "hpo-nudged")[0]["stopped_early"]
    assert job["BestTrainingJob"]["TrainingJobName"] == second["TrainingJobName"]


def test_stop_ends_the_running_trials_and_keeps_the_best(client: Client) -> None:
    tune(client, "hpo-halted", jobs=50, parallel=2, orders={"steps": "4", "step-s": "0.2"})
    wait_for_trials(client, "hpo-halted", 2, status="Completed")
    client.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="hpo-halted")
    assert search(client, "hpo-halted")["HyperParameterTuningJobStatus"] in ("Stopping", "Stopped")
    job = ended_search(client, "hpo-halted")
    assert job["HyperParameterTuningJobStatus"] == "Stopped" and "FailureReason" not in job
    assert job["TrainingJobStatusCounters"]["InProgress"] == 0 and len(trials(client, "hpo-halted")) < 50
    assert job["BestTrainingJob"]["TrainingJobStatus"] == "Completed"
    count = len(trials(client, "hpo-halted"))
    time.sleep(0.6)
    assert len(trials(client, "hpo-halted")) == count
    with pytest.raises(ClientError, match="hyperparameter tuning job is in status Stopped"):
        client.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="hpo-halted")


@pytest.mark.parametrize(
    ("name", "criteria", "most"),
    [
        ("hpo-target", {"TargetObjectiveMetricValue": 4.0}, 12),
        ("hpo-flat", {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}}, 30),
    ],
)
def test_completion_criteria_end_the_search(client: Client, name: str, criteria: dict[str, Any], most: int) -> None:
    orders = {"steps": "1"}
    tune(client, name, jobs=30, parallel=1, RandomSeed=1, TuningJobCompletionCriteria=criteria, orders=orders)
    job = ended_search(client, name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert len(trials(client, name)) < most
    if name == "hpo-flat":
        assert job["TuningJobCompletionDetails"]["NumberOfTrainingJobsObjectiveNotImproving"] == 3


def test_trials_are_listed_by_objective_status_and_page(client: Client) -> None:
    ranges = {"CategoricalParameterRanges": [{"Name": "lr", "Values": ["0.1", "0.01", "1", "0.9"]}]}
    tune(client, "hpo-pages", jobs=None, Strategy="Grid", ranges=ranges, orders={"fail-above": "0.95", "steps": "1"})
    ended_search(client, "hpo-pages")
    by_objective = trials(client, "hpo-pages", SortBy="FinalObjectiveMetricValue", SortOrder="Descending")
    assert [each["TunedHyperParameters"]["lr"] for each in by_objective] == ["0.9", "0.1", "0.01"]
    assert len(trials(client, "hpo-pages")) == 4
    names = [each["TrainingJobName"] for each in trials(client, "hpo-pages")]
    assert names == sorted(names)
    page = client.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="hpo-pages", MaxResults=3
    )
    rest = trials(client, "hpo-pages", NextToken=page["NextToken"], MaxResults=3)
    assert [each["TrainingJobName"] for each in (*page["TrainingJobSummaries"], *rest)] == names
    listed = client.sagemaker.list_hyper_parameter_tuning_jobs(NameContains="hpo-pages", StatusEquals="Completed")
    [summary] = listed["HyperParameterTuningJobSummaries"]
    assert summary["Strategy"] == "Grid" and summary["ResourceLimits"] == {
        "MaxParallelTrainingJobs": 2,
        "MaxNumberOfTrainingJobs": 4,
    }
    assert summary["ObjectiveStatusCounters"]["Succeeded"] == 3


def test_warm_start_learns_from_its_parents_and_knows_the_best_of_all(client: Client) -> None:
    tune(client, "hpo-parent", parallel=3, RandomSeed=1, orders={"steps": "1"})
    best = ended_search(client, "hpo-parent")["BestTrainingJob"]
    rates = sorted(float(each["TunedHyperParameters"]["lr"]) for each in trials(client, "hpo-parent"))
    upper = {"ContinuousParameterRanges": [{**RATE, "MinValue": str(rates[2])}], "CategoricalParameterRanges": [BATCH]}
    outer = {
        "WarmStartConfig": {
            "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "hpo-parent"}],
            "WarmStartType": "IdenticalDataAndAlgorithm",
        }
    }
    tune(client, "hpo-heir", jobs=2, Strategy="Bayesian", ranges=upper, outer=outer, orders={"steps": "1"})
    job = ended_search(client, "hpo-heir")
    value = "FinalHyperParameterTuningJobObjectiveMetric"
    overall = min(best, job["BestTrainingJob"], key=lambda each: each[value]["Value"])
    assert job["OverallBestTrainingJob"]["TrainingJobName"] == overall["TrainingJobName"]
    assert job["OverallBestTrainingJob"]["TuningJobName"] == ("hpo-parent" if overall == best else "hpo-heir")
    inherited = [each for each in kept_trials(client, "hpo-heir") if each["is_parents"]]
    assert sorted(float(each["parameters"]["lr"]) for each in inherited) == rates[2:]
    assert len(trials(client, "hpo-heir")) == 2 == job["TrainingJobStatusCounters"]["Completed"]
    log = (client.runs / ".local" / "service.log").read_text()
    assert "hpo-heir: 2 of 4 trials of the parent tuning jobs are outside the ranges and left out" in log


def test_several_definitions_are_searched_in_turn_and_the_best_of_all_is_told(client: Client) -> None:
    request = tuning_request("hpo-twins", jobs=4)
    config, content = request["HyperParameterTuningJobConfig"], request.pop("TrainingJobDefinition")
    objective, ranges = (config.pop(key) for key in ("HyperParameterTuningJobObjective", "ParameterRanges"))
    near = {"ContinuousParameterRanges": [{**RATE, "MinValue": "0.009", "MaxValue": "0.011"}]}
    request["TrainingJobDefinitions"] = [
        {**content, "DefinitionName": name, "TuningObjective": objective, "HyperParameterRanges": wanted}
        for name, wanted in (("wide", ranges), ("near", near))
    ]
    client.sagemaker.create_hyper_parameter_tuning_job(**request)
    job = ended_search(client, "hpo-twins")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    found = trials(client, "hpo-twins")
    assert [each["TrainingJobDefinitionName"] for each in found] == ["wide", "near", "wide", "near"]
    assert [set(each["TunedHyperParameters"]) for each in found[:2]] == [{"lr", "batch"}, {"lr"}]
    assert job["BestTrainingJob"]["TrainingJobDefinitionName"] == "near"
    shown = job["TrainingJobDefinitions"][1]
    assert shown["StaticHyperParameters"]["_tuning_objective_metric"] == "objective"
    assert shown["HyperParameterRanges"]["CategoricalParameterRanges"] == []


def test_names_are_shared_with_training_jobs(client: Client) -> None:
    client.train("taken-by-job")
    with pytest.raises(ClientError, match="'taken-by-job' is taken by a training job: .*choose another name"):
        tune(client, "taken-by-job")
    tune(client, "hpo-taken", jobs=1, parallel=1, orders={"steps": "1"})
    with pytest.raises(ClientError, match="'hpo-taken' is taken by a hyperparameter tuning job"):
        client.train("hpo-taken")
    with pytest.raises(client.sagemaker.exceptions.ResourceInUse, match="job with this name already exists"):
        tune(client, "hpo-taken")
    ended_search(client, "hpo-taken")
    client.finished_job("taken-by-job")


def test_what_a_trial_could_not_be_is_refused_before_anything_runs(client: Client, tmp_path: Path) -> None:
    nothing = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": (tmp_path / "nothing").as_uri()}}
    channel = [{"ChannelName": "train", "DataSource": nothing}]
    with pytest.raises(ClientError, match="Channel 'train' has nothing at"):
        tune(client, "hpo-refused", definition={"InputDataConfig": channel})
    assert not (client.runs / "hpo-refused").exists()
    with pytest.raises(
        client.sagemaker.exceptions.ResourceNotFound, match="can't find a tuning job with the name hpo-refused"
    ):
        search(client, "hpo-refused")


def test_deletion_is_refused_while_the_search_needs_what_it_would_remove(client: Client) -> None:
    tune(client, "hpo-kept", jobs=3, parallel=1, orders={"step-s": "0.3"})
    wait_for_trials(client, "hpo-kept", 1, status="Completed")
    done = trials(client, "hpo-kept", StatusEquals="Completed")[0]["TrainingJobName"]
    with pytest.raises(ClientError, match="is a trial of the tuning job 'hpo-kept', which is still running"):
        client.sagemaker.delete_training_job(TrainingJobName=done)
    with pytest.raises(ClientError, match="is in status InProgress. Stop it first"):
        client.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName="hpo-kept")
    ended_search(client, "hpo-kept")
    client.sagemaker.delete_training_job(TrainingJobName=done)
    assert done not in [each["TrainingJobName"] for each in trials(client, "hpo-kept")]
    client.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName="hpo-kept")
    assert not (client.runs / "hpo-kept").exists()
    left = client.sagemaker.list_training_jobs(NameContains="hpo-kept-")["TrainingJobSummaries"]
    assert len(left) == 2


def test_checkpoints_of_trials_do_not_meet(client: Client, tmp_path: Path) -> None:
    definition = {"CheckpointConfig": {"S3Uri": (tmp_path / "saved").as_uri()}}
    tune(client, "hpo-apart", jobs=2, parallel=1, definition=definition)
    assert ended_search(client, "hpo-apart")["TrainingJobStatusCounters"]["Completed"] == 2
    names = [each["TrainingJobName"] for each in trials(client, "hpo-apart")]
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == sorted(names)
    assert all(len(each["history"]) == 3 for each in kept_trials(client, "hpo-apart"))


def test_search_whose_channel_has_gone_ends_and_says_so(start: Callable[[], Client], tmp_path: Path) -> None:
    client = start()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").touch()
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": (tmp_path / "data").as_uri()}}
    definition = {"InputDataConfig": [{"ChannelName": "train", "DataSource": source}]}
    tune(client, "hpo-gone", jobs=9, parallel=1, definition=definition, orders={"step-s": "0.2"})
    wait_for_trials(client, "hpo-gone", 1)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    job = ended_search(client, "hpo-gone")
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert "a training job could not be started: Channel 'train' has nothing at" in job["FailureReason"]
    assert job["BestTrainingJob"]["TrainingJobStatus"] == "Completed"
