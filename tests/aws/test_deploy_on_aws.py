"""`kennel deploy --on aws` of endpoints with machines, against the local SageMaker: they really run, on this machine.

Not shown: instances, their capacity and quotas; that an alarm or a schedule does anything (moto runs neither).
"""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from account import EXPIRED, THROTTLED, UNAVAILABLE, fault
from deploying import BUCKET, ROLE, Deploying, open_deploying, variant_of
from roles import make_role
from stand_in_images import open_images
from stand_in_prices import Prices, product
from stand_in_quotas import Quotas

from kennel import __version__
from kennel.aws.schedule import GROUP
from kennel.aws.words import CredentialsError
from kennel.errors import KennelError
from kennel.launch.endpoint import deploy_command, endpoint_steps
from kennel.launch.preflight import checks as preflight_checks
from kennel.launch.preflight import clear as preflight
from kennel.launch.watching.attend import Detached
from local_service import training_request, wait_until

DENIED = fault("AccessDeniedException", "User: me is not authorized to perform: that:Action on resource: it")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploying]:
    with open_deploying(tmp_path_factory.mktemp("deploy")) as deploying:
        yield deploying


@pytest.fixture
def deploying(opened: Deploying) -> Iterator[Deploying]:
    yield opened
    opened.clear()


def test_a_jobs_model_is_deployed_asked_and_told_what_it_costs(
    deploying: Deploying, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = training_request("first", steps=1)
    deploying.sagemaker.create_training_job(
        **{**request, "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/kennel/jobs"}}
    )
    describe = deploying.sagemaker.describe_training_job
    wait_until(lambda: describe(TrainingJobName="first")["TrainingJobStatus"] == "Completed", what="the training")
    assert deploying.kennel("deploy", "first", "--max", 4, "--ttl", "2h") == 0
    said = capsys.readouterr().out
    assert "costs:     1 to 4 x $0.11 an hour (list price of 2026-11-20)" in said
    assert "ask it:    kennel invoke first --on aws PHOTO" in said
    assert "delete it: kennel delete --endpoint-name first --on aws" in said

    [model] = deploying.account.asked("CreateModel")
    [config] = deploying.account.asked("CreateEndpointConfig")
    [endpoint] = deploying.account.asked("CreateEndpoint")
    assert model["PrimaryContainer"]["ModelDataUrl"] == f"s3://{BUCKET}/kennel/jobs/first/output/model.tar.gz"
    assert model["ExecutionRoleArn"] == ROLE
    variant = variant_of(config)
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c7i.large", 1)
    assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 900
    assert variant["ModelDataDownloadTimeoutInSeconds"] == 900
    assert model["ModelName"] == config["EndpointConfigName"] == endpoint["EndpointConfigName"] != "first"
    for made in (model, config, endpoint):
        tags = {each["Key"]: each["Value"] for each in made["Tags"]}
        assert (tags["kennel:name"], tags["kennel:created-by"]) == ("first", "kennel")
    [target] = deploying.account.asked("RegisterScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    due = deploying.ttl.due("first")
    assert due is not None and f"deleted:   at {due:%Y-%m-%d %H:%M} UTC" in said
    left_s = (due - datetime.datetime.now(datetime.UTC)).total_seconds()
    assert 7000 < left_s <= 7200


def ask(deploying: Deploying, endpoint: str) -> str:
    """The label that it answers with."""
    answer = deploying.account.admin("sagemaker-runtime").invoke_endpoint(EndpointName=endpoint, Body=b"photo")
    with answer["Body"] as stream:
        return str(json.loads(stream.read())["predictions"][0]["label"])


def test_what_is_set_to_delete_an_endpoint_is_there_before_it(deploying: Deploying) -> None:
    assert deploying.deploy("timed", deploying.archive("poodle"), "--ttl", "90m") == 0
    asked = [call.asked.operation for call in deploying.account.calls if call.asked]
    assert asked.index("CreateSchedule") < asked.index("CreateEndpoint")
    [config] = deploying.account.asked("CreateEndpointConfig")
    targets = {
        each["Name"].rpartition(".")[2]: json.loads(each["Target"]["Input"])
        for each in deploying.account.asked("CreateSchedule")
    }
    assert targets["endpoint-1"] == {"EndpointName": "timed"}
    assert targets["config-1"] == {"EndpointConfigName": config["EndpointConfigName"]}
    assert targets["model-1"] == {"ModelName": config["EndpointConfigName"]}


def test_another_model_replaces_the_first_and_what_it_used_is_gone(
    deploying: Deploying, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploying.deploy("dogs", deploying.archive("poodle"), "--min", 2, "--max", 3, "--ttl", "2h") == 0
    due = deploying.ttl.due("dogs")
    assert ask(deploying, "dogs") == "poodle"
    deploying.account.calls.clear()
    assert deploying.deploy("dogs", deploying.archive("terrier")) == 0
    assert "endpoint dogs is there already: its model is replaced" in capsys.readouterr().out
    assert ask(deploying, "dogs") == "terrier"
    [update] = deploying.account.asked("UpdateEndpoint")
    assert update == {"EndpointName": "dogs", "EndpointConfigName": update["EndpointConfigName"]}
    left = deploying.left()
    assert left["configs"] == left["models"] == [update["EndpointConfigName"]]
    assert not deploying.account.asked("RegisterScalableTarget"), "the scaling that is there goes on"
    [config] = deploying.account.asked("CreateEndpointConfig")
    assert variant_of(config)["InitialInstanceCount"] == 2
    assert deploying.ttl.due("dogs") == due, "who changes the model does not prolong the endpoint's life"
    given = [json.loads(each["Target"]["Input"]) for each in deploying.account.asked("CreateSchedule")]
    assert {"ModelName": update["EndpointConfigName"]} in given


def test_another_instance_type_of_a_scaled_endpoint_takes_its_scaling_off_meanwhile(deploying: Deploying) -> None:
    assert deploying.deploy("dogs", deploying.archive("poodle"), "--max", 3) == 0
    deploying.account.calls.clear()
    assert deploying.deploy("dogs", deploying.archive("terrier"), "--instance", "ml.c7i.xlarge") == 0
    asked = [call.asked.operation for call in deploying.account.calls if call.asked]
    assert (
        asked.index("DeregisterScalableTarget") < asked.index("UpdateEndpoint") < asked.index("RegisterScalableTarget")
    )
    [target] = deploying.account.asked("RegisterScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 3)
    deploying.account.calls.clear()
    assert deploying.deploy("dogs", deploying.archive("poodle")) == 0
    [config] = deploying.account.asked("CreateEndpointConfig")
    assert variant_of(config)["InstanceType"] == "ml.c7i.xlarge", "what is not asked for stays"
    assert not deploying.account.asked("RegisterScalableTarget")


def test_an_endpoint_that_fails_is_gone_with_all_that_was_made_for_it(
    deploying: Deploying, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploying.deploy("ill", deploying.archive("ill", is_broken=True), "--ttl", "2h", "--max", 2) == 1
    said = capsys.readouterr().err
    assert "Endpoint 'ill' failed and was deleted:" in said and "cannot be unpacked" in said
    lines = [line.split()[2] for line in said.splitlines() if line.startswith("taken back: ")]
    assert lines == ["endpoint", "schedules", "endpoint", "model"], "the newest first"
    assert deploying.left() == {}


def test_an_update_that_fails_leaves_the_old_model_answering(
    deploying: Deploying, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploying.deploy("dogs", deploying.archive("poodle"), "--max", 2, "--ttl", "2h") == 0
    before = deploying.left()
    due = deploying.ttl.due("dogs")
    broken = deploying.archive("ill", is_broken=True)
    assert deploying.deploy("dogs", broken, "--instance", "ml.c7i.xlarge", "--max", 4, "--ttl", "3h") == 1
    assert "The update failed, and endpoint 'dogs' still serves the old model" in capsys.readouterr().err
    assert deploying.left() == before and ask(deploying, "dogs") == "poodle"
    now = deploying.ttl.due("dogs")
    assert now is not None and due is not None and abs((now - due).total_seconds()) <= 1
    [target] = deploying.scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert target["MaxCapacity"] == 2


def test_a_canary_takes_some_machines_first_with_alarms_that_are_gone_afterwards(
    deploying: Deploying, capsys: pytest.CaptureFixture[str]
) -> None:
    """The local SageMaker changes all at once whatever it is told: the canary is in the request alone."""
    assert deploying.deploy("dogs", deploying.archive("poodle"), "--min", 4) == 0
    assert deploying.deploy("dogs", deploying.archive("terrier"), "--canary", 30) == 0
    assert "canary: 1 of 4 machines get the new model first" in capsys.readouterr().out
    [update] = deploying.account.asked("UpdateEndpoint")
    policy = update["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"] == {
        "Type": "CANARY",
        "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
        "WaitIntervalInSeconds": 600,
    }
    watched = [each["AlarmName"] for each in update["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]]
    alarms = {each["AlarmName"]: each for each in deploying.account.asked("PutMetricAlarm")}
    assert list(alarms) == watched == ["kennel-dogs-errors", "kennel-dogs-latency"]
    for alarm in alarms.values():
        assert alarm["Period"] * alarm["EvaluationPeriods"] < 600
        assert {"Key": "kennel:name", "Value": "dogs"} in alarm["Tags"]
    newest = {"Name": "EndpointConfigName", "Value": update["EndpointConfigName"]}
    assert newest in alarms["kennel-dogs-latency"]["Dimensions"]
    assert "alarms" not in deploying.left() and ask(deploying, "dogs") == "terrier"


def test_a_canary_that_fails_keeps_the_old_model(deploying: Deploying, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploying.deploy("dogs", deploying.archive("poodle"), "--min", 2) == 0
    before = deploying.left()
    assert deploying.deploy("dogs", deploying.archive("ill", is_broken=True), "--canary", 10) == 1
    assert "The canary failed, and endpoint 'dogs' still serves the old model" in capsys.readouterr().err
    assert deploying.left() == before and ask(deploying, "dogs") == "poodle"


def test_a_canary_needs_an_endpoint_and_two_machines(deploying: Deploying, capsys: pytest.CaptureFixture[str]) -> None:
    archive = deploying.archive("poodle")
    assert deploying.deploy("dogs", archive, "--canary", 10) == 2
    assert "There is no endpoint 'dogs' that a canary could be compared with" in capsys.readouterr().err
    assert deploying.left() == {}
    assert deploying.deploy("dogs", archive) == 0
    assert deploying.deploy("dogs", archive, "--canary", 10) == 2
    assert "--canary needs 2 machines or more, and endpoint 'dogs' has 1" in capsys.readouterr().err
    assert not deploying.account.asked("UpdateEndpoint")


EVERYTHING = ("--max", 3, "--ttl", "2h")


@pytest.mark.parametrize(
    "operation",
    [
        "CreateModel",
        "CreateEndpointConfig",
        "GetScheduleGroup",
        "CreateSchedule",
        "DescribeEndpointConfig",
        "CreateEndpoint",
        "RegisterScalableTarget",
        "PutScalingPolicy",
    ],
)
def test_a_refusal_at_any_step_leaves_nothing(
    deploying: Deploying, operation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    deploying.account.faults[operation] = [None, DENIED] if operation == "CreateSchedule" else [DENIED]
    assert deploying.deploy("dogs", deploying.archive("poodle"), *EVERYTHING) == 2
    assert "Whoever administers the account has to allow that:Action" in capsys.readouterr().err
    assert deploying.left() == {}


def test_a_refusal_at_any_step_of_an_update_leaves_the_endpoint_as_it_was(deploying: Deploying) -> None:
    assert deploying.deploy("dogs", deploying.archive("poodle"), "--min", 2, *EVERYTHING) == 0
    before, due = deploying.left(), deploying.ttl.due("dogs")
    change = ("--canary", 50, "--instance", "ml.c7i.xlarge", "--max", 4, "--min", 2, "--ttl", "5h")
    operations = ("CreateModel", "CreateEndpointConfig", "PutMetricAlarm", "CreateSchedule", "UpdateEndpoint")
    for operation in (*operations, "DeregisterScalableTarget", "DescribeEndpointConfig"):
        deploying.account.faults[operation] = [None, DENIED] if operation == "DescribeEndpointConfig" else [DENIED]
        assert deploying.deploy("dogs", deploying.archive("terrier"), *change) == 2, operation
        now = deploying.ttl.due("dogs")
        assert now is not None and due is not None and abs((now - due).total_seconds()) <= 1, operation
        assert deploying.left() == before, operation
    assert ask(deploying, "dogs") == "poodle"

    deploying.account.faults["RegisterScalableTarget"] = [DENIED]  # by then the new model is what answers
    assert deploying.deploy("dogs", deploying.archive("terrier"), *change) == 2
    left = deploying.left()
    assert ask(deploying, "dogs") == "terrier" and left["configs"] == left["models"] != before["models"]
    assert "alarms" not in left and "targets" not in left
    assert deploying.deploy("dogs", deploying.archive("terrier"), "--max", 4) == 0
    assert deploying.left()["targets"] == before["targets"]


def test_throttling_and_a_service_that_is_away_are_waited_for(deploying: Deploying) -> None:
    deploying.account.faults |= {"CreateModel": [THROTTLED], "CreateEndpoint": [UNAVAILABLE, UNAVAILABLE]}
    assert deploying.deploy("dogs", deploying.archive("poodle")) == 0
    assert len(deploying.account.asked("CreateEndpoint")) == 3


def test_credentials_that_expire_midway_leave_the_commands_that_delete_what_is_there(
    deploying: Deploying, capsys: pytest.CaptureFixture[str]
) -> None:
    deploying.account.faults["CreateEndpointConfig"] = [EXPIRED]
    assert deploying.deploy("dogs", deploying.archive("poodle")) == 5
    said = capsys.readouterr().err
    [model] = deploying.left()["models"]
    assert "perhaps left, with what deletes it:" in said
    assert f"model {model} (nobody is signed in): aws sagemaker delete-model --model-name {model}" in said


def test_an_endpoint_that_somebody_else_made_meanwhile_is_not_deleted(deploying: Deploying) -> None:
    assert deploying.deploy("dogs", deploying.archive("poodle")) == 0
    before = deploying.left()
    gone = fault("ValidationException", 'Could not find endpoint "arn:aws:sagemaker:x:y:endpoint/dogs".')
    deploying.account.faults["DescribeEndpoint"] = [gone, gone]
    assert deploying.deploy("dogs", deploying.archive("terrier")) == 2
    assert deploying.left() == before and ask(deploying, "dogs") == "poodle"


def test_a_failed_endpoint_is_to_be_deleted_first(deploying: Deploying, capsys: pytest.CaptureFixture[str]) -> None:
    container = {"Image": "kennel-serve", "ModelDataUrl": deploying.archive("ill", is_broken=True)}
    client = deploying.sagemaker
    client.create_model(ModelName="ill", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": "ill", "InstanceType": "ml.m5.large"}
    client.create_endpoint_config(EndpointConfigName="ill", ProductionVariants=[{**variant, "InitialInstanceCount": 1}])
    client.create_endpoint(EndpointName="ill", EndpointConfigName="ill")
    describe = client.describe_endpoint
    wait_until(lambda: describe(EndpointName="ill")["EndpointStatus"] == "Failed", what="the failure")
    assert deploying.deploy("ill", deploying.archive("poodle")) == 2
    assert "can only be deleted: kennel delete --endpoint-name ill --on aws" in capsys.readouterr().err


def test_ttl_without_a_role_for_the_scheduler_is_refused_before_anything_is_made(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KENNEL_SCHEDULER_ROLE")
    assert deploying.deploy("dogs", deploying.archive("poodle"), "--ttl", "2h") == 2
    assert "--ttl needs scheduler_role" in capsys.readouterr().err and deploying.left() == {}
    distrust = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
    monkeypatch.setenv("KENNEL_SCHEDULER_ROLE", "arn:aws:iam::123456789012:role/kennel-scheduler")
    deploying.account.faults["CreateSchedule"] = [
        (400, {"x-amzn-ErrorType": "ValidationException"}, json.dumps({"Message": distrust}))
    ]
    assert deploying.deploy("dogs", deploying.archive("poodle"), "--ttl", "2h") == 2
    assert "EventBridge Scheduler may not act as" in capsys.readouterr().err and deploying.left() == {}


def test_schedules_of_an_endpoint_that_is_gone_do_not_delete_the_next_of_its_name(deploying: Deploying) -> None:
    scheduler = deploying.ttl
    scheduler.set("dogs", in_s=7200, configs=("old",), models=("old",))
    assert scheduler.client.list_schedules(GroupName=GROUP)["Schedules"]
    assert deploying.deploy("dogs", deploying.archive("poodle")) == 0
    assert scheduler.due("dogs") is None


@pytest.mark.parametrize(("error", "status"), [(Detached("left"), 130), (CredentialsError("expired"), 5)])
def test_who_leaves_while_it_is_made_leaves_it(
    deploying: Deploying,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: KennelError,
    status: int,
) -> None:
    def leave(*_: object) -> None:
        raise error

    monkeypatch.setattr(endpoint_steps, "watch", leave)
    assert deploying.deploy("dogs", deploying.archive("poodle"), *EVERYTHING) == status
    said = capsys.readouterr()
    assert "taken back" not in said.err
    left = deploying.left()
    assert left["endpoints"] == ["dogs"] and len(left["schedules"]) == 5 and "targets" not in left
    if status == 130:
        assert "watch it: kennel attach dogs --on aws" in said.out and "it will not scale until" in said.out
        assert "delete it: kennel delete --endpoint-name dogs --on aws" in said.out


def test_what_was_checked_is_what_is_made(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the real checks: the image goes by digest, with the AMI that has the driver for its CUDA."""
    account, kind = deploying.account, "ml.g5.xlarge"
    monkeypatch.setattr(deploy_command, "clear_endpoint", preflight.clear_endpoint)
    monkeypatch.setattr(preflight_checks, "commit_here", lambda: None)
    account.others["pricing"] = Prices(product(kind, "Hosting", "1.50"))
    account.others["servicequotas"] = Quotas({f"{kind} for endpoint usage": 4.0}, {})
    make_role(account, ROLE)
    archive = deploying.archive("poodle")
    with open_images(account) as images:
        digest = images.put("kennel-serve", __version__)
        assert deploying.deploy("dogs", archive, "--instance", kind, "--ttl", "2h", "--max-cost", "2.99") == 2
        assert "--max-cost" in capsys.readouterr().err and deploying.left() == {}
        assert deploying.deploy("dogs", archive, "--instance", kind, "--ttl", "2h", "--max-cost", "3") == 0
    [model] = account.asked("CreateModel")
    assert model["PrimaryContainer"]["Image"].endswith(f"/kennel-serve@{digest}")
    [config] = account.asked("CreateEndpointConfig")
    assert variant_of(config)["InferenceAmiVersion"] == "al2023-ami-sagemaker-inference-gpu-4-1"


def test_a_dry_run_prints_every_request_and_sends_none(
    deploying: Deploying, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploying.deploy("dogs", deploying.archive("poodle"), *EVERYTHING, "--dry-run") == 0
    held = json.loads(capsys.readouterr().out)
    operations = [each["operation"] for each in held if each["operation"] != "CreateSchedule"]
    assert (
        operations
        == [
            "CreateModel",
            "CreateEndpointConfig",
            "CreateScheduleGroup",
            "CreateEndpoint",
            "RegisterScalableTarget",
            "PutScalingPolicy",
        ]
        or "CreateScheduleGroup" not in operations
    )
    assert held[0]["command"].startswith("aws sagemaker create-model --cli-input-json ")
    assert deploying.left() == {}


def test_a_dry_run_of_a_canary_prints_what_is_done_before_and_afterwards(
    deploying: Deploying, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploying.deploy("dogs", deploying.archive("poodle"), "--min", 2) == 0
    before = deploying.left()
    capsys.readouterr()
    assert deploying.deploy("dogs", deploying.archive("terrier"), "--canary", 10, "--dry-run") == 0
    held = json.loads(capsys.readouterr().out)
    alarms, deletions = ["PutMetricAlarm"] * 2, ["DeleteEndpointConfig", "DeleteModel"]
    made = ["CreateModel", "CreateEndpointConfig"]
    assert [each["operation"] for each in held] == [*made, *alarms, "UpdateEndpoint", *deletions]
    assert deploying.left() == before and ask(deploying, "dogs") == "poodle"


def test_a_dry_run_needs_nobody_signed_in(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    assert deploying.kennel("deploy", "first", *EVERYTHING, "--dry-run") == 0
    said = capsys.readouterr()
    assert "nobody is signed in" in said.err
    held = json.loads(said.out)
    [model] = [each["request"] for each in held if each["operation"] == "CreateModel"]
    assert model["PrimaryContainer"]["ModelDataUrl"] == f"s3://{BUCKET}/kennel/jobs/first/output/model.tar.gz"
    assert [each["operation"] for each in held].count("CreateSchedule") == 5
    assert deploying.account.calls == []
