"""The service as plain HTTP: what it answers to strangers, to nonsense, and to what it does not know."""

import json
import urllib.error
import urllib.request
from http.client import HTTPMessage
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest
from botocore.exceptions import ClientError

from local_service import BUCKET, Client


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    content: dict[str, object]


def ask(client: Client, path: str = "/", *, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    request = urllib.request.Request(client.state.url + path, body, headers or {})
    try:
        with urllib.request.urlopen(request) as answer:
            return Answer(answer.status, answer.headers, json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, json.loads(error.read()))


def test_service_says_that_it_is_alive(client: Client) -> None:
    answer = ask(client, "/kennel")
    assert answer.content == {"pid": client.state.pid, "runs": str(client.runs)}


def test_error_is_in_the_body_and_in_a_header(client: Client) -> None:
    answer = ask(client, body=b'{"TrainingJobName": "x"}', headers={"X-Amz-Target": "SageMaker.DescribeTrainingJob"})
    assert answer.status == 400
    assert answer.headers["x-amzn-ErrorType"] == answer.content["__type"] == "ValidationException"
    assert answer.content["message"] == "Requested resource not found."
    assert answer.headers["x-amzn-RequestId"]


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"{", "The request is not JSON"), (b"[]", "[] at '' can not be converted to a structure")],
)
def test_nonsense_is_a_serialization_exception(client: Client, body: bytes, message: str) -> None:
    answer = ask(client, body=body, headers={"X-Amz-Target": "SageMaker.ListModels"})
    assert (answer.status, answer.content["__type"]) == (400, "SerializationException")
    assert message in str(answer.content["message"])


def test_request_without_an_operation_is_told_what_there_is(client: Client) -> None:
    answer = ask(client, body=b"{}", headers={"X-Amz-Target": "SageMaker."})
    assert "does not answer a request without an operation. It answers: AddTags" in str(answer.content["message"])


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Origin": "https://example.com"}, "does not answer web pages"),
        ({"Host": "rebound.example.com"}, "does not answer to the host name 'rebound.example.com'"),
    ],
)
def test_web_pages_are_kept_out(client: Client, headers: dict[str, str], message: str) -> None:
    answer = ask(client, body=b"{}", headers={"X-Amz-Target": "SageMaker.ListModels", **headers})
    assert (answer.status, answer.content["__type"]) == (403, "AccessDeniedException")
    assert message in str(answer.content["message"])


def test_service_that_is_not_here_is_named(client: Client) -> None:
    session = boto3.Session("a", "b", region_name="us-east-1")
    with pytest.raises(
        ClientError, match="does not answer the service 'dynamodb'. It answers sagemaker, logs, monitoring"
    ):
        session.client("dynamodb", endpoint_url=client.state.url).list_tables()


def test_any_credentials_and_region_are_taken(client: Client) -> None:
    session = boto3.Session("AKIAOTHER", "other", "token", region_name="eu-west-1")
    found = session.client("sagemaker", endpoint_url=client.state.url).list_models()
    assert "Models" in found
    assert session.client("s3", endpoint_url=client.state.url).head_bucket(Bucket=BUCKET)


def test_s3_takes_large_objects_copies_and_metadata(client: Client, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000  # 10 MB: sent in parts
    path = tmp_path / "large.bin"
    path.write_bytes(content)
    client.s3.upload_file(str(path), BUCKET, "large/a b.bin", ExtraArgs={"Metadata": {"key": "value"}})
    client.s3.copy({"Bucket": BUCKET, "Key": "large/a b.bin"}, BUCKET, "large/copy.bin")
    answer = client.s3.get_object(Bucket=BUCKET, Key="large/copy.bin")
    with answer["Body"] as stream:
        assert stream.read() == content
    assert answer["Metadata"] == {"key": "value"}


def test_result_of_a_job_can_be_copied_and_deleted_before_anybody_read_it(client: Client) -> None:
    for name in ("copied", "deleted", "replaced"):
        client.train(name)
        assert client.finished_job(name)["TrainingJobStatus"] == "Completed"
    key = "results/{}/output/model.tar.gz".format
    client.s3.copy_object(Bucket=BUCKET, Key="mine.tar.gz", CopySource={"Bucket": BUCKET, "Key": key("copied")})
    assert client.s3.head_object(Bucket=BUCKET, Key="mine.tar.gz")["ContentLength"] > 0
    client.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key("deleted")}]})
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.s3.get_object(Bucket=BUCKET, Key=key("deleted"))
    client.s3.put_object(Bucket=BUCKET, Key=key("replaced"), Body=b"other")
    assert client.s3.head_object(Bucket=BUCKET, Key=key("replaced"))["ContentLength"] == 5
