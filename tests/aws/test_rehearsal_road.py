"""A rehearsal on this machine of a job whose pictures are in S3: the real training, on made pictures."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from account import Account, open_account

from kennel.dataset.sample import make_sample
from kennel.errors import UserError
from kennel.launch.jobs import TrainingJob
from kennel.launch.places import open_place
from kennel.launch.preflight.rehearsal import rehearse

BUCKET = "my-bucket"
ROLE = "arn:aws:iam::123456789012:role/kennel-execution"
SETTINGS = {"weights": "none", "image-size": "32", "epochs": "40", "batch-size": "8", "trainable": "all"}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = make_sample(tmp_path_factory.mktemp("pictures") / "sample", images_per_class=10, size_px=32)
    with open_account(tmp_path_factory.mktemp("rehearsals") / "runs") as account:
        s3 = account.admin("s3")
        s3.create_bucket(Bucket=BUCKET)
        for path in folder.rglob("*.jpg"):
            s3.put_object(Bucket=BUCKET, Key=f"kennel/data/dogs/{path.relative_to(folder)}", Body=path.read_bytes())
        for name in ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"):
            s3.put_object(Bucket=BUCKET, Key=f"kennel/data/broken/{name}.jpg", Body=f"no picture {name}".encode())
        yield account


@pytest.fixture
def account(opened: Account, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    for key, value in {**opened.environ, "KENNEL_ROLE": ROLE, "KENNEL_BUCKET": BUCKET}.items():
        monkeypatch.setenv(key, value)
    return opened


def job(data: str = f"s3://{BUCKET}/kennel/data/dogs/") -> TrainingJob:
    return TrainingJob("dogs", {"data": data}, SETTINGS)


def test_the_time_of_the_whole_job_is_measured_here(
    account: Account, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, before = open_place("aws"), dict(os.environ)
    found = rehearse(job(), place, pictures=24)
    assert capsys.readouterr().out == f"rehearsal {found.name}: 24 of 80 pictures, 2 epochs, on this machine\n"
    log = (runs / found.name / "log.txt").read_text()
    assert "data classes=8 train=16 valid=8 test=0" in log and "epoch=2/2" in log
    assert "64 pictures to train on, 8 to validate, 40 epochs" in found.lines[1]
    assert 0 < found.expected_s < 1200 and f"{found.expected_s / 60:.1f} min here" in found.lines[1]
    assert "device=" in found.lines[0] and "AWS's machine is another one" in found.lines[2]
    assert dict(os.environ) == before and account.asked("CreateTrainingJob") == []


def test_a_rehearsal_that_fails_says_why(account: Account) -> None:
    place = open_place("aws")
    with pytest.raises(UserError, match="The rehearsal failed on this machine(.|\n)*is not an image"):
        rehearse(job(data=f"s3://{BUCKET}/kennel/data/broken/"), place, pictures=6)
    with pytest.raises(UserError, match="--rehearse 3 is too few: give 6"):
        rehearse(job(), place, pictures=3)
    assert account.asked("CreateTrainingJob") == []
