"""`kennel tune --on aws` against the account of the tests, with stand-in trainings.

Not shown: how AWS's own search chooses (the account's is the local SageMaker's), spot, and several machines: they are
in the requests, which are checked against botocore's model.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from account import THROTTLED, UNAVAILABLE, Account
from whole_account import BUCKET, DATA, ROLE, LostAnswer, be_user, kennel, put_pictures, whole_account

from conftest import impatient

HERE = Path(__file__).parent
RANGES = {
    "ContinuousParameterRanges": [
        {"Name": "lr", "MinValue": "0.0001", "MaxValue": "0.4", "ScalingType": "Logarithmic", "Reason": "matters"}
    ],
    "CategoricalParameterRanges": [{"Name": "batch-size", "Values": ["4", "8", "64"]}],
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with ExitStack() as stack:
        with impatient(), pytest.MonkeyPatch.context() as patch:
            patch.setenv("KENNEL_TRAIN_COMMAND", f"{sys.executable} -S {HERE / 'stand_in_epochs.py'}")
            account = stack.enter_context(whole_account(tmp_path_factory.mktemp("tune") / "runs"))
        yield account


@pytest.fixture
def account(opened: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    """An account with 100 pictures, as their manifest says; and ranges.json in the folder that is worked in."""
    be_user(opened, monkeypatch, tmp_path)
    put_pictures(opened, images=100)
    (tmp_path / "ranges.json").write_text(json.dumps(RANGES))
    return opened


def tune(name: str, *more: object) -> int:
    settled = ["-p", "epochs=2", "--strategy", "Random", "--seed", "7", "--ranges", "ranges.json"]
    return kennel("tune", "--on", "aws", "--data", DATA, "--name", name, *settled, "--max-jobs", "2", *more)


def test_a_search_and_the_training_that_takes_over_its_best(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.faults["CreateHyperParameterTuningJob"] = [THROTTLED]
    assert tune("search") == 0
    said = capsys.readouterr().out
    assert "stop it: kennel attach search --on aws" in said
    assert f"train with them: scripts/train.sh --on aws --data {DATA} --best-of search" in said
    request = account.asked("CreateHyperParameterTuningJob")[-1]
    definition = request["TrainingJobDefinition"]
    assert definition["OutputDataConfig"] == {"S3OutputPath": f"s3://{BUCKET}/kennel/jobs"}
    assert definition["CheckpointConfig"]["S3Uri"] == f"s3://{BUCKET}/kennel/jobs/search/checkpoints"
    assert definition["RoleArn"] == ROLE and definition["StoppingCondition"] == {"MaxRuntimeInSeconds": 86400}
    assert "@sha256:" in definition["AlgorithmSpecification"]["TrainingImage"]
    assert {each["Key"]: each["Value"] for each in request["Tags"]}["kennel:name"] == "search"

    assert kennel("train", "--on", "aws", "--data", DATA, "--best-of", "search", "--name", "best") == 0
    said = capsys.readouterr().out
    assert "the best of search: " in said and "training job best: Completed" in said
    [training] = account.asked("CreateTrainingJob")
    best = account.admin("sagemaker").describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="search")
    tuned = {name: text.strip('"') for name, text in best["BestTrainingJob"]["TunedHyperParameters"].items()}
    found = {name: text.strip('"') for name, text in training["HyperParameters"].items()}
    assert found == {**tuned, "epochs": "2"}


def test_a_dry_run_shows_the_request_and_asks_nobody(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert tune("dry", "--spot", "--instances", "2", "--max-run", "1h", "--stream", "--dry-run") == 0
    [entry] = json.loads(capsys.readouterr().out)
    assert entry["operation"] == "CreateHyperParameterTuningJob"
    assert shlex.split(entry["command"])[:3] == ["aws", "sagemaker", "create-hyper-parameter-tuning-job"]
    definition = entry["request"]["TrainingJobDefinition"]
    assert definition["EnableManagedSpotTraining"] is True
    assert definition["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 90000}
    assert definition["HyperParameterTuningResourceConfig"]["InstanceCount"] == 2
    assert definition["StaticHyperParameters"]["sagemaker_torch_distributed_enabled"] == "true"
    assert definition["InputDataConfig"][0]["InputMode"] == "FastFile"
    assert account.calls == []


def test_the_manifest_says_how_many_pictures_a_batch_may_have(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    put_pictures(account, images=20)
    assert tune("large") == 2
    assert "ranges.json has batch sizes above 20, the number of training images" in capsys.readouterr().err
    assert account.asked("CreateHyperParameterTuningJob") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--keep-warm", "60"], "SageMaker keeps no machines between those of a search"),
        (["--max-cost", "0.01"], "--max-cost 0.01"),
        (["--instance", "ml.c7g.xlarge"], "ml.c7g.xlarge has an Arm processor"),
    ],
)
def test_what_cannot_be_is_refused(
    account: Account, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert tune("never", *words) == 2
    assert message in capsys.readouterr().err
    assert account.asked("CreateHyperParameterTuningJob") == []


def test_a_search_whose_answer_was_lost_is_no_failure(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.others["sagemaker"] = losing = LostAnswer(account, "CreateHyperParameterTuningJob")
    try:
        assert tune("lost") == 0
    finally:
        del account.others["sagemaker"]
    assert losing.lost == 1 and "the first answer was lost on the way" in capsys.readouterr().err
    account.faults["CreateHyperParameterTuningJob"] = [UNAVAILABLE]
    assert tune("lost", "--early-stopping", "Auto") == 2  # another one of that name
