"""`kennel transform --on aws` against the account of the tests: its requests, its end, and what is left.

The server is a stand-in that answers each file with its content. Not shown: machines, several of them, encryption and
networks are in the requests, which are checked against botocore's model; here one process serves.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from account import EXPIRED, THROTTLED, Account, Answer, fault
from stand_in_iam import DenyingIam
from stand_in_prices import Prices, product
from whole_account import BUCKET, DATA, ROLE, be_user, kennel, put_pictures, whole_account

from conftest import impatient
from kennel.launch.transform_files import Prefix
from kennel.launch.watching.attend import Detached
from local_service import wait_until

HERE = Path(__file__).parent
IN, OUT = f"s3://{BUCKET}/kennel/transforms", f"s3://{BUCKET}/kennel/transforms/answers"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """With a model that the job `first` has left."""
    folder = tmp_path_factory.mktemp("transform")
    with impatient(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("KENNEL_TRAIN_COMMAND", f"{sys.executable} -S {HERE / 'stand_in_epochs.py'}")
        patch.setenv("KENNEL_SERVE_COMMAND", f"{sys.executable} -S {HERE / 'stand_in_batch.py'}")
        with whole_account(folder / "runs") as account:
            trains, transforms = (product("ml.g5.xlarge", "Training", "1"), ("ml.c7i.xlarge", "ml.g5.xlarge"))
            account.others["pricing"] = Prices(
                trains, *(product(each, "BatchTransform", "0.25") for each in transforms)
            )
            be_user(account, patch, folder)
            put_pictures(account)
            assert (
                kennel("train", "--on", "aws", "--data", DATA, "--name", "first", "-p", "lr=0.01", "-p", "epochs=1")
                == 0
            )
            yield account


@pytest.fixture
def account(opened: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    be_user(opened, monkeypatch, tmp_path)
    put(
        opened,
        "photos/a.jpg",
        "photos/sub/b.JPG",
        "photos/",
        "lines/a.jsonl",
        "mixed/a.jpg",
        "mixed/b.csv",
        "odd/c.txt",
    )
    return opened


def put(account: Account, *names: str) -> None:
    for name in names:
        body = b"" if name.endswith("/") else f'"{name}"'.encode()
        account.admin("s3").put_object(Bucket=BUCKET, Key=f"kennel/transforms/{name}", Body=body)


def transform(name: str, *more: object, source: str = f"{IN}/photos") -> int:
    given = ["--input", source, "--output", f"{OUT}/{name}", "--job-name", name]
    return kennel("transform", "first", "--on", "aws", *given, *more)


def models(account: Account) -> list[str]:
    return [each["ModelName"] for each in account.admin("sagemaker").list_models()["Models"]]


def status(account: Account, name: str) -> str:
    return str(account.admin("sagemaker").describe_transform_job(TransformJobName=name)["TransformJobStatus"])


def keys(account: Account, name: str) -> list[str]:
    found = account.admin("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"kennel/transforms/answers/{name}/")
    return [each["Key"].rpartition(f"{name}/")[2] for each in found.get("Contents", ())]


def test_a_transform_from_its_checks_to_its_answers(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert transform("whole", "--max-cost", "10") == 0
    told = capsys.readouterr().out
    assert "transform job whole: 2 files as image/jpeg, 4 at once on 1 x ml.c7i.xlarge" in told
    assert "$0.25 an hour" in told and "kennel attach whole --on aws" in told
    assert "transform job whole: Completed\n2 of 2 files in" in told
    assert '  a.jpg      <"photos/a.jpg">' in told and f"outputs: {OUT}/whole/<file>.out" in told
    assert keys(account, "whole") == ["a.jpg.out", "sub/b.JPG.out"] and not models(account)

    [made], [job] = account.asked("CreateModel"), account.asked("CreateTransformJob")
    assert made["ExecutionRoleArn"] == ROLE and "@sha256:" in made["PrimaryContainer"]["Image"]
    assert made["PrimaryContainer"]["ModelDataUrl"] == f"s3://{BUCKET}/kennel/jobs/first/output/model.tar.gz"
    assert job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"] == f"{IN}/photos/", "no other prefix begins so"
    assert job["TransformResources"] == {"InstanceType": "ml.c7i.xlarge", "InstanceCount": 1}
    for request in (made, job):
        assert {"Key": "kennel:name", "Value": "whole"} in request["Tags"]

    assert transform("again", "--max-cost", "0.01") == 2
    assert "more than --max-cost 0.01" in capsys.readouterr().err
    assert len(account.asked("CreateModel")) == 1


def test_all_that_is_asked_for_is_in_the_requests(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KENNEL_SUBNETS", "subnet-1")
    monkeypatch.setenv("KENNEL_SECURITY_GROUPS", "sg-1")
    monkeypatch.setenv("KENNEL_KMS_KEY", "a-key")
    more = ["--instances", "3", "--join", "--strategy", "MultiRecord", "--max-payload", "20", "--dry-run"]
    assert transform("dry", *more, source=f"{IN}/lines/a.jsonl") == 0
    entries = json.loads(capsys.readouterr().out)
    assert [each["operation"] for each in entries] == ["CreateModel", "CreateTransformJob", "DeleteModel"]
    made, job, _ = (each["request"] for each in entries)
    assert made["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert job["TransformOutput"]["KmsKeyId"] == job["TransformResources"]["VolumeKmsKeyId"] == "a-key"
    assert (job["TransformResources"]["InstanceCount"], job["MaxConcurrentTransforms"]) == (3, 4)
    assert (job["BatchStrategy"], job["MaxPayloadInMB"]) == ("MultiRecord", 20)
    assert job["TransformInput"]["SplitType"] == job["TransformOutput"]["AssembleWith"] == "Line"
    assert job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"] == f"{IN}/lines/a.jsonl"
    assert job["DataProcessing"] == {"JoinSource": "Input"}

    assert transform("gpu", "--instance", "ml.g5.xlarge", "--dry-run") == 0
    machines = json.loads(capsys.readouterr().out)[1]["request"]["TransformResources"]
    assert machines["TransformAmiVersion"] == "al2-ami-sagemaker-batch-gpu-535" and "VolumeKmsKeyId" not in machines
    assert not account.asked("CreateModel") and not models(account)


def test_a_dry_run_needs_nobody_to_be_signed_in(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "BOTOCORE_EXPERIMENTAL__PLUGINS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert transform("dry", "--dry-run", "--content-type", "image/jpeg") == 0
    made = json.loads(capsys.readouterr().out)[0]["request"]
    assert made["PrimaryContainer"]["ModelDataUrl"] == f"s3://{BUCKET}/kennel/jobs/first/output/model.tar.gz"
    assert transform("dry", "--dry-run") == 5
    assert "--dry-run --content-type TYPE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"source": "photos"},
            "--input photos is a folder of this machine, which AWS cannot read. Copy it:\n  aws s3 sync",
        ),
        ({"source": f"{IN}/none/"}, "none has no files"),
        ({"source": f"{IN}/mixed"}, "mixed/b.csv is text/csv: a transform job has one content type"),
        ({"source": f"{IN}/odd"}, "odd/c.txt is of no kind that is known by its name"),
        ({"source": f"s3://{BUCKET}/kennel/transforms/"}, "is inside --input"),
        ({"more": ["--volume", "9"]}, "--volume 9: SageMaker lets nobody choose"),
        ({"more": ["--instance", "ml.g5"]}, "ml.g5"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    account: Account, capsys: pytest.CaptureFixture[str], given: dict[str, Any], message: str
) -> None:
    assert transform("bad", *given.pop("more", ()), **given) in (2, 3)
    assert message in capsys.readouterr().err
    assert not account.asked("CreateModel") and not account.asked("CreateTransformJob")


def test_a_role_that_may_not_write_there_is_told_before_anything_is_made(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(account.others, "iam", DenyingIam(account, {"s3:PutObject"}))
    assert transform("denied") == 2
    told = capsys.readouterr().err
    assert f"The role {ROLE} may not s3:PutObject ({IN}/photos, {OUT}/denied)" in told
    assert f"write below s3://{BUCKET}/kennel/transforms" in told and not account.asked("CreateModel")
    asked = {each["ActionNames"][0]: each["ResourceArns"] for each in account.asked("SimulatePrincipalPolicy")}
    assert asked["s3:GetObject"] == [f"arn:aws:s3:::{BUCKET}/kennel/transforms/photos/kennel"]


def test_outputs_of_another_job_are_not_written_over(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.admin("s3").put_object(Bucket=BUCKET, Key="kennel/transforms/answers/used/old.out", Body=b"old")
    assert transform("used") == 2
    assert f"--output {OUT}/used is there already and not empty" in capsys.readouterr().err
    assert kennel("transform", "first", "--on", "aws", "--input", f"{IN}/photos", "--output", "here") == 2
    assert "--output here is a folder of this machine" in capsys.readouterr().err


QUOTA = "The account-level service limit 'ml.c7i.xlarge for transform job usage' is 0 Instances"


@pytest.mark.parametrize(
    ("answer", "exit_status", "message"),
    [
        pytest.param(fault("ResourceLimitExceeded", QUOTA), 2, "Ask for more of the quota", id="quota"),
        pytest.param(EXPIRED, 5, "The credentials have expired", id="expired"),
    ],
)
def test_a_refused_job_leaves_no_model(
    account: Account,
    capsys: pytest.CaptureFixture[str],
    answer: Answer,
    exit_status: int,
    message: str,
) -> None:
    account.faults["CreateTransformJob"] = [answer]
    assert transform("refused") == exit_status
    assert message in capsys.readouterr().err and not models(account)


def test_throttled_and_lost_answers_are_no_failures(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.faults["CreateModel"] = [THROTTLED]
    account.faults["CreateTransformJob"] = [THROTTLED]
    assert transform("busy") == 0
    assert "busy: Completed" in capsys.readouterr().out and not models(account)


def test_a_failed_job_says_why_and_leaves_no_model(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    put(account, "broken/a.jpg")
    account.admin("s3").put_object(Bucket=BUCKET, Key="kennel/transforms/broken/b.jpg", Body=b"status 400")
    assert transform("failing", source=f"{IN}/broken") == 1
    told = capsys.readouterr()
    assert "transform job failing: Failed" in told.out and "b.jpg" in told.err + told.out
    assert not models(account)


def test_a_job_that_is_left_keeps_its_model_and_says_how_to_delete_it(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    account.admin("s3").put_object(Bucket=BUCKET, Key="kennel/transforms/slow/a.jpg", Body=b"sleep 3")

    def detached(*_: object) -> None:
        raise Detached("left: slow goes on")

    with monkeypatch.context() as patch:
        patch.setattr("kennel.launch.transform_command.watch", detached)
        assert transform("slow", source=f"{IN}/slow") == 130
    assert "aws sagemaker delete-model --model-name slow --region us-east-1" in capsys.readouterr().err
    assert models(account) == ["slow"]
    wait_until(lambda: status(account, "slow") == "Completed", what="the end of slow")
    account.admin("sagemaker").delete_model(ModelName="slow")


def test_it_is_stopped_after_the_time_that_it_may_run(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.admin("s3").put_object(Bucket=BUCKET, Key="kennel/transforms/long/a.jpg", Body=b"sleep 60")
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        timer = threading.Timer
        patch.setattr("threading.Timer", lambda limit_s, stop: timer(limit_s / 60, stop))
        assert transform("long", "--max-run", "1m", source=f"{IN}/long") == 1
    assert time.monotonic() - began < 50
    assert "long: Stopped" in capsys.readouterr().out and not models(account)


def test_prefixes_are_listed_and_read_in_part(account: Account) -> None:
    files = Prefix(BUCKET, "kennel/transforms/photos/", account.admin("s3"))
    assert list(files.names()) == ["a.jpg", "sub/b.JPG"], "what stands for a folder is no file"
    assert files.head("a.jpg") == '"photos/a.jpg"'
    assert os.environ["KENNEL_BUCKET"] == BUCKET
