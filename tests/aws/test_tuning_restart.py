"""What a search survives: a service that is killed in the middle of it, a damaged journal, a service that ends."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kennel.local import daemon
from kennel.local.settings import Layout
from kennel.local.state import is_locked
from local_service import BUCKET, Client, left_of, training_request, wait_until

Start = Callable[[], Client]
JOBS = 6
INPUT = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/pictures"}


def begin(client: Client, name: str, *, orders: dict[str, str], seed: int = 4) -> None:
    client.s3.put_object(Bucket=BUCKET, Key="pictures/dogs/1.jpg", Body=b"dog")
    training = training_request("unused")
    metrics = [{"Name": "objective", "Regex": r"objective=([0-9.]+)"}]
    rate = {"Name": "lr", "MinValue": "0.0001", "MaxValue": "1", "ScalingType": "Logarithmic"}
    shared = {key: training[key] for key in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")}
    client.sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name,
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "RandomSeed": seed,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "objective"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": JOBS, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {"ContinuousParameterRanges": [rate]},
        },
        TrainingJobDefinition={
            "AlgorithmSpecification": {**training["AlgorithmSpecification"], "MetricDefinitions": metrics},
            **shared,
            "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": INPUT}}],
            "StaticHyperParameters": {"objective": "1", **orders},
        },
    )


def search(client: Client, name: str) -> dict[str, Any]:
    return client.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def ended_search(client: Client, name: str) -> dict[str, Any]:
    ended = ("Completed", "Failed", "Stopped")
    wait_until(lambda: search(client, name)["HyperParameterTuningJobStatus"] in ended, what=f"the end of {name}")
    return search(client, name)


def kept_trials(runs: Path, name: str) -> list[dict[str, Any]]:
    """None before the first was begun."""
    file = runs / name / "trials.json"
    return json.loads(file.read_text()) if file.exists() else []


def wait_for_the_middle(client: Client, runs: Path, name: str) -> None:
    """Two trials have completed, and two are in the middle of their steps."""

    def is_middle() -> bool:
        counted = Counter(each["status"] for each in kept_trials(runs, name))
        return counted["Completed"] >= 2 and counted["InProgress"] == 2

    wait_until(is_middle, what="the middle of the search")
    for trial in kept_trials(runs, name):
        client.wait_for_line(trial["TrainingJobName"], "step=1")


def kill_service(client: Client) -> None:
    os.kill(client.state.pid, signal.SIGKILL)
    lock = Layout(client.runs).lock_file
    wait_until(lambda: not is_locked(lock), what="its end")


def test_search_goes_on_by_itself_after_kill_9_and_is_the_same_search(start: Start, own_runs: Path) -> None:
    client = start()
    begin(client, "cut", orders={"steps": "5", "step-s": "0.2"})
    wait_for_the_middle(client, own_runs, "cut")
    kill_service(client)
    before = kept_trials(own_runs, "cut")
    with (own_runs / "cut" / "search.log").open("ab") as stream:
        stream.write(b'{"op_code":6,"study_id"')  # it died in the middle of a line

    client = start()
    job = ended_search(client, "cut")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    counters = job["TrainingJobStatusCounters"]
    assert counters["Completed"] == JOBS and counters["RetryableError"] == 2
    assert job["ObjectiveStatusCounters"] == {"Succeeded": JOBS, "Pending": 0, "Failed": 2}
    after = kept_trials(own_runs, "cut")
    done = [each for each in before if each["status"] == "Completed"]
    assert [each for each in after if each["number"] in [kept["number"] for kept in done]] == done
    interrupted = [each for each in after if each["status"] == "Failed"]
    assert [each["number"] for each in interrupted] == [
        each["number"] for each in before if each["status"] == "InProgress"
    ]
    for each in interrupted:
        assert each["reason"].startswith("InternalServerError: the local SageMaker ended while the job was in")
        again = [other for other in after if other["parameters"] == each["parameters"] and other is not each]
        assert [other["status"] for other in again] == ["Completed"]
        assert again[0]["TrainingJobName"] != each["TrainingJobName"] and again[0]["number"] > each["number"]
    # The local S3 was lost with the first service, but not what the search still needed.
    pictures = [own_runs / each["TrainingJobName"] / "ml/input/data/train/dogs/1.jpg" for each in after]
    assert [path.read_text() for path in pictures] == ["dog"] * (JOBS + 2)
    assert not (own_runs / "cut" / "shared").exists() and not (own_runs / "cut" / "inputs").exists()
    best = min(after, key=lambda each: each["objective"] or 99)
    assert job["BestTrainingJob"]["TrainingJobName"] == best["TrainingJobName"]

    begin(client, "straight", orders={"steps": "1"})
    ended_search(client, "straight")
    completed = {each["parameters"]["lr"] for each in after if each["status"] == "Completed"}
    assert {each["parameters"]["lr"] for each in kept_trials(own_runs, "straight")} == completed


def test_search_survives_kills_at_its_beginning_and_while_it_is_stopping(start: Start, own_runs: Path) -> None:
    client = start()
    begin(client, "young", orders={"steps": "2"})
    kill_service(client)  # most likely before its first trial
    client = start()
    assert ended_search(client, "young")["TrainingJobStatusCounters"]["Completed"] == JOBS

    begin(client, "ending", orders={"steps": "1000", "step-s": "0.1", "on-sigterm": "ignore"})
    wait_until(lambda: len(kept_trials(own_runs, "ending")) == 2, what="two trials")
    for trial in kept_trials(own_runs, "ending"):
        client.wait_for_line(trial["TrainingJobName"], "step=0")
    client.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="ending")
    assert search(client, "ending")["HyperParameterTuningJobStatus"] == "Stopping"
    kill_service(client)
    client = start()
    job = ended_search(client, "ending")
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert len(kept_trials(own_runs, "ending")) == 2 and job["TrainingJobStatusCounters"]["InProgress"] == 0


def test_search_that_has_ended_is_found_again(start: Start, own_runs: Path) -> None:
    client = start()
    begin(client, "old", orders={"steps": "1"})
    before = ended_search(client, "old")
    trials = client.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName="old")
    assert daemon.stop(own_runs)
    (own_runs / "old" / "shared").mkdir()  # left by a service that was killed while it removed it
    client = start()
    after = search(client, "old")
    again = client.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName="old")
    for each in (before, after, trials, again):
        del each["ResponseMetadata"]
    assert after == before and again == trials and len(trials["TrainingJobSummaries"]) == JOBS
    assert not (own_runs / "old" / "shared").exists()


def test_sigterm_to_the_service_stops_the_search_and_its_trials(start: Start, own_runs: Path) -> None:
    client = start()
    begin(client, "stopped", orders={"steps": "1000", "step-s": "0.1"})
    wait_until(lambda: len(kept_trials(own_runs, "stopped")) == 2, what="two trials")
    names = [each["TrainingJobName"] for each in kept_trials(own_runs, "stopped")]
    for name in names:
        client.wait_for_line(name, "step=1")
    os.kill(client.state.pid, signal.SIGTERM)
    wait_until(lambda: not left_of(own_runs) and daemon.status(own_runs) is None, what="the end of the service")
    wait_until(lambda: not is_locked(Layout(own_runs).lock_file), what="its last thread")
    job = json.loads((own_runs / "stopped" / "tuning.json").read_text())["description"]
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert job["FailureReason"].startswith("The local SageMaker was stopped, and the search with it")
    assert job["TrainingJobStatusCounters"]["Stopped"] == 2
    assert [each["status"] for each in kept_trials(own_runs, "stopped")] == ["Stopped", "Stopped"]
    assert all((own_runs / name / "model.tar.gz").exists() for name in names)
