"""`kennel upload` against the account of the tests: what it checks, sends, says, and leaves where it ends early.

Not shown: a bucket that lies in another region is asked for by a redirect on AWS; here the answer names its region.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from account import Account, Answer, open_account

from kennel import cli
from kennel.dataset.folders import find_folder

BUCKET = "my-bucket"
XML = {"Content-Type": "application/xml"}
SLOW_DOWN: Answer = (
    503,
    XML,
    "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
)
EXPIRED: Answer = (
    400,
    XML,
    "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with open_account(tmp_path_factory.mktemp("upload") / "runs") as opened:
        yield opened


@pytest.fixture
def data(account: Account, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of 60 pictures; each test has a prefix of its own in the bucket."""
    for key, value in account.environ.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("KENNEL_BUCKET", BUCKET)
    monkeypatch.setenv("KENNEL_PREFIX", f"kennel/{tmp_path.name}")
    account.faults.clear()
    account.calls.clear()
    account.admin("s3").create_bucket(Bucket=BUCKET)
    return make_folder()


def kennel(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def keys(account: Account) -> list[str]:
    pages = (
        account.admin("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=BUCKET, Prefix=f"{os.environ['KENNEL_PREFIX']}/data/")
    )
    return [each["Key"] for page in pages for each in page.get("Contents", ())]


def writes(account: Account) -> list[str]:
    return [
        call.target for call in account.calls if call.service == "s3" and not call.target.startswith(("GET", "HEAD"))
    ]


def test_what_was_sent_is_said_with_the_trainings_digest_and_its_command(
    data: Path, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "train" / "001.Red" / "notes.txt").write_text("no picture")
    (data / "readme.md").write_text("no picture either")
    assert kennel("upload", "--data", data, "--dry-run") == 0
    uri = f"s3://{BUCKET}/{os.environ['KENNEL_PREFIX']}/data/pictures/"
    told = capsys.readouterr().out
    assert "would send 60 files (0.1 MB)" in told and uri in told and not writes(account) and not keys(account)

    assert kennel("upload", "--data", data) == 0
    told = capsys.readouterr().out
    assert "60 files sent (0.1 MB), 0 were there, 0 deleted" in told
    assert "1 files are no pictures of the data set, and were left out" in told
    assert f"data: {uri}\n" in told and f"train on it: scripts/train.sh --on aws --data {uri}\n" in told
    assert f"digest: {find_folder(data, seed=0).digest()}\n" in told
    assert len(keys(account)) == 61 and not [each for each in keys(account) if each.endswith((".txt", ".md"))]

    (data / "test" / "001.Red" / "red_000.jpg").unlink()
    assert kennel("upload", "--data", data, "--name", "pictures") == 0
    assert "0 files sent (0.0 MB), 59 were there, 1 deleted" in capsys.readouterr().out


def test_pictures_are_checked_before_anything_is_asked(
    data: Path, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "train" / "001.Red" / "broken.jpg").write_bytes(b"no picture")
    (data / "train" / "001.Red" / "empty.jpg").touch()
    assert kennel("upload", "--data", data) == 3
    assert "broken.jpg" in capsys.readouterr().err and not account.calls
    assert kennel("upload", "--data", data, "--anyway") == 0
    told = capsys.readouterr().out
    (data / "train" / "001.Red" / "broken.jpg").unlink()
    (data / "train" / "001.Red" / "empty.jpg").unlink()
    assert "62 files sent" in told and "/data/pictures/ --anyway\n" in told
    assert f"digest: {find_folder(data, seed=0).digest()}\n" in told, "of what a training is left with"
    assert kennel("upload", "--data", data / "none") == 3
    assert kennel("upload", "--data", data, "--name", "my_data") == 2
    assert "Try 'my-data'" in capsys.readouterr().err


def test_buckets_that_cannot_be_used_are_refused_with_the_command_that_makes_one(
    data: Path, account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"LocationConstraint": "eu-west-1"}
    account.admin("s3").create_bucket(Bucket="abroad", CreateBucketConfiguration=there)
    monkeypatch.setenv("KENNEL_BUCKET", "abroad")
    assert kennel("upload", "--data", data) == 2
    told = capsys.readouterr().err
    assert (
        "The bucket 'abroad' is in eu-west-1, and jobs would run in us-east-1" in told and "--region eu-west-1" in told
    )

    monkeypatch.setenv("KENNEL_BUCKET", "nowhere")
    assert kennel("upload", "--data", data) == 2
    told = capsys.readouterr().err
    assert (
        "There is no bucket 'nowhere'. Make it: aws s3api create-bucket --bucket nowhere --region us-east-1\n" in told
    )
    assert kennel("upload", "--data", data, "--region", "eu-west-1") == 2
    assert "--create-bucket-configuration LocationConstraint=eu-west-1" in capsys.readouterr().err

    account.faults["HEAD /nowhere"] = [(403, {}, "")]
    assert kennel("upload", "--data", data) == 2
    assert "The bucket 'nowhere' is another account's" in capsys.readouterr().err
    monkeypatch.delenv("KENNEL_BUCKET")
    assert kennel("upload", "--data", data) == 2
    assert "--on aws needs bucket" in capsys.readouterr().err
    assert not writes(account)


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        pytest.param(EXPIRED, 5, "The credentials have expired (PutObject)", id="expired"),
        pytest.param(SLOW_DOWN, 1, "AWS refused PutObject: Please reduce your request rate", id="slow-down"),
    ],
)
def test_an_upload_that_ends_early_says_what_is_there_and_goes_on(
    data: Path,
    account: Account,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    status: int,
    message: str,
) -> None:
    monkeypatch.setattr("kennel.aws.upload.CONNECTIONS", 4)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    path = f"/{BUCKET}/{os.environ['KENNEL_PREFIX']}/data/pictures/train/003.Blue/blue_005.jpg"
    account.faults[f"PUT {path}"] = [answer] * 8
    assert kennel("upload", "--data", data) == status
    told = capsys.readouterr().err
    there = len(keys(account)) - (1 if status == 1 else 0) - (1 if status == 5 else 0)
    assert (
        message in told and f"\n{there} of 60 files are at s3://{BUCKET}/" in told and "Say it again to go on." in told
    )
    account.faults.clear()
    assert kennel("upload", "--data", data) == 0
    assert f"{60 - there} files sent" in (said := capsys.readouterr().out) and f"{there} were there" in said


def test_what_others_put_there_goes_only_with_replace(
    data: Path, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = f"{os.environ['KENNEL_PREFIX']}/data/pictures/thesis.pdf"
    account.admin("s3").put_object(Bucket=BUCKET, Key=stranger, Body=b"years of work")
    assert kennel("upload", "--data", data) == 2
    told = capsys.readouterr().err
    assert "holds 1 objects that kennel upload has not put there (thesis.pdf)" in told and "--replace" in told
    assert keys(account) == [stranger] and not writes(account)
    assert kennel("upload", "--data", data, "--replace", "--dry-run") == 0
    assert "delete 1\n  delete thesis.pdf\n" in capsys.readouterr().out
    assert kennel("upload", "--data", data, "--replace") == 0
    assert "60 files sent (0.1 MB), 0 were there, 1 deleted" in capsys.readouterr().out
    assert stranger not in keys(account)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=lambda sent: sent.name)
def test_an_interrupted_program_goes_on_where_it_was(
    data: Path, account: Account, capsys: pytest.CaptureFixture[str], sent: signal.Signals
) -> None:
    """One picture's answers do not come: the others are there, and the program waits to say it again."""
    path = f"/{BUCKET}/{os.environ['KENNEL_PREFIX']}/data/pictures/valid/003.Blue/blue_003.jpg"
    account.faults[f"PUT {path}"] = [(500, XML, "<Error><Code>InternalError</Code></Error>")] * 400
    program = [sys.executable, "-c", SLOW_TO_TRY_AGAIN, "upload", "--data", str(data)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + 60
            while len(keys(account)) < 60 and time.monotonic() < until and process.poll() is None:
                time.sleep(0.1)
            process.send_signal(sent)
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    account.faults.clear()
    there = len([key for key in keys(account) if key.endswith(".jpg")])
    assert there == 59, told
    if sent is signal.SIGINT:
        assert process.returncode == 130 and "59 of 60 files are at s3://" in told and "Traceback" not in told
    else:
        assert process.returncode == -signal.SIGKILL
    assert kennel("upload", "--data", data) == 0
    assert "1 files sent (0.0 MB), 59 were there, 0 deleted" in capsys.readouterr().out


# A shell's background job ignores Ctrl-C, and hands that on; a person's program does not.
SLOW_TO_TRY_AGAIN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import botocore.retries.standard as standard
standard.ExponentialBackoff.delay_amount = lambda *_: 0.5
from kennel.cli import main
sys.exit(main(sys.argv[1:]))
"""
