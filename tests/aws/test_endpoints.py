"""Models, endpoint configurations and endpoints through plain boto3."""

import json
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local_service import BUCKET, ROLE, Client, all_of, wait_until


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model.tar.gz as the stand-in server reads it."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.txt").write_text("my model")
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        tar.add(folder / "model.txt", arcname="model.txt")
    return folder / "model.tar.gz"


@pytest.fixture(scope="module")
def endpoint(client: Client, model_file: Path) -> Iterator[str]:
    """An endpoint in service that the tests of this module share."""
    client.s3.upload_file(str(model_file), BUCKET, "models/model.tar.gz")
    client.deploy("shared", f"s3://{BUCKET}/models/model.tar.gz")
    assert client.settled_endpoint("shared")["EndpointStatus"] == "InService"
    yield "shared"
    delete(client, "shared")


def delete(client: Client, name: str) -> None:
    client.sagemaker.delete_endpoint(EndpointName=name)
    wait_until(lambda: not has_endpoint(client, name), what=f"the end of endpoint {name}")


def has_endpoint(client: Client, name: str) -> bool:
    listed = client.sagemaker.list_endpoints(NameContains=name)["Endpoints"]
    return name in [each["EndpointName"] for each in listed]


def listening_ports(client: Client) -> list[int]:
    """The ports on which the service's programs listen."""
    programs = all_of(client)[1:]
    connections = [each for program in programs for each in program.net_connections("tcp")]
    return [each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN]


def test_endpoint_answers_with_its_model(client: Client, endpoint: str) -> None:
    answer = client.ask(endpoint, b"woof", ContentType="text/plain", CustomAttributes="trace=1")
    assert answer["Body"] == b"my model: woof"
    assert answer["ContentType"] == "text/plain"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["CustomAttributes"] == "trace=1 seen"


def test_endpoint_is_described_with_its_variant(client: Client, endpoint: str) -> None:
    description = client.endpoint(endpoint)
    assert description["EndpointConfigName"] == endpoint
    assert description["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    config = client.sagemaker.describe_endpoint_config(EndpointConfigName=endpoint)
    assert config["ProductionVariants"][0]["ModelName"] == endpoint
    model = client.sagemaker.describe_model(ModelName=endpoint)
    assert model["PrimaryContainer"]["Image"] == "kennel-serve:1"
    listed = client.sagemaker.list_models(NameContains=endpoint)["Models"]
    assert [each["ModelArn"] for each in listed] == [model["ModelArn"]]
    configs = client.sagemaker.list_endpoint_configs(NameContains=endpoint)["EndpointConfigs"]
    assert [each["EndpointConfigName"] for each in configs] == [endpoint]


def test_only_sagemakers_headers_reach_the_server(client: Client, endpoint: str) -> None:
    answer = client.ask(endpoint, ContentType="x/headers", Accept="a/b;q=0.5", InferenceId="i-1", TargetModel="m")
    seen = {key.lower(): value for key, value in json.loads(answer["Body"]).items()}
    assert (seen["content-type"], seen["accept"]) == ("x/headers", "a/b;q=0.5")
    assert (seen["x-amzn-sagemaker-inference-id"], seen["x-amzn-sagemaker-target-model"]) == ("i-1", "m")
    assert not {"authorization", "user-agent", "x-amz-date"} & seen.keys()


@pytest.mark.parametrize(("status", "side"), [(400, "client"), (500, "server")])
def test_error_of_the_server_is_a_model_error(client: Client, endpoint: str, status: int, side: str) -> None:
    with pytest.raises(client.runtime.exceptions.ModelError) as caught:
        client.ask(endpoint, ContentType=f"x/{status}")
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert (response["OriginalStatusCode"], response["OriginalMessage"]) == (status, '{"error": "no picture"}')
    message = f'Received {side} error ({status}) from primary with message "{{"error": "no picture"}}".'
    assert response["Error"]["Message"].startswith(message)


def test_server_that_does_not_answer_in_time_is_a_model_error(client: Client, endpoint: str) -> None:
    with pytest.raises(client.runtime.exceptions.ModelError, match=r"no answer within 1 s"):
        client.ask(endpoint, ContentType="x/slow")


def test_payload_over_the_limit_is_refused_and_one_at_the_limit_is_not(client: Client, endpoint: str) -> None:
    assert len(client.ask(endpoint, b"x" * (6_291_456 - 10))["Body"]) == 6_291_456
    with pytest.raises(client.runtime.exceptions.ModelError, match="the answer has 6291466 bytes, over 6291456"):
        client.ask(endpoint, b"x" * 6_291_456)
    with pytest.raises(ClientError, match="HTTP content length exceeded 6291456 bytes") as caught:
        client.ask(endpoint, b"x" * 6_291_457)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_unknown_endpoint_is_a_validation_error(client: Client) -> None:
    with pytest.raises(client.runtime.exceptions.ValidationError, match="Endpoint nobody of account 123456789012 not"):
        client.ask("nobody")
    with pytest.raises(ClientError, match=r'Could not find endpoint "arn:aws:sagemaker:us-east-1:\d+:endpoint/nobody"'):
        client.endpoint("nobody")


def test_unknown_variant_is_a_validation_error(client: Client, endpoint: str) -> None:
    with pytest.raises(client.runtime.exceptions.ValidationError, match="Variant Other of endpoint shared not found"):
        client.ask(endpoint, TargetVariant="Other")


def test_deleted_endpoint_leaves_no_process_no_port_and_no_files(client: Client, model_file: Path) -> None:
    before, ports = len(all_of(client)), listening_ports(client)
    client.deploy("leaves", model_file.as_uri(), environment={"FAMILY": "1"})
    assert client.settled_endpoint("leaves")["EndpointStatus"] == "InService"
    [port] = set(listening_ports(client)) - set(ports)
    delete(client, "leaves")
    assert len(all_of(client)) == before
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert not (client.runs / ".local" / "endpoints" / "leaves").exists()
    client.sagemaker.delete_endpoint_config(EndpointConfigName="leaves")
    client.sagemaker.delete_model(ModelName="leaves")
    with pytest.raises(ClientError, match="Could not find model"):
        client.sagemaker.describe_model(ModelName="leaves")


def test_model_folder_is_served_without_a_copy(client: Client, model_file: Path) -> None:
    client.deploy("folder", model_file.parent.as_uri())
    client.settled_endpoint("folder")
    assert client.ask("folder", b"x")["Body"] == b"my model: x"
    assert (client.runs / ".local" / "endpoints" / "folder" / "ml" / "model").is_symlink()
    delete(client, "folder")
    assert model_file.exists()


def test_server_that_ends_fails_the_endpoint_with_its_last_error(client: Client, model_file: Path) -> None:
    client.deploy("ends", model_file.as_uri(), environment={"REFUSE_TO_START": "ERROR the archive is from the future"})
    description = client.settled_endpoint("ends")
    assert description["EndpointStatus"] == "Failed"
    assert "its server ended with exit status 1" in description["FailureReason"]
    assert "Its log says: ERROR the archive is from the future" in description["FailureReason"]
    with pytest.raises(client.runtime.exceptions.ValidationError, match="is Failed, not InService"):
        client.ask("ends")
    delete(client, "ends")


def test_server_that_never_gets_healthy_fails_the_endpoint(client: Client, model_file: Path) -> None:
    client.deploy("sick", model_file.as_uri(), environment={"NEVER_HEALTHY": "1"})
    description = client.settled_endpoint("sick")
    assert description["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in description["FailureReason"]
    assert "Its log ends with: INFO serving" in description["FailureReason"]
    delete(client, "sick")


def test_server_that_dies_in_service_fails_the_endpoint(client: Client, model_file: Path) -> None:
    client.deploy("dies", model_file.as_uri())
    client.settled_endpoint("dies")
    with pytest.raises(client.runtime.exceptions.ModelError, match=r"Received server error \(0\)"):
        client.ask("dies", ContentType="x/die")
    wait_until(lambda: client.endpoint("dies")["EndpointStatus"] == "Failed", what="the endpoint to fail")
    reason = client.endpoint("dies")["FailureReason"]
    assert "ended with exit status 9 while in service. Its log says: ERROR the model went away" in reason
    delete(client, "dies")


def test_archive_that_cannot_be_unpacked_fails_the_endpoint(client: Client, tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_text("no archive")
    client.deploy("broken", (tmp_path / "model.tar.gz").as_uri())
    description = client.settled_endpoint("broken")
    assert description["EndpointStatus"] == "Failed"
    assert "cannot be unpacked as a .tar.gz" in description["FailureReason"]
    delete(client, "broken")


def test_endpoint_can_be_deleted_while_it_is_created(client: Client, model_file: Path) -> None:
    client.deploy("early", model_file.as_uri(), environment={"NEVER_HEALTHY": "1"})
    assert client.endpoint("early")["EndpointStatus"] == "Creating"
    delete(client, "early")


def test_update_changes_the_model_and_a_failed_update_does_not(
    client: Client, model_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.txt").write_text("new model")
    client.deploy("moves", model_file.as_uri())
    client.settled_endpoint("moves")
    for name, folder, environment in (("good", tmp_path, {}), ("bad", tmp_path, {"REFUSE_TO_START": "ERROR no"})):
        container = {"Image": "kennel-serve", "ModelDataUrl": folder.as_uri(), "Environment": environment}
        client.sagemaker.create_model(ModelName=f"moves-{name}", PrimaryContainer=container, ExecutionRoleArn=ROLE)
        variant = {"VariantName": "AllTraffic", "ModelName": f"moves-{name}", "InstanceType": "ml.m5.large"}
        client.sagemaker.create_endpoint_config(
            EndpointConfigName=f"moves-{name}", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
        )
    client.sagemaker.update_endpoint(EndpointName="moves", EndpointConfigName="moves-good")
    wait_until(lambda: client.settled_endpoint("moves")["EndpointConfigName"] == "moves-good", what="the update")
    assert client.ask("moves", b"x")["Body"] == b"new model: x"
    client.sagemaker.update_endpoint(EndpointName="moves", EndpointConfigName="moves-bad")
    wait_until(lambda: "FailureReason" in client.settled_endpoint("moves"), what="the failure of the update")
    description = client.endpoint("moves")
    assert (description["EndpointStatus"], description["EndpointConfigName"]) == ("InService", "moves-good")
    assert client.ask("moves", b"x")["Body"] == b"new model: x"
    delete(client, "moves")


def create_model(client: Client, **container: Any) -> None:  # noqa: ANN401  members of a ContainerDefinition
    client.sagemaker.create_model(ModelName="refused", PrimaryContainer=container, ExecutionRoleArn=ROLE)


def test_training_image_cannot_be_served(client: Client) -> None:
    with pytest.raises(ClientError, match=r"'a/kennel-train:1' trains models and cannot serve them.*image_uri='"):
        create_model(client, Image="a/kennel-train:1")


def test_model_data_must_be_there(client: Client) -> None:
    with pytest.raises(ClientError, match=f"Could not find model data at s3://{BUCKET}/none.tar.gz."):
        create_model(client, Image="kennel-serve", ModelDataUrl=f"s3://{BUCKET}/none.tar.gz")


def test_names_in_use_and_names_unknown_are_refused_as_aws_does(client: Client, endpoint: str) -> None:
    with pytest.raises(ClientError, match='Cannot create already existing model "arn:aws:sagemaker'):
        client.sagemaker.create_model(ModelName=endpoint, PrimaryContainer={"Image": "kennel-serve"})
    with pytest.raises(ClientError, match='Cannot create already existing endpoint "arn:aws:sagemaker'):
        client.sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=endpoint)
    with pytest.raises(ClientError, match='Could not find endpoint configuration "arn:aws:sagemaker'):
        client.sagemaker.create_endpoint(EndpointName="new", EndpointConfigName="none")
    variant = {"VariantName": "v", "ModelName": "none", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    with pytest.raises(ClientError, match='Could not find model "arn:aws:sagemaker'):
        client.sagemaker.create_endpoint_config(EndpointConfigName="new", ProductionVariants=[variant])
    with pytest.raises(ClientError, match="Cannot create already existing endpoint configuration"):
        client.sagemaker.create_endpoint_config(EndpointConfigName=endpoint, ProductionVariants=[variant])


def test_endpoint_config_needs_one_complete_variant(client: Client, endpoint: str) -> None:
    variant = {"VariantName": "v", "ModelName": endpoint, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    with pytest.raises(ClientError, match="2 ProductionVariants are more than one machine serves"):
        client.sagemaker.create_endpoint_config(
            EndpointConfigName="new", ProductionVariants=[variant, {**variant, "VariantName": "w"}]
        )
    del variant["InstanceType"]
    with pytest.raises(ClientError, match="variant v needs either InstanceType and InitialInstanceCount"):
        client.sagemaker.create_endpoint_config(EndpointConfigName="new", ProductionVariants=[variant])


def test_tags_can_be_added_listed_and_deleted(client: Client, endpoint: str) -> None:
    arn = client.endpoint(endpoint)["EndpointArn"]
    client.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    client.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a"])
    assert client.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    with pytest.raises(ClientError, match="does not exist"):
        client.sagemaker.list_tags(ResourceArn=arn + "-other")
