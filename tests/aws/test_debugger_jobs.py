"""Hooks, profilers and rules of training jobs through plain boto3, with stand-ins for the programs beside the job."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from kennel.local.settings import Layout
from kennel.local.state import is_locked
from local_service import BUCKET, Client, all_of, is_gone, left_of, wait_until

Start = Callable[[], Client]
HOOK = {"S3OutputPath": f"s3://{BUCKET}/debug"}
PROFILER = {"S3OutputPath": f"s3://{BUCKET}/profiles", "ProfilingIntervalInMilliseconds": 500}


def rule(name: str, said: str = "InProgress NoIssuesFound", **parameters: str) -> dict[str, Any]:
    """An entry of DebugRuleConfigurations or ProfilerRuleConfigurations for the stand-in."""
    return {
        "RuleConfigurationName": name,
        "RuleEvaluatorImage": "503895931360.dkr.ecr.us-east-1.amazonaws.com/sagemaker-debugger-rules:latest",
        "RuleParameters": {"rule_to_invoke": "Overfit", "said": said, **parameters},
    }


def statuses(client: Client, job: str, kind: str = "Debug") -> dict[str, dict[str, Any]]:
    described = client.job(job)
    return {each["RuleConfigurationName"]: each for each in described[f"{kind}RuleEvaluationStatuses"]}


def states(client: Client, job: str, kind: str = "Debug") -> dict[str, str]:
    return {name: each["RuleEvaluationStatus"] for name, each in statuses(client, job, kind).items()}


def keys(client: Client, prefix: str) -> list[str]:
    return [each["Key"] for each in client.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


def long_job(client: Client, name: str, **changes: Any) -> None:  # noqa: ANN401  members of a request
    client.train(name, steps=1000, orders={"step-s": "0.1"}, **changes)
    client.wait_for_line(name, "step=1")


def end(client: Client, name: str) -> None:
    client.sagemaker.stop_training_job(TrainingJobName=name)
    client.finished_job(name)


def test_rule_statuses_follow_what_the_evaluators_say(client: Client) -> None:
    rules = [rule("calm"), rule("fires", "InProgress IssuesFound"), rule("breaks", "InProgress Error")]
    client.train("ruled", orders={"step-s": "0.3"}, DebugHookConfig=HOOK, DebugRuleConfigurations=rules)
    before = statuses(client, "ruled")["calm"]
    assert before["RuleEvaluationStatus"] == "InProgress"
    assert before["RuleEvaluationJobArn"].startswith(
        "arn:aws:sagemaker:us-east-1:123456789012:processing-job/ruled-calm-"
    )
    client.finished_job("ruled")
    wait_until(lambda: "InProgress" not in states(client, "ruled").values(), what="the rules' end")
    assert states(client, "ruled") == {"calm": "NoIssuesFound", "fires": "IssuesFound", "breaks": "Error"}
    assert statuses(client, "ruled")["fires"]["StatusDetails"] == "it is IssuesFound; source []"
    assert statuses(client, "ruled")["calm"]["LastModifiedTime"] >= before["LastModifiedTime"]
    assert client.job("ruled")["ProfilingStatus"] == "Disabled"
    name = before["RuleEvaluationJobArn"].rpartition("/")[2]
    processing = client.sagemaker.describe_processing_job(ProcessingJobName=name)
    assert (processing["ProcessingJobStatus"], processing["ExitMessage"]) == (
        "Completed",
        "it is NoIssuesFound; source []",
    )
    with pytest.raises(client.sagemaker.exceptions.ResourceNotFound):
        client.sagemaker.describe_processing_job(ProcessingJobName="nobody")
    assert client.job("ruled")["TrainingJobStatus"] == "Completed"


def test_debugging_output_is_in_s3_while_the_job_runs_and_marked_complete_after_it(client: Client) -> None:
    long_job(client, "stored", DebugHookConfig=HOOK, ProfilerConfig=PROFILER, DebugRuleConfigurations=[rule("one")])
    tensors = client.runs / "stored" / "ml" / "output" / "tensors"
    assert not tensors.exists()  # smdebug refuses a folder that is there beforehand
    (tensors / "events").mkdir(parents=True)
    (tensors / "events" / "first.tfevents").write_text("x")
    (tensors / "events" / "second.tfevents.tmp").write_text("x")
    wait_until(lambda: keys(client, "debug/stored/debug-output/events/"), what="a growing trial")
    wait_until(lambda: keys(client, "profiles/stored/profiler-output/system/"), what="samples")
    sampled = "profiles/stored/profiler-output/system/incremental/500.json"

    def size() -> int:
        return int(client.s3.head_object(Bucket=BUCKET, Key=sampled)["ContentLength"])

    first = size()
    wait_until(lambda: size() > first, what="a file that grows in S3 as it does on disk")
    assert not keys(client, "debug/stored/debug-output/training_job_end.ts")
    end(client, "stored")
    wait_until(lambda: keys(client, "debug/stored/debug-output/training_job_end.ts"), what="the end file")
    assert keys(client, "debug/stored/debug-output/events/") == ["debug/stored/debug-output/events/first.tfevents"]
    assert keys(client, "profiles/stored/profiler-output/framework/training_job_end.ts")
    assert keys(client, "profiles/stored/profiler-output/system/training_job_end.ts")
    assert keys(client, "results/stored/rule-output/one/") == ["results/stored/rule-output/one/one.json"]


def test_debugging_output_goes_to_a_folder_for_file_addresses(client: Client, tmp_path: Path) -> None:
    hook = {"S3OutputPath": tmp_path.as_uri()}
    long_job(client, "filed", DebugHookConfig=hook)
    tensors = client.runs / "filed" / "ml" / "output" / "tensors"
    tensors.mkdir(parents=True)
    (tensors / "a.json").write_text("1")
    copy = tmp_path / "filed" / "debug-output" / "a.json"
    wait_until(copy.exists, what="the copy")
    end(client, "filed")
    wait_until((copy.parent / "training_job_end.ts").exists, what="the end file")
    assert copy.read_text() == "1"


def test_configuration_files_are_those_of_sagemaker(client: Client) -> None:
    client.train("configured", DebugHookConfig=HOOK, ProfilerConfig={"S3OutputPath": f"s3://{BUCKET}/profiles"})
    client.finished_job("configured")
    config = client.runs / "configured" / "ml" / "input" / "config"
    assert json.loads((config / "debughookconfig.json").read_text()) == {
        "S3OutputPath": f"s3://{BUCKET}/debug",
        "LocalPath": str(client.runs / "configured" / "ml" / "output" / "tensors"),
        "HookParameters": None,
        "CollectionConfigurations": None,
    }
    assert json.loads((config / "profilerconfig.json").read_text())["ProfilingIntervalInMilliseconds"] == 500
    client.train("unprofiled", ProfilerConfig={"DisableProfiler": True})
    client.finished_job("unprofiled")
    assert not (client.runs / "unprofiled" / "ml" / "input" / "config" / "profilerconfig.json").exists()
    assert not (client.runs / "unprofiled" / "rules").exists()


def test_stop_training_action_stops_the_job_and_says_which_rule_did(client: Client) -> None:
    rules = [rule("Too high", "InProgress IssuesFound", stop="1"), rule("other", "InProgress", lasting="1")]
    client.train("halted", steps=1000, orders={"step-s": "0.1"}, DebugHookConfig=HOOK, DebugRuleConfigurations=rules)
    job = client.finished_job("halted")
    assert job["TrainingJobStatus"] == "Stopped"
    message = job["SecondaryStatusTransitions"][-1]["StatusMessage"]
    assert message == "Rule 'Too high' (Overfit) fired and stopped the job: it is IssuesFound; source []"
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("halted/output/model.tar.gz")
    assert (client.runs / "halted" / "ml" / "checkpoints" / "step.txt").exists()
    wait_until(lambda: states(client, "halted")["other"] == "Stopped", what="the end of a rule that goes on")


def test_rule_whose_evaluator_dies_is_an_error_and_the_training_goes_on(client: Client) -> None:
    rules = [rule("dead", "InProgress dies")]
    client.train("mourned", steps=10, orders={"step-s": "0.1"}, DebugHookConfig=HOOK, DebugRuleConfigurations=rules)
    assert client.finished_job("mourned")["TrainingJobStatus"] == "Completed"
    wait_until(lambda: states(client, "mourned")["dead"] == "Error", what="the error")
    details = statuses(client, "mourned")["dead"]["StatusDetails"]
    assert details == "The evaluator ended with status 3. It said: something broke"


def test_custom_rules_get_their_file_and_a_process_each(client: Client, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x")
    client.s3.put_object(Bucket=BUCKET, Key="sources/yours.py", Body=b"x")
    rules = [
        rule("mine", source_s3_uri=tmp_path.as_uri()),
        rule("yours", source_s3_uri=f"s3://{BUCKET}/sources/yours.py"),
        rule("built in"),
    ]
    client.train("custom", DebugHookConfig=HOOK, DebugRuleConfigurations=rules)
    client.finished_job("custom")
    wait_until(lambda: "InProgress" not in states(client, "custom").values(), what="the rules' end")
    assert set(states(client, "custom").values()) == {"NoIssuesFound"}
    said = {name: each["StatusDetails"].partition("source ")[2] for name, each in statuses(client, "custom").items()}
    assert said == {"mine": "['mine.py']", "yours": "['yours.py']", "built in": "[]"}
    logs = client.runs / "custom" / "rules" / "logs"
    assert sorted(log.name for log in logs.glob("*.txt")) == ["custom-0.txt", "custom-1.txt", "debug-rules.txt"]


def test_profiler_is_switched_and_its_rules_added_while_the_job_runs(client: Client) -> None:
    long_job(client, "switched")
    assert client.job("switched")["ProfilingStatus"] == "Disabled"
    samples = client.runs / "switched" / "ml" / "output" / "profiler" / "system" / "incremental"
    update = client.sagemaker.update_training_job
    answer = update(TrainingJobName="switched", ProfilerConfig=PROFILER)
    assert answer["TrainingJobArn"].endswith(":training-job/switched")
    wait_until((samples / "500.json").exists, what="samples")
    assert client.job("switched")["ProfilingStatus"] == "Enabled"

    update(TrainingJobName="switched", ProfilerConfig={"ProfilingIntervalInMilliseconds": 1000})
    wait_until((samples / "1000.json").exists, what="samples at the new interval")
    assert client.job("switched")["ProfilerConfig"]["S3OutputPath"] == PROFILER["S3OutputPath"]
    size = (samples / "500.json").stat().st_size

    update(TrainingJobName="switched", ProfilerRuleConfigurations=[rule("added", "InProgress", lasting="1")])
    wait_until(lambda: "it is" in statuses(client, "switched", "Profiler")["added"].get("StatusDetails", ""), what="it")
    update(TrainingJobName="switched", ProfilerRuleConfigurations=[rule("more", "InProgress", lasting="1")])
    assert states(client, "switched", "Profiler") == {"added": "InProgress", "more": "InProgress"}

    update(TrainingJobName="switched", ProfilerConfig={"DisableProfiler": True})
    assert client.job("switched")["ProfilingStatus"] == "Disabled"
    assert states(client, "switched", "Profiler") == {"added": "Stopped", "more": "Stopped"}
    assert (samples / "500.json").stat().st_size == size
    config = json.loads((client.runs / "switched" / "ml" / "input" / "config" / "profilerconfig.json").read_text())
    assert (config["DisableProfiler"], config["ProfilingIntervalInMilliseconds"]) == (True, 1000)

    update(TrainingJobName="switched", ProfilerConfig={"DisableProfiler": False})
    wait_until(lambda: states(client, "switched", "Profiler")["more"] == "InProgress", what="rules that look again")
    end(client, "switched")
    with pytest.raises(ClientError, match=r"rejected because the training job is in status Stopped\."):
        update(TrainingJobName="switched", ProfilerConfig={"DisableProfiler": True})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ProfilerConfig": {"ProfilingIntervalInMilliseconds": 300}}, "Invalid ProfilingIntervalInMilliseconds 300"),
        ({"ProfilerConfig": {"S3OutputPath": "s3://other/x"}}, "a job's is not changed once it is set"),
        ({"ResourceConfig": {"KeepAlivePeriodInSeconds": 60}}, "there is no warm pool on this machine"),
        ({"RemoteDebugConfig": {"EnableRemoteDebug": True}}, "RemoteDebugConfig is not supported"),
        ({"ProfilerRuleConfigurations": [rule("a", rule_to_invoke="Nonsense")]}, "'a': no rule 'Nonsense'"),
        ({"ProfilerRuleConfigurations": [rule("there")]}, "Duplicate RuleConfigurationName 'there'"),
    ],
)
def test_update_training_job_refuses(profiled: Client, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message) as caught:
        profiled.sagemaker.update_training_job(TrainingJobName="profiled", **change)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert profiled.job("profiled")["ProfilerConfig"] == PROFILER


@pytest.fixture(scope="module")
def profiled(client: Client) -> Client:
    """With the job `profiled`, which runs long enough to be asked to change."""
    rules = [rule("there", "InProgress", lasting="1")]
    long_job(client, "profiled", ProfilerConfig=PROFILER, ProfilerRuleConfigurations=rules)
    yield client  # type: ignore[misc]
    end(client, "profiled")


REFUSED = [
    ({"DebugRuleConfigurations": [rule("a")]}, "DebugRuleConfigurations needs a DebugHookConfig"),
    ({"ProfilerRuleConfigurations": [rule("a")]}, "ProfilerRuleConfigurations needs a ProfilerConfig"),
    (
        {"ProfilerRuleConfigurations": [rule("a")], "ProfilerConfig": {"DisableProfiler": True}},
        "DisableProfiler not true",
    ),
    ({"ProfilerConfig": {}}, "ProfilerConfig needs an S3OutputPath unless DisableProfiler is true"),
    (
        {"ProfilerConfig": {**PROFILER, "ProfilingIntervalInMilliseconds": 250}},
        "250 in ProfilerConfig. Expected one of: 100, 200, 500, 1000, 5000, 60000",
    ),
    ({"DebugHookConfig": {"S3OutputPath": "s3://nobody-made-this/x"}}, "DebugHookConfig: the bucket of"),
    ({"DebugHookConfig": {**HOOK, "LocalPath": "/opt/ml/output/data"}}, "not there beforehand"),
    ({"DebugHookConfig": {**HOOK, "LocalPath": "/tmp/x"}}, "'debugHookConfig.localPath' cannot be used"),
    (
        {"DebugHookConfig": {**HOOK, "HookParameters": {"train.save_interval": "0"}}},
        "'train.save_interval' of DebugHookConfig.HookParameters has value '0'. Expected a number of steps, 1 or more",
    ),
    (
        {
            "DebugHookConfig": {
                **HOOK,
                "CollectionConfigurations": [
                    {"CollectionName": "losses", "CollectionParameters": {"save_steps": "1,b"}}
                ],
            }
        },
        "'save_steps' of collection 'losses' has value '1,b'",
    ),
    (
        {"DebugHookConfig": {**HOOK, "CollectionConfigurations": [{"CollectionParameters": {"save_interval": "5"}}]}},
        "has an entry without CollectionName",
    ),
    ({"DebugHookConfig": HOOK, "DebugRuleConfigurations": [rule("a"), rule("a")]}, "Duplicate RuleConfigurationName"),
    ({"DebugHookConfig": HOOK, "DebugRuleConfigurations": [rule("../a")]}, "a folder is named after it"),
    (
        {"DebugHookConfig": HOOK, "DebugRuleConfigurations": [rule("a", source_s3_uri=f"s3://{BUCKET}/nothing.py")]},
        "Rule 'a': there is nothing at its source_s3_uri",
    ),
    (
        {"DebugHookConfig": HOOK, "DebugRuleConfigurations": [rule("a", rule_to_invoke="Nonsense")]},
        "DebugRuleConfigurations: 'a': no rule 'Nonsense'",
    ),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_create_training_job_refuses_debugging(client: Client, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message) as caught:
        client.train("refused-debugging", **changes)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert not (client.runs / "refused-debugging").exists()


def test_rules_of_a_job_that_never_ran_are_stopped(client: Client, tmp_path: Path) -> None:
    source = tmp_path / "gone"
    source.mkdir()
    key = f"s3://{BUCKET}/empty/../../x"
    client.s3.put_object(Bucket=BUCKET, Key="empty/../../x", Body=b"x")
    channel = {"ChannelName": "a", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{key[:-6]}"}}}
    client.train("unbegun", DebugHookConfig=HOOK, DebugRuleConfigurations=[rule("one")], InputDataConfig=[channel])
    assert client.finished_job("unbegun")["TrainingJobStatus"] == "Failed"
    status = statuses(client, "unbegun")["one"]
    assert (status["RuleEvaluationStatus"], status["StatusDetails"]) == ("Stopped", "The training had not begun")


def test_what_rules_found_is_there_after_a_restart(start: Start, own_runs: Path) -> None:
    client = start()
    rules = [rule("fires", "IssuesFound")]
    client.train("kept", DebugHookConfig=HOOK, DebugRuleConfigurations=rules, ProfilerConfig=PROFILER)
    client.finished_job("kept")
    wait_until(lambda: states(client, "kept")["fires"] == "IssuesFound", what="the finding")
    wait_until(lambda: keys(client, "debug/kept/"), what="the end file")
    before = statuses(client, "kept")
    os.kill(client.state.pid, signal.SIGTERM)
    wait_until(lambda: not is_locked(Layout(own_runs).lock_file), what="the service's end")
    client = start()
    assert statuses(client, "kept") == before
    assert keys(client, "debug/kept/") == ["debug/kept/debug-output/training_job_end.ts"]
    assert keys(client, "results/kept/rule-output/") == ["results/kept/rule-output/fires/fires.json"]


def test_service_killed_takes_the_companions_along_and_their_rules_are_stopped(start: Start, own_runs: Path) -> None:
    client = start()
    rules = [rule("goes on", "InProgress", lasting="1"), rule("fired", "IssuesFound")]
    long_job(client, "cut", DebugHookConfig=HOOK, DebugRuleConfigurations=rules, ProfilerConfig=PROFILER)
    wait_until(lambda: states(client, "cut")["fired"] == "IssuesFound", what="the finding")
    family = all_of(client)
    assert len(family) >= 7  # the service; the job, its rules and the sampler, each under its guard
    os.kill(client.state.pid, signal.SIGKILL)
    wait_until(lambda: all(is_gone(each) for each in family), what="the end of all")
    client = start()
    assert states(client, "cut") == {"goes on": "Stopped", "fired": "IssuesFound"}
    assert client.job("cut")["TrainingJobStatus"] == "Failed"


def test_service_that_ends_stops_rules_that_go_on(start: Start, own_runs: Path) -> None:
    client = start()
    rules = [rule("goes on", "InProgress", lasting="1")]
    long_job(client, "ending", DebugHookConfig=HOOK, DebugRuleConfigurations=rules, ProfilerConfig=PROFILER)
    os.kill(client.state.pid, signal.SIGTERM)
    wait_until(lambda: not is_locked(Layout(own_runs).lock_file), what="the service's end")
    assert not left_of(own_runs)
    job = json.loads((own_runs / "ending" / "job.json").read_text())["description"]
    assert job["TrainingJobStatus"] == "Stopped"
    assert job["DebugRuleEvaluationStatuses"][0]["RuleEvaluationStatus"] == "Stopped"


def test_deleted_job_takes_its_rules_along(client: Client) -> None:
    before = {each.pid for each in all_of(client)}
    rules = [rule("goes on", "InProgress", lasting="1")]
    client.train("deleted", DebugHookConfig=HOOK, DebugRuleConfigurations=rules)
    client.finished_job("deleted")
    client.sagemaker.delete_training_job(TrainingJobName="deleted")
    assert not (client.runs / "deleted").exists()
    wait_until(lambda: {each.pid for each in all_of(client)} <= before, what="the end of its companions")
