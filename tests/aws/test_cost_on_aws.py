"""cost on AWS, and what delete does with storage and warm pools. Prices are made up, seconds are the stand-ins'.

The local SageMaker has no warm pools: the one here is put into its answers, until it is told to end.
"""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests
from made_on_aws import BUCKET, Made, furnished
from werkzeug.wrappers import Request, Response

from kennel import cli

DENIED = (403, {"Content-Type": "application/xml"}, "<Error><Code>AccessDenied</Code><Message>No</Message></Error>")


class WarmPool:
    """Before the local SageMaker: one training's machines wait, and keep it, until UpdateTrainingJob says 0."""

    def __init__(self, local_url: str, job: str) -> None:
        self.url, self.job, self.status = local_url, job, "Available"

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        request = Request(environ)
        asked = json.loads(request.get_data() or b"{}")
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        is_its = asked.get("TrainingJobName") == self.job
        if operation == "UpdateTrainingJob" and is_its:
            assert asked["ResourceConfig"] == {"KeepAlivePeriodInSeconds": 0}
            self.status = "Terminated"
            return Response("{}", content_type="application/x-amz-json-1.1")(environ, start_response)
        if operation == "DeleteTrainingJob" and is_its and self.status == "Available":
            message = json.dumps({"__type": "ResourceInUse", "message": "It retains a warm pool."})
            return Response(message, 400, content_type="application/x-amz-json-1.1")(environ, start_response)
        headers = {key: value for key, value in request.headers.items() if key.lower() not in ("host", "connection")}
        answer = requests.post(self.url, data=json.dumps(asked), headers=headers, timeout=60)
        content = answer.json()
        if operation == "DescribeTrainingJob" and is_its and answer.ok:
            content["WarmPoolStatus"] = {"Status": self.status, "ResourceRetainedBillableTimeInSeconds": 3600}
        return Response(json.dumps(content), answer.status_code, content_type=answer.headers["Content-Type"])(
            environ, start_response
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A finished training, and one whose machines wait; an endpoint that scales."""
    with furnished(tmp_path_factory.mktemp("cost")) as made:
        made.train("dogs")
        made.train("warm")
        made.deploy("up")
        made.surround("up")
        made.finished("dogs")
        made.finished("warm")
        made.account.others["sagemaker"] = WarmPool(made.account.local_url, "warm")
        yield made


def test_what_runs_and_what_was_spent_is_said(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert made.kennel("cost") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "runs now: $1.08 an hour"
    assert any("endpoint up (InService)" in line and "$0.72 an hour" in line for line in lines[1:3])
    assert any("training job warm (Completed)" in line and "waits for the next job" in line for line in lines[1:3])
    assert any(line.startswith("spent: $0.3") for line in lines)
    assert any("training job dogs (Completed)" in line and "1 x ml.m5.large" in line for line in lines)
    [stored] = [line for line in lines if line.startswith("stored: ")]
    assert "objects" in stored and f"below s3://{BUCKET}/kennel" in stored
    assert lines[-1].startswith("(price list of 2026-11-20; list prices, without data, S3")


def test_as_json_amounts_are_exact(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert made.kennel("cost", "--json") == 0
    bill = json.loads(capsys.readouterr().out)
    assert [Decimal(each) for each in bill["hourly_usd"]] == [Decimal("1.08")] * 2
    things = {each["name"]: each for each in bill["things"]}
    seconds = made.finished("dogs")["BillableTimeInSeconds"]
    assert [Decimal(each) for each in things["dogs"]["spent_usd"]] == [Decimal("0.36") * seconds / 3600] * 2
    least, most = (Decimal(each) for each in things["up"]["spent_usd"])
    assert 0 < least < most < 3 * least + Decimal("0.001")
    assert bill["stored"]["bytes"] > 0 and bill["could_not_be_looked_at"] == []


def test_one_by_its_name(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert made.kennel("cost", "dogs") == 0
    shown = capsys.readouterr().out
    assert "training job dogs" in shown and "endpoint up" not in shown and "runs now: nothing" in shown
    assert made.kennel("cost", "nobody") == 2
    assert "There is no job or endpoint 'nobody'" in capsys.readouterr().err


def test_elsewhere_nothing_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cost"]) == 2
    assert "--on local costs nothing" in capsys.readouterr().err


def test_data_goes_only_when_it_is_asked_for_with_versions_and_unfinished_uploads(
    made: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = made.s3
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"old", b"newer"):
        s3.put_object(Bucket=BUCKET, Key="kennel/data/one.jpg", Body=body)
    s3.delete_object(Bucket=BUCKET, Key="kennel/data/one.jpg")
    s3.put_object(Bucket=BUCKET, Key="kennel-not-ours/one.jpg", Body=b"theirs")
    s3.create_multipart_upload(Bucket=BUCKET, Key="kennel/data/large")
    assert made.kennel("delete", "--endpoint-name", "up", "--data", "--yes") == 2
    assert "give it with --all" in capsys.readouterr().err
    monkeypatch.setenv("KENNEL_PREFIX", "/")
    assert made.kennel("delete", "--all", "--data", "--yes") == 2
    assert "would delete everything in the bucket" in capsys.readouterr().err
    monkeypatch.delenv("KENNEL_PREFIX")

    assert made.kennel("delete", "--all", "--data", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "1 unfinished upload," in said and f"below s3://{BUCKET}/kennel" in said
    made.account.faults["DeleteObjects"] = [DENIED]
    assert made.kennel("delete", "--all", "--data", "--yes") == 1
    shown = capsys.readouterr()
    assert "deleted training job warm ($0.37" in shown.out and "is billed" not in shown.err
    assert "1 left" in shown.err and "AWS refused DeleteObjects: No" in shown.err
    assert made.tagging.ours() == []

    assert made.kennel("delete", "--all", "--data", "--yes") == 0
    assert f"below s3://{BUCKET}/kennel" in capsys.readouterr().out
    left = s3.list_object_versions(Bucket=BUCKET)
    assert [each["Key"] for each in left["Versions"]] == ["kennel-not-ours/one.jpg"] and "DeleteMarkers" not in left
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)
    assert made.kennel("delete", "--all", "--data", "--yes") == 0
    assert "nothing to delete" in capsys.readouterr().out
