"""What a job on AWS reads, without AWS."""

import io
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from kennel.aws.manifest import Entry, Manifest
from kennel.aws.profile import Profile
from kennel.aws.words import CredentialsError
from kennel.launch.aws_inputs import data_line, local_weights, training_images, with_weights_in_s3
from kennel.launch.jobs import TrainingJob
from kennel.launch.places import Place

ENTRY = Entry("0" * 64, 2_000_000, "0")
DATA = "s3://b/kennel/data/dogs/"


class FakeS3:
    """Answers the one question for a manifest."""

    def __init__(self, answer: str | ClientError) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803  boto3's
        self.asked.append(f"{Bucket}/{Key}")
        if isinstance(self.answer, ClientError):
            raise self.answer
        return {"ETag": '"0"', "Body": io.BytesIO(self.answer.encode())}


def place_with(s3: FakeS3, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(Place, "client", lambda self, service: s3)
    return Place("aws", "r", "t", "s", "ml.g5.xlarge", (), Profile(bucket="b"))


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetObject")


def test_what_is_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = FakeS3(Manifest("f" * 64, {"train/a/1.jpg": ENTRY, "valid/a/1.jpg": ENTRY}).to_json())
    assert data_line(DATA, place_with(s3, monkeypatch)) == f"data: {DATA}, 2 files, 4 MB, digest {'f' * 16}"
    assert s3.asked == ["b/kennel/data/dogs.manifest.json"]


@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied"])
def test_a_manifest_that_is_not_there_or_not_ours_to_read_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    assert data_line(DATA, place_with(FakeS3(refusal(code)), monkeypatch)).startswith(
        f"warning: {DATA} has no manifest"
    )


def test_expired_credentials_are_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CredentialsError, match="have expired"):
        data_line(DATA, place_with(FakeS3(refusal("ExpiredToken")), monkeypatch))


def test_training_images_are_those_of_train_or_four_fifths() -> None:
    split = ["Training/a/1.jpg", "Training/b/1.jpg", "val/a/2.jpg"]
    assert training_images(Manifest("f", dict.fromkeys(split, ENTRY))) == 2
    assert training_images(Manifest("f", {f"a/{number}.jpg": ENTRY for number in range(10)})) == 8


def test_weights_get_an_address_by_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_with(FakeS3(""), monkeypatch)
    weights = tmp_path / "mine 1.pth"
    weights.write_bytes(b"weights")
    job = TrainingJob("dogs", {"data": DATA, "weights": weights.as_uri()})
    assert local_weights(job) == weights
    there = with_weights_in_s3(job, place).channels
    assert there == {"data": DATA, "weights": "s3://b/kennel/weights/9a129038d9a00aed/mine 1.pth"}
    settled = TrainingJob("dogs", there)
    assert local_weights(settled) is None and with_weights_in_s3(settled, place) is settled
