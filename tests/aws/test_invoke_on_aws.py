"""`kennel invoke --on aws`: what is sent for photos of all sizes, to endpoints of all kinds, and how long it asks.

Endpoints with machines answer from the local SageMaker. Asynchronous ones are moto's, and a stand-in answers for them
at once: that one sleeps, wakes and scales is not shown.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from account import fault
from deploying import BUCKET, Deploying, moto_app, open_deploying
from PIL import Image
from werkzeug.wrappers import Request, Response

from kennel.launch.endpoint import asynchronous, predict
from kennel.launch.places import open_place

NOT_READY = (429, {"x-amzn-ErrorType": "ModelNotReadyException"}, json.dumps({"Message": "the model is being loaded"}))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploying]:
    with pytest.MonkeyPatch.context() as patch, open_deploying(tmp_path_factory.mktemp("invoke")) as deploying:
        patch.setattr(predict, "_BETWEEN_S", 0.05)
        patch.setattr(asynchronous, "_BETWEEN_S", 0.05)
        assert deploying.deploy("dogs", deploying.archive("poodle")) == 0
        yield deploying
        deploying.clear()


@pytest.fixture
def deploying(opened: Deploying) -> Iterator[Deploying]:
    opened.account.calls.clear()
    yield opened
    opened.account.faults.clear()
    opened.account.others.pop("sagemaker", None)


def photo_of(folder: Path, name: str, *, side_px: int) -> Path:
    """A picture of noise, which no format makes small."""
    pixels = numpy.random.default_rng(0).integers(0, 255, (side_px, side_px, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(folder / name)
    return folder / name


def invoke(deploying: Deploying, *arguments: object) -> int:
    return deploying.kennel("invoke", *arguments)


def test_photos_are_sent_as_they_are_and_larger_ones_smaller(
    deploying: Deploying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = photo_of(tmp_path, "small.png", side_px=64), photo_of(tmp_path, "large.png", side_px=512)
    monkeypatch.setenv("KENNEL_MAX_PAYLOAD_BYTES", "100000")
    assert invoke(deploying, "dogs", small, large) == 0
    said = capsys.readouterr()
    assert [line.split()[:3] for line in said.out.splitlines()[1:]] == [
        ["small.png", "poodle", "90.0%"],
        ["large.png", "poodle", "90.0%"],
    ]
    [line] = said.err.splitlines()
    assert line.startswith(f"{large} has ") and "a request takes 100,000. Sent as JPEG" in line
    first, second = predict.Asking.of("dogs", open_place("aws")).answers([small, large])
    assert (first.model["bytes"], first.model["type"]) == (small.stat().st_size, "image/png")
    assert second.model["bytes"] <= 100_000 and second.model["type"] == "image/jpeg"
    assert second.model["begin"] == "ffd8ff", "a JPEG"


def test_what_is_too_large_and_no_photo_is_refused_before_any_is_sent(
    deploying: Deploying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KENNEL_MAX_PAYLOAD_BYTES", "50000")
    (tmp_path / "notes.jpg").write_bytes(b"words" * 20_000)
    assert invoke(deploying, "dogs", photo_of(tmp_path, "small.png", side_px=64), tmp_path / "notes.jpg") == 3
    assert "notes.jpg has 100,000 bytes; a request takes 50,000, and it cannot be made" in capsys.readouterr().err
    assert invoke(deploying, "dogs", tmp_path / "gone.jpg") == 3
    assert not deploying.account.asked("InvokeEndpoint")


def test_an_endpoint_that_is_not_ready_is_asked_again_and_one_that_is_not_there_is_not(
    deploying: Deploying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = photo_of(tmp_path, "small.png", side_px=64)
    deploying.account.faults["InvokeEndpoint"] = [NOT_READY] * 7
    assert invoke(deploying, "dogs", small, "--target-model", "dogs-1.tar.gz") == 0
    said = capsys.readouterr()
    assert "poodle" in said.out and said.err.count("not ready yet (ModelNotReadyException)") == 1
    asked = [call.asked.parameters for call in deploying.account.calls if call.asked]
    assert {each.get("TargetModel") for each in asked if "TargetModel" in each} == {"dogs-1.tar.gz"}
    monkeypatch.setattr(predict, "_PATIENCE_S", 0.0)
    deploying.account.faults["InvokeEndpoint"] = [NOT_READY] * 6
    assert invoke(deploying, "dogs", small) == 2
    assert "the model is being loaded" in capsys.readouterr().err
    deploying.account.faults.clear()
    assert invoke(deploying, "cats", small) == 2
    assert "Could not find endpoint" in capsys.readouterr().err


def test_who_may_only_ask_need_not_be_able_to_look(deploying: Deploying, tmp_path: Path) -> None:
    deploying.account.faults["DescribeEndpoint"] = [fault("AccessDeniedException", "User: me may not")]
    assert invoke(deploying, "dogs", photo_of(tmp_path, "small.png", side_px=64)) == 0


def test_a_serverless_endpoint_takes_less(deploying: Deploying) -> None:
    deploying.account.others["sagemaker"] = moto_app()
    assert deploying.deploy("now", deploying.archive("poodle"), "--serverless", 2048) == 0
    assert predict.Asking.of("now", open_place("aws")).limit_bytes == 4_000_000
    deploying.sagemaker.delete_endpoint(EndpointName="now")


class Queue:
    """Answers InvokeEndpointAsync as an endpoint that has a machine: at once, with what it says of the object."""

    def __init__(self, deploying: Deploying) -> None:
        self.s3 = deploying.s3
        self.inputs: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        request = Request(environ)
        location = request.headers["X-Amzn-SageMaker-InputLocation"]
        bucket, _, key = location.removeprefix("s3://").partition("/")
        with self.s3.get_object(Bucket=bucket, Key=key)["Body"] as stream:
            body = stream.read()
        self.inputs.append(key)
        number = len(self.inputs)
        base = key.partition("/input/")[0]
        keys = f"{base}/output/{number}.out", f"{base}/failures/{number}-error.out"
        first = {"label": "terrier", "probability": 0.8}
        answer = {
            "predictions": [{**first, "abstain": False, "top_k": [first]}],
            "model": {"bytes": len(body), "type": request.headers["X-Amzn-SageMaker-Content-Type"]},
        }
        is_bad = body == b"bad"
        text = "Received client error (400) from model" if is_bad else json.dumps(answer)
        self.s3.put_object(Bucket=bucket, Key=keys[is_bad], Body=text.encode())
        headers = {
            "X-Amzn-SageMaker-OutputLocation": f"s3://{bucket}/{keys[0]}",
            "X-Amzn-SageMaker-FailureLocation": f"s3://{bucket}/{keys[1]}",
        }
        return Response(json.dumps({"InferenceId": str(number)}), 202, headers, content_type="application/json")(
            environ, start_response
        )


def test_an_asynchronous_endpoint_is_asked_through_s3(
    deploying: Deploying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = Queue(deploying)
    deploying.account.others["sagemaker"] = moto_app()
    assert deploying.deploy("later", deploying.archive("terrier"), "--async", "--instance", "ml.m5.large") == 0
    monkeypatch.setenv("KENNEL_MAX_PAYLOAD_BYTES", "5000")
    photos = [photo_of(tmp_path, f"{name}.png", side_px=64) for name in "ab"]
    deploying.account.others["sagemaker"] = _Both(deploying, queue)
    capsys.readouterr()
    assert invoke(deploying, "later", *photos, "--json") == 0
    said = capsys.readouterr()
    assert [json.loads(line)["label"] for line in said.out.splitlines()] == ["terrier"] * 2
    assert f"the answers come to s3://{BUCKET}/kennel/async/later/output" in said.err
    assert len(queue.inputs) == 2, "S3 takes what a request does not: nothing is made smaller"
    listed = deploying.s3.list_objects_v2(Bucket=BUCKET, Prefix="kennel/async/later/")["Contents"]
    assert [each["Key"].rpartition("/")[2] for each in listed] == ["1.out", "2.out"], "what was sent is gone"
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"bad")
    assert invoke(deploying, "later", bad) == 2
    assert "the endpoint could not answer: Received client error (400)" in capsys.readouterr().err
    assert invoke(deploying, "later", bad, "--target-model", "a.tar.gz") == 2
    assert "is asynchronous and has one model" in capsys.readouterr().err


class _Both:
    """SageMaker's two services are signed alike: moto for the one, the queue for the other."""

    def __init__(self, deploying: Deploying, queue: Queue) -> None:
        self.sagemaker = deploying.account.others["sagemaker"]
        self.queue = queue

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        is_question = environ["PATH_INFO"].endswith("/async-invocations")
        return (self.queue if is_question else self.sagemaker)(environ, start_response)
