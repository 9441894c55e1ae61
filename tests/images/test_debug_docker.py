"""A hook, rules and a profiler with the built image: what it saves is watched from outside while it trains."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from built_images import BuiltImages
from kennel.local import daemon
from local_service import BUCKET, Client, left_of, training_request, wait_until


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Clients of a service whose jobs are containers."""
    runs = tmp_path / "runs"
    yield Client(daemon.start(runs, on="docker"))
    daemon.stop(runs)
    assert not left_of(runs)


def test_a_job_in_the_built_image_is_watched_by_rules(
    client: Client, built: BuiltImages, make_folder: Callable[..., Path]
) -> None:
    def rule(name: str) -> dict[str, object]:
        return {"RuleConfigurationName": name, "RuleEvaluatorImage": "x", "RuleParameters": {"rule_to_invoke": name}}

    request = training_request("watched")
    request["AlgorithmSpecification"] = {"TrainingImage": built.train, "TrainingInputMode": "File"}
    request["HyperParameters"] = {
        "weights": "none",
        "trainable": "all",
        "epochs": "3",
        "batch-size": "8",
        "image-size": "32",
    }
    source = {"S3DataType": "S3Prefix", "S3Uri": make_folder().as_uri()}
    client.sagemaker.create_training_job(
        **request,
        InputDataConfig=[{"ChannelName": "data", "DataSource": {"S3DataSource": source}}],
        DebugHookConfig={"S3OutputPath": f"s3://{BUCKET}/debug"},
        DebugRuleConfigurations=[rule("ExplodingTensor"), rule("StalledTrainingRule")],
        ProfilerConfig={"S3OutputPath": f"s3://{BUCKET}/debug"},
        ProfilerRuleConfigurations=[rule("ProfilerReport")],
    )
    wait_until(
        lambda: client.job("watched")["TrainingJobStatus"] not in ("InProgress", "Stopping"),
        deadline_s=300,
        what="the end",
    )
    job = client.job("watched")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")

    def statuses() -> dict[str, str]:
        described = client.job("watched")
        both = described["DebugRuleEvaluationStatuses"] + described["ProfilerRuleEvaluationStatuses"]
        return {each["RuleConfigurationName"]: each["RuleEvaluationStatus"] for each in both}

    wait_until(lambda: "InProgress" not in statuses().values(), deadline_s=120, what="the rules' end")
    assert statuses()["ExplodingTensor"] == statuses()["StalledTrainingRule"] == "NoIssuesFound"
    report = json.loads((client.runs / "watched" / "rules" / "ExplodingTensor.json").read_text())
    assert report["steps_seen"] > 0
    ml = client.runs / "watched" / "ml"
    assert json.loads((ml / "output" / "tensors" / "kennel.json").read_text())["version"] == 1
    assert (ml / "output" / "profiler" / "kennel-timeline.json").exists()  # by train.py, in the container
    assert list((ml / "output" / "profiler" / "system" / "incremental").rglob("*.algo-1.json"))  # from outside it
    listed = client.s3.list_objects_v2(Bucket=BUCKET, Prefix="debug/watched/debug-output/events/")
    assert listed["KeyCount"] > 0
