"""`kennel deploy --on aws` of what this machine cannot be: serverless, asynchronous, with capture, of many models.

moto's SageMaker keeps what it is told and runs nothing: the requests are shown (botocore's model and AWS's rules are
checked at the account), and that they are taken back; not that such endpoints answer, wake, scale or keep anything.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from account import fault
from deploying import BUCKET, KEY, Deploying, moto_app, open_deploying, variant_of

from kennel.aws.scaling import wake_alarm

DENIED = fault("AccessDeniedException", "User: me is not authorized to perform: that:Action on resource: it")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploying]:
    with open_deploying(tmp_path_factory.mktemp("kinds")) as deploying:
        yield deploying


@pytest.fixture
def deploying(opened: Deploying) -> Iterator[Deploying]:
    """SageMaker is moto's."""
    opened.account.others["sagemaker"] = moto_app()
    yield opened
    opened.clear()
    opened.account.others.pop("sagemaker")


def test_a_serverless_endpoint_has_memory_and_no_machines(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = deploying.archive("poodle")
    assert deploying.deploy("now", archive, "--serverless", 3072, "--concurrency", 10, "--ttl", "2h") == 0
    assert "costs:     each request's time in 3072 MB, and nothing while nobody asks" in capsys.readouterr().out
    [config] = deploying.account.asked("CreateEndpointConfig")
    variant = variant_of(config)
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 3072, "MaxConcurrency": 10}
    assert not {"InstanceType", "InitialInstanceCount", "ContainerStartupHealthCheckTimeoutInSeconds"} & set(variant)
    assert not deploying.account.asked("RegisterScalableTarget")
    monkeypatch.setenv("KENNEL_SUBNETS", "subnet-1")
    monkeypatch.setenv("KENNEL_SECURITY_GROUPS", "sg-1")
    assert deploying.deploy("then", archive, "--serverless", 3072) == 2
    assert "--serverless and --subnets exclude each other" in capsys.readouterr().err


def test_an_asynchronous_endpoint_answers_to_s3_and_goes_down_to_none(
    deploying: Deploying, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--async", "--max", 3, "--instance", "ml.m5.large")
    assert deploying.deploy("later", deploying.archive("poodle"), *more) == 0
    assert "costs:     0 to 3 x $0.12 an hour" in capsys.readouterr().out
    [config] = deploying.account.asked("CreateEndpointConfig")
    base = f"s3://{BUCKET}/kennel/async/later"
    assert config["AsyncInferenceConfig"]["OutputConfig"] == {
        "S3OutputPath": f"{base}/output",
        "S3FailurePath": f"{base}/failures",
    }
    assert variant_of(config)["InitialInstanceCount"] == 1
    [target] = deploying.account.asked("RegisterScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 3)
    [alarm] = deploying.account.asked("PutMetricAlarm")
    assert alarm["AlarmName"] == wake_alarm("later") in deploying.left()["alarms"]


@pytest.mark.parametrize("operation", ["RegisterScalableTarget", "PutScalingPolicy", "PutMetricAlarm"])
def test_an_asynchronous_endpoint_that_cannot_scale_is_taken_back(deploying: Deploying, operation: str) -> None:
    """It would stay at one machine, and cost what it was to save."""
    deploying.account.faults[operation] = [DENIED]
    more = ("--async", f"s3://{BUCKET}/kennel/async/answers", "--instance", "ml.m5.large")
    assert deploying.deploy("later", deploying.archive("poodle"), *more) == 2
    assert deploying.left() == {}


def test_what_is_not_asked_for_stays(deploying: Deploying, capsys: pytest.CaptureFixture[str]) -> None:
    """moto does not update endpoints: what would be sent is shown by dry runs."""
    archive, machine = deploying.archive("poodle"), ("--instance", "ml.m5.large")

    def would_be(name: str, *more: object) -> dict[str, Any]:
        capsys.readouterr()
        assert deploying.deploy(name, archive, *more, "--dry-run") == 0
        held = {each["operation"]: each["request"] for each in json.loads(capsys.readouterr().out)}
        assert "UpdateEndpoint" in held and "RegisterScalableTarget" not in held
        return dict(held["CreateEndpointConfig"])

    assert deploying.deploy("later", archive, "--async", "--max", 3, *machine) == 0
    again = would_be("later")
    assert again["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"] == f"s3://{BUCKET}/kennel/async/later/output"
    assert variant_of(again)["InstanceType"] == "ml.m5.large"
    assert deploying.deploy("now", archive, "--serverless", 3072, "--concurrency", 10) == 0
    assert variant_of(would_be("now"))["ServerlessConfig"] == {"MemorySizeInMB": 3072, "MaxConcurrency": 10}
    assert variant_of(would_be("now", *machine))["InitialInstanceCount"] == 1
    assert deploying.deploy("seen", archive, "--capture", 20, *machine) == 0
    assert would_be("seen")["DataCaptureConfig"]["InitialSamplingPercentage"] == 20
    assert "DataCaptureConfig" not in would_be("seen", "--capture", 0)


def test_what_is_captured_comes_below_the_prefix_encrypted(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KENNEL_KMS_KEY", KEY)
    more = ("--capture", 20, "--instance", "ml.m5.large", "--isolated")
    assert deploying.deploy("seen", deploying.archive("poodle"), *more) == 0
    [config] = deploying.account.asked("CreateEndpointConfig")
    assert config["DataCaptureConfig"] == {
        "EnableCapture": True,
        "InitialSamplingPercentage": 20,
        "DestinationS3Uri": f"s3://{BUCKET}/kennel/capture/seen",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        "KmsKeyId": KEY,
    }
    assert config["KmsKeyId"] == KEY
    [model] = deploying.account.asked("CreateModel")
    assert model["EnableNetworkIsolation"] is True


def keys(deploying: Deploying) -> list[str]:
    listed = deploying.s3.list_objects_v2(Bucket=BUCKET, Prefix="kennel/models/")
    return [each["Key"] for each in listed.get("Contents", [])]


def test_models_are_added_to_one_endpoint_and_nothing_else_changes(
    deploying: Deploying, capsys: pytest.CaptureFixture[str]
) -> None:
    many = ("--multi-model", "--instance", "ml.m5.large")
    assert deploying.deploy("many", deploying.archive("poodle"), *many) == 0
    [model] = deploying.account.asked("CreateModel")
    assert model["PrimaryContainer"]["Mode"] == "MultiModel"
    assert model["PrimaryContainer"]["ModelDataUrl"] == f"s3://{BUCKET}/kennel/models/many/"
    assert "--target-model poodle.tar.gz PHOTO" in capsys.readouterr().out
    assert keys(deploying) == ["kennel/models/many/poodle.tar.gz"]
    deploying.account.calls.clear()
    another = deploying.archive("terrier")
    assert deploying.deploy("many", another, "--multi-model", "--max", 2) == 2
    assert "adds a model to it, which changes nothing else" in capsys.readouterr().err
    assert deploying.deploy("many", another, "--multi-model") == 0
    assert keys(deploying) == ["kennel/models/many/poodle.tar.gz", "kennel/models/many/terrier.tar.gz"]
    assert not deploying.account.asked("CreateModel") and not deploying.account.asked("UpdateEndpoint")


def test_an_archive_that_was_brought_goes_when_its_endpoint_cannot_be_made(deploying: Deploying) -> None:
    for key in keys(deploying):
        deploying.s3.delete_object(Bucket=BUCKET, Key=key)
    deploying.account.faults["CreateEndpoint"] = [DENIED]
    more = ("--multi-model", "--instance", "ml.m5.large")
    assert deploying.deploy("many", deploying.archive("poodle"), *more) == 2
    assert deploying.left() == {} and keys(deploying) == []


def test_an_endpoint_of_one_model_does_not_become_one_of_many(
    deploying: Deploying, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploying.deploy("one", deploying.archive("poodle"), "--instance", "ml.m5.large") == 0
    assert deploying.deploy("one", deploying.archive("terrier"), "--multi-model") == 2
    assert "Endpoint 'one' serves one model" in capsys.readouterr().err


def test_machines_do_not_become_serverless(deploying: Deploying, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploying.deploy("one", deploying.archive("poodle"), "--instance", "ml.m5.large") == 0
    assert deploying.deploy("one", deploying.archive("poodle"), "--serverless", 2048) == 2
    assert "has machines, and SageMaker does not make it serverless" in capsys.readouterr().err
