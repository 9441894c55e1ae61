"""What Kennel's own verbs make on AWS carries its tag, and one command leaves nothing of it.

Stand-in programs train and serve; moto keeps schedules and scaling, and runs neither. Not shown: how long AWS takes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from account import Account
from moto.moto_api._internal.models import moto_api_backend
from stand_in_prices import Prices, product
from tagged_resources import Tagging, tagging_of
from whole_account import BUCKET, DATA, be_user, kennel, put_pictures, whole_account

from conftest import impatient

HERE = Path(__file__).parent
TYPES = {"Training": "ml.g5.xlarge", "BatchTransform": "ml.c7i.xlarge", "Hosting": "ml.c7i.large"}


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    moto_api_backend.reset()
    with impatient(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("KENNEL_TRAIN_COMMAND", f"{sys.executable} -S {HERE / 'stand_in_epochs.py'}")
        patch.setenv("KENNEL_SERVE_COMMAND", f"{sys.executable} -S {HERE / 'stand_in_batch.py'}")
        with whole_account(tmp_path / "runs") as account:
            be_user(account, monkeypatch, tmp_path)
            monkeypatch.setenv("KENNEL_SCHEDULER_ROLE", "arn:aws:iam::123456789012:role/kennel-scheduler")
            account.others["pricing"] = Prices(*(product(each, kind, "0.5") for kind, each in TYPES.items()))
            put_pictures(account, images=200)
            yield account


@pytest.fixture
def tagging(account: Account) -> Iterator[Tagging]:
    with tagging_of(account) as tagging:
        yield tagging


def test_what_every_verb_makes_is_tagged_and_goes(
    account: Account, tagging: Tagging, capsys: pytest.CaptureFixture[str]
) -> None:
    on = ("--on", "aws")
    quick = ("-p", "epochs=1", "--data", DATA)
    assert kennel("train", *on, *quick, "-p", "lr=0.01", "--name", "first") == 0
    account.admin("s3").put_object(Bucket=BUCKET, Key="kennel/photos/a.jpg", Body=b"photo")
    photos, answers = f"s3://{BUCKET}/kennel/photos", f"s3://{BUCKET}/kennel/transforms/answers"
    assert kennel("transform", "first", *on, "--input", photos, "--output", answers, "--job-name", "batch") == 0
    assert kennel("tune", *on, *quick, "--name", "search", "--max-jobs", 2) == 0
    assert kennel("deploy", "first", *on, "--endpoint-name", "up", "--max", 2, "--ttl", "2h") == 0
    capsys.readouterr()
    kinds = sorted({arn.split(":")[5].split("/")[0] for arn in tagging.ours()})
    assert {"endpoint", "endpoint-config", "hyper-parameter-tuning-job", "model"} < set(kinds)
    assert {"scalable-target", "schedule-group", "training-job", "transform-job"} < set(kinds)

    assert kennel("cost", *on) == 0
    assert "endpoint up (InService)" in capsys.readouterr().out
    assert kennel("delete", *on, "--all", "--data", "--yes") == 0
    said = capsys.readouterr().out
    assert "deleted endpoint up" in said and "deleted tuning job search" in said and "untagged transform job" in said
    assert tagging.ours() == []
    assert account.admin("scheduler").list_schedules()["Schedules"] == []
    assert "Versions" not in account.admin("s3").list_object_versions(Bucket=BUCKET, Prefix="kennel/")
    assert kennel("list", *on) == 0
    assert capsys.readouterr().out == "nothing runs that costs\n"
