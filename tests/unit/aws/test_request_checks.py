"""Requests to SageMaker before they are sent: botocore's model and AWS's rules between members."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from kennel.aws.request_checks import check_request, check_requests
from kennel.errors import UserError
from kennel.launch.dry_run import held

ROLE = "arn:aws:iam::123456789012:role/kennel"
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/anything@sha256:" + "a" * 64


def training(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
    request: dict[str, Any] = {
        "TrainingJobName": "dogs",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "InputDataConfig": [channel("data", "s3://pictures/dogs/")],
        "OutputDataConfig": {"S3OutputPath": "s3://results/jobs"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "HyperParameters": {"weights": "file:///of/the/users"},
    }
    return {**request, **changes}


def channel(name: str, uri: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
    source = {"S3DataType": "S3Prefix", "S3Uri": uri}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **more}


def variant(**more: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
    return {"VariantName": "AllTraffic", "ModelName": "dogs", **more}


def config(*variants: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
    return {"EndpointConfigName": "dogs", "ProductionVariants": list(variants), **more}


MACHINES = {"InstanceType": "ml.c7i.large", "InitialInstanceCount": 1}
SERVERLESS = {"ServerlessConfig": {"MemorySizeInMB": 3072, "MaxConcurrency": 5}}


def test_what_aws_takes_passes_though_this_machine_could_not_do_it() -> None:
    assert check_request("CreateTrainingJob", training()) == []
    elsewhere = training(
        AlgorithmSpecification={"AlgorithmName": "arn:aws:sagemaker:eu-west-1:123456789012:algorithm/x"}
        | {"TrainingInputMode": "Pipe"},
        ResourceConfig={
            "InstanceGroups": [{"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "InstanceGroupName": "a"}],
            "VolumeSizeInGB": 30,
        },
    )
    assert check_request("CreateTrainingJob", elsewhere) == []
    capture = {
        "InitialSamplingPercentage": 20,
        "DestinationS3Uri": "s3://b/c",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    assert check_request("CreateEndpointConfig", config(variant(**MACHINES), DataCaptureConfig=capture)) == []
    output = {"OutputConfig": {"S3OutputPath": "s3://b/async"}}
    assert check_request("CreateEndpointConfig", config(variant(**MACHINES), AsyncInferenceConfig=output)) == []
    several = {"Image": IMAGE, "Mode": "MultiModel", "ModelDataUrl": "s3://b/models/"}
    model = {"ModelName": "dogs", "ExecutionRoleArn": ROLE, "PrimaryContainer": several}
    assert check_request("CreateModel", model) == []


def test_a_type_that_is_newer_than_botocore_is_awss_to_judge() -> None:
    new = training(ResourceConfig={"InstanceType": "ml.g9.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30})
    assert check_request("CreateTrainingJob", new) == []
    none = training(ResourceConfig={"InstanceType": "g5", "InstanceCount": 1, "VolumeSizeInGB": 30})
    assert "Member must satisfy enum value set" in check_request("CreateTrainingJob", none)[0]


def test_all_that_the_model_does_not_allow_is_said_at_once() -> None:
    request = training(TrainingJobName="my_dogs", RoleArn="me", StoppingCondition={"MaxRuntimeInSeconds": 0})
    problems = check_request("CreateTrainingJob", request)
    assert len(problems) == 3
    assert problems[0].startswith("Value 'my_dogs' at 'trainingJobName' failed to satisfy constraint")


def test_a_folder_of_this_machine_is_named_but_not_among_the_users_own_texts() -> None:
    [problem] = check_request("CreateTrainingJob", training(InputDataConfig=[channel("data", "file:///photos")]))
    assert "'file:///photos' at 'InputDataConfig.1.DataSource.S3DataSource.S3Uri' is on this machine" in problem
    assert "scripts/upload.sh" in problem


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"EnableManagedSpotTraining": True}, "Invalid MaxWaitTimeInSeconds. It must be present"),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}},
            "only supported when EnableManagedSpotTraining",
        ),
        ({"InputDataConfig": [channel("a", "s3://b/c"), channel("a", "s3://b/d")]}, "Duplicate channel name 'a'"),
        (
            {"ResourceConfig": {**training()["ResourceConfig"], "VolumeKmsKeyId": "key"}},
            "You can't request a VolumeKmsKeyId .* as ml.g5.xlarge has",
        ),
        ({"ProfilerConfig": {"ProfilingIntervalInMilliseconds": 500}}, "ProfilerConfig needs an S3OutputPath"),
        (
            {"AlgorithmSpecification": {**training()["AlgorithmSpecification"], "AlgorithmName": "x"}},
            "either TrainingImage or AlgorithmName",
        ),
        (
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
                "ResourceConfig": {**training()["ResourceConfig"], "KeepAlivePeriodInSeconds": 600},
            },
            "a spot machine is not kept",
        ),
    ],
)
def test_rules_between_the_members_of_a_training(changes: dict[str, Any], said: str) -> None:
    [problem] = check_request("CreateTrainingJob", training(**changes))
    assert re.search(said, problem), problem


def tuning(**definition: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
    content = {key: value for key, value in training().items() if key not in ("TrainingJobName", "HyperParameters")}
    content["AlgorithmSpecification"] = {
        **content["AlgorithmSpecification"],
        "MetricDefinitions": [{"Name": "validation:loss", "Regex": "valid_loss=([0-9.]+)"}],
    }
    return {
        "HyperParameterTuningJobName": "dogs",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1"}]},
        },
        "TrainingJobDefinition": {**content, **definition},
    }


def test_a_search_is_checked_with_the_training_it_makes() -> None:
    assert check_request("CreateHyperParameterTuningJob", tuning()) == []
    [problem] = check_request("CreateHyperParameterTuningJob", tuning(EnableManagedSpotTraining=True))
    assert "Invalid MaxWaitTimeInSeconds" in problem
    [problem] = check_request("CreateHyperParameterTuningJob", tuning(StaticHyperParameters={"lr": "1"}))
    assert "both static (value '1') and tunable" in problem


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (
            config(variant(**MACHINES, **SERVERLESS)),
            "either InstanceType and InitialInstanceCount, or ServerlessConfig",
        ),
        (config(variant()), "either InstanceType and InitialInstanceCount, or ServerlessConfig"),
        (config(variant(**SERVERLESS), EnableNetworkIsolation=True), "without VpcConfig and network isolation"),
        (
            config(variant(ServerlessConfig={"MemorySizeInMB": 1500, "MaxConcurrency": 5})),
            "MemorySizeInMB 1500 must be 1024",
        ),
        (config(variant(**MACHINES), variant(**MACHINES)), "Duplicate VariantName 'AllTraffic'"),
    ],
)
def test_rules_between_the_members_of_an_endpoint_configuration(request_: dict[str, Any], said: str) -> None:
    [problem] = check_request("CreateEndpointConfig", request_)
    assert said in problem


def test_a_canary_needs_its_size() -> None:
    routing = {"Type": "CANARY", "WaitIntervalInSeconds": 60}
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    request = {"EndpointName": "dogs", "EndpointConfigName": "dogs", "DeploymentConfig": policy}
    assert "of Type 'CANARY', and no other, needs CanarySize" in check_request("UpdateEndpoint", request)[0]
    routing["CanarySize"] = {"Type": "CAPACITY_PERCENT", "Value": 60}
    assert check_request("UpdateEndpoint", request) == ["CanarySize is 60 percent. It is at most 50."]
    routing["CanarySize"]["Value"] = 10
    assert check_request("UpdateEndpoint", request) == []


def test_a_transform_that_asks_for_too_much_at_once() -> None:
    request = {
        "TransformJobName": "dogs",
        "ModelName": "dogs",
        "MaxConcurrentTransforms": 20,
        "MaxPayloadInMB": 10,
        "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in"}}},
        "TransformOutput": {"S3OutputPath": "s3://b/out"},
        "TransformResources": {"InstanceType": "ml.c7i.large", "InstanceCount": 1},
    }
    assert "cannot exceed 100 MB" in check_request("CreateTransformJob", request)[0]
    assert check_request("CreateTransformJob", {**request, "MaxConcurrentTransforms": 2}) == []


def test_times_and_bytes_are_taken_as_boto3_takes_them() -> None:
    assert check_request("ListTrainingJobs", {"CreationTimeAfter": datetime(2026, 1, 1, tzinfo=UTC)}) == []


def test_a_client_sends_nothing_that_aws_would_refuse() -> None:
    session = boto3.Session(region_name="eu-west-1")
    check_requests(session)
    with held(session) as requests:
        client = session.client("sagemaker")
        with pytest.raises(UserError) as caught:
            client.create_training_job(**training(TrainingJobName="my_dogs", RoleArn="me", EnableNetworkIsolation=True))
        assert requests == []
        client.create_training_job(**training())
    assert [each.operation for each in requests] == ["CreateTrainingJob"]
    assert json.loads(json.dumps(requests[0].parameters)) == training()
    lines = str(caught.value).splitlines()
    assert lines[0] == "AWS would refuse this CreateTrainingJob, so it was not sent:" and len(lines) == 3
