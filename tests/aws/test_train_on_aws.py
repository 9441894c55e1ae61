"""`kennel train --on aws` against the account of the tests: what is sent, in which order, and what is said.

The trainings are stand-ins but for one. Not shown: instance types, spot and its interruptions, warm pools, several
machines and FastFile are in the requests, which are checked against botocore's model, and the account runs one process
on files that it has copied. What goes on after an interruption is shown by --resume: the same checkpoints in S3.
"""

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from account import EXPIRED, THROTTLED, UNAVAILABLE, Account
from whole_account import BUCKET, DATA, ROLE, LostAnswer, be_user, kennel, put_pictures, whole_account

from conftest import impatient
from kennel.hyperparameters import read_hyperparameters
from kennel.launch.places import open_place
from local_service import wait_until

QUICK = ["-p", "lr=0.01", "-p", "epochs=2"]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with ExitStack() as stack:
        with impatient(), pytest.MonkeyPatch.context() as patch:
            patch.setenv("KENNEL_TRAIN_COMMAND", f"{sys.executable} -S {HERE / 'stand_in_epochs.py'}")
            account = stack.enter_context(whole_account(tmp_path_factory.mktemp("train") / "runs"))
        yield account


@pytest.fixture
def account(opened: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    """An account with a few pictures in its bucket, whose calls and faults are this test's."""
    be_user(opened, monkeypatch, tmp_path)
    put_pictures(opened)
    return opened


def train(name: str, *more: object) -> int:
    return kennel("train", "--on", "aws", "--data", DATA, "--name", name, *QUICK, *more)


def test_one_training_from_its_request_to_its_end(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("first") == 0
    said = capsys.readouterr().out
    assert "data: s3://my-bucket/kennel/data/dogs/, 1 files" in said
    assert "training job first: Completed" in said and "deploy it: kennel deploy first --on aws" in said
    assert "output: s3://my-bucket/kennel/jobs/first/" in said
    assert "watch it again: kennel attach first --on aws" in said and "stop it: kennel attach first" in said
    [request] = account.asked("CreateTrainingJob")
    assert request["OutputDataConfig"] == {"S3OutputPath": "s3://my-bucket/kennel/jobs"}
    assert request["CheckpointConfig"]["S3Uri"] == "s3://my-bucket/kennel/jobs/first/checkpoints"
    assert request["ResourceConfig"] == {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 86400}
    assert request["RoleArn"] == ROLE
    assert {each["Key"]: each["Value"] for each in request["Tags"]}["kennel:name"] == "first"
    assert "kennel:on" not in json.dumps(request["Tags"])
    assert "DebugHookConfig" not in request and request["ProfilerConfig"] == {"DisableProfiler": True}
    assert request["HyperParameters"] == {"lr": '"0.01"', "epochs": '"2"'}
    assert len(request["AlgorithmSpecification"]["MetricDefinitions"]) > 3
    head = account.admin("s3").head_object(Bucket=BUCKET, Key="kennel/jobs/first/output/model.tar.gz")
    assert head["ContentLength"] > 0


def test_resources_are_in_the_request(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run, as the account has one machine and no spot."""
    machines = [
        "--instance",
        "ml.g5.2xlarge",
        "--instances",
        "2",
        "--spot",
        "--max-run",
        "6h",
        "--stream",
        "--isolated",
    ]
    network = ["--subnets", "subnet-0a1b2c3d", "--security-groups", "sg-0a1b2c3d", "--kms-key", "alias/kennel"]
    assert train("large", *machines, *network, "--dry-run") == 0
    [entry] = json.loads(capsys.readouterr().out)
    request = entry["request"]
    assert request["EnableManagedSpotTraining"] is True
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 21600, "MaxWaitTimeInSeconds": 108000}
    assert request["ResourceConfig"] == {"InstanceType": "ml.g5.2xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30}
    assert request["OutputDataConfig"]["KmsKeyId"] == "alias/kennel"  # the volume is the machine's own, and takes none
    assert request["EnableNetworkIsolation"] is True and request["EnableInterContainerTrafficEncryption"] is True
    assert request["VpcConfig"] == {"Subnets": ["subnet-0a1b2c3d"], "SecurityGroupIds": ["sg-0a1b2c3d"]}
    assert request["HyperParameters"]["sagemaker_torch_distributed_enabled"] == "true"
    assert request["HyperParameters"]["sagemaker_instance_type"] == '"ml.g5.2xlarge"'
    assert [channel["InputMode"] for channel in request["InputDataConfig"]] == ["FastFile"]
    assert train("warm", "--keep-warm", "600", "--dry-run") == 0
    [entry] = json.loads(capsys.readouterr().out)
    assert entry["request"]["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 600


def test_a_dry_run_needs_nobody_and_asks_nobody(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    weights = tmp_path / "mine 1.pth"
    weights.write_bytes(b"weights")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert train("dry", "--dry-run", "-p", f"weights={weights}") == 0
    said = capsys.readouterr()
    [entry] = json.loads(said.out)
    assert (entry["service"], entry["operation"]) == ("sagemaker", "CreateTrainingJob")
    words = shlex.split(entry["command"])
    assert words[:4] == ["aws", "sagemaker", "create-training-job", "--cli-input-json"]
    assert json.loads(words[4]) == entry["request"]
    channels = {
        each["ChannelName"]: each["DataSource"]["S3DataSource"]["S3Uri"] for each in entry["request"]["InputDataConfig"]
    }
    assert channels["weights"].startswith("s3://my-bucket/kennel/weights/") and channels["weights"].endswith(
        "/mine 1.pth"
    )
    assert f"aws s3 cp '{weights}'" in said.err
    assert account.calls == []


def test_weights_are_sent_once(account: Account, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    weights = tmp_path / "mine.pth"
    weights.write_bytes(b"weights")
    assert train("weighed", "-p", f"weights={weights}") == 0
    said = capsys.readouterr().out
    uri = said.partition(f"weights: {weights} copied to ")[2].splitlines()[0]
    [request] = account.asked("CreateTrainingJob")
    assert {each["ChannelName"]: each["InputMode"] for each in request["InputDataConfig"]} == {
        "data": "File",
        "weights": "File",
    }
    assert uri in json.dumps(request["InputDataConfig"]) and "weights" not in request["HyperParameters"]
    assert train("again", "-p", f"weights={weights}") == 0
    assert f"weights: {uri}, there already" in capsys.readouterr().out
    assert train("named", "-p", f"weights={uri}") == 0
    assert (
        account.asked("CreateTrainingJob")[2]["InputDataConfig"]
        == account.asked("CreateTrainingJob")[1]["InputDataConfig"]
    )
    assert [each["Key"] for each in account.asked("PutObject")] == [uri.removeprefix(f"s3://{BUCKET}/")]


def test_pictures_that_are_not_all_there_are_refused(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    put_pictures(account, digest=None)
    assert train("half") == 2
    assert "the upload to s3://my-bucket/kennel/data/dogs/ was interrupted" in capsys.readouterr().err
    assert account.asked("CreateTrainingJob") == []
    account.admin("s3").delete_object(Bucket=BUCKET, Key="kennel/data/dogs.manifest.json")
    assert train("unknown") == 0
    assert "has no manifest beside it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "pictures"], "scripts/upload.sh --data pictures"),
        (["--data", "s3://my-bucket"], "names no folder in S3"),
        (["--data", DATA, "--spot", "--keep-warm", "60"], "exclude each other"),
        (["--data", DATA, "--max-run", "soon"], "--max-run 'soon' is no time"),
        (["--data", DATA, "-p", "epoch=3"], "Did you mean 'epochs'"),
        (["--data", DATA, "-p", "weights=nowhere.pth"], "there is no such file"),
        (["--data", DATA, "--rehearse", "20", "--dry-run"], "nothing to rehearse"),
        (["--data", DATA, "--role", "me"], "role 'me'"),
    ],
)
def test_what_cannot_be_is_refused_before_aws_is_asked(
    account: Account, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert kennel("train", "--on", "aws", *words) == 2
    assert message in capsys.readouterr().err
    assert account.calls == []


def test_a_profile_without_a_bucket_is_told_what_to_give(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KENNEL_BUCKET")
    assert train("homeless") == 2
    assert "--on aws needs bucket" in capsys.readouterr().err
    assert account.asked("CreateTrainingJob") == []


def test_throttling_and_outages_are_waited_for(account: Account) -> None:
    account.faults["CreateTrainingJob"] = [THROTTLED, UNAVAILABLE]
    assert train("patient") == 0
    assert len(account.asked("CreateTrainingJob")) == 3


def test_credentials_that_expire_before_the_creation_end_with_their_own_status(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.faults["CreateTrainingJob"] = [EXPIRED]
    assert train("late") == 5
    assert "The credentials have expired (CreateTrainingJob)" in capsys.readouterr().err


def test_a_name_that_is_taken_is_refused(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("twice") == 0
    assert train("twice") == 2
    assert "already exists" in capsys.readouterr().err


def test_a_creation_whose_answer_was_lost_is_no_failure(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.others["sagemaker"] = losing = LostAnswer(account, "CreateTrainingJob")
    try:
        assert train("lost") == 0
    finally:
        del account.others["sagemaker"]
    said = capsys.readouterr()
    assert losing.lost == 1 and len(account.asked("CreateTrainingJob")) == 2
    assert "lost: the first answer was lost on the way; the job is there" in said.err
    assert "training job lost: Completed" in said.out


def test_a_job_of_somebody_else_is_not_taken_for_ours(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("theirs", "-p", "epochs=1") == 0
    account.faults["CreateTrainingJob"] = [UNAVAILABLE]
    assert train("theirs") == 2
    assert "already exists" in capsys.readouterr().err


def test_debug_is_our_own_hooks_unless_sagemaker_debugger_is_asked_for(
    account: Account, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert train("watched", "--debug", "--dry-run") == 0
    request = json.loads(capsys.readouterr().out)[0]["request"]
    assert request["HyperParameters"]["debug"] == '"on"'
    assert not {"DebugHookConfig", "DebugRuleConfigurations"} & set(request)
    assert train("watched", "--debugger", "--dry-run") == 0
    request = json.loads(capsys.readouterr().out)[0]["request"]
    assert "debug" not in request["HyperParameters"]
    assert request["DebugHookConfig"]["S3OutputPath"].startswith(f"s3://{BUCKET}/kennel/jobs")
    assert len(request["DebugRuleConfigurations"]) > 3
    rules = tmp_path / "rules.json"
    rule = {"RuleConfigurationName": "mine", "RuleParameters": {"rule_to_invoke": "Overfit"}}
    rules.write_text(json.dumps({"DebugRuleConfigurations": [rule]}))
    assert train("ruled", "--rules", rules, "--dry-run") == 0
    rules.write_text(json.dumps({"DebugRuleConfigurations": [rule], "DebugHookConfig": {"LocalPath": "/opt/ml/x"}}))
    capsys.readouterr()
    assert train("ruled", "--rules", rules, "--dry-run") == 2
    assert "which only SageMaker Debugger passes on: add --debugger" in capsys.readouterr().err


def test_pictures_in_the_local_s3_are_trained_on_here(own_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENNEL_TRAIN_COMMAND", f"{sys.executable} -S {HERE / 'stand_in_epochs.py'}")
    monkeypatch.setenv("KENNEL_RUNS", str(own_runs))
    s3 = open_place().client("s3")
    s3.create_bucket(Bucket="local-bucket")
    s3.put_object(Bucket="local-bucket", Key="dogs/train/a/1.jpg", Body=b"1")
    assert kennel("train", "--on", "local", "--data", "s3://local-bucket/dogs", "--name", "here", *QUICK) == 0
    assert (own_runs / "here" / "ml" / "input" / "data" / "data" / "train" / "a" / "1.jpg").read_bytes() == b"1"


def test_checkpoints_that_are_not_there_are_refused(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("never", "--resume", "nobody") == 2
    assert "There is no training job 'nobody'" in capsys.readouterr().err
    assert train("empty") == 0
    assert train("never", "--resume", "empty") == 2
    assert "'empty' has no checkpoint to go on from: s3://my-bucket/kennel/jobs/empty/" in capsys.readouterr().err


def test_the_time_of_an_earlier_training_here_is_in_the_estimate(
    account: Account, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs-here" / "earlier"
    run.mkdir(parents=True)
    told = " ".join(f"{key}={value}" for key, value in read_hyperparameters({}).to_mapping().items())
    lines = (
        f"settings {told}",
        f"data classes=20 train=800 valid=200 test=200 layout=split split-seed=None digest={'0' * 16}",
        "epoch=2/2 train_loss=1 valid_loss=1 images_per_s=200 seconds=5",
    )
    (run / "log.txt").write_text("\n".join(lines))
    (run / "job.json").write_text(
        json.dumps({"description": {"TrainingTimeInSeconds": 15, "TrainingJobStatus": "Completed"}})
    )
    assert train("timed", "-p", "epochs=359") == 0
    said = capsys.readouterr().out
    assert "time: as earlier took on these pictures, on this machine" in said
    assert "800 pictures to train on, 200 to validate, 359 epochs: 30.1 min here" in said
    assert "likely about $0.71" in said


def stop_after_two_epochs(account: Account, name: str) -> None:
    """As a spot interruption does: SIGTERM, in the middle of it."""
    logs, group = account.admin("logs"), "/aws/sagemaker/TrainingJobs"

    def has_trained() -> bool:
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
        events = [logs.get_log_events(logGroupName=group, logStreamName=each["logStreamName"]) for each in streams]
        return any("epoch=2/" in line["message"] for each in events for line in each["events"])

    def is_told() -> bool:
        try:
            return has_trained()
        except logs.exceptions.ResourceNotFoundException:
            return False

    wait_until(is_told, deadline_s=200, what="the second epoch")
    account.admin("sagemaker").stop_training_job(TrainingJobName=name)


@pytest.mark.timeout(600)
def test_the_real_road_of_pictures_checkpoints_and_tensors_through_s3(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_folder: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A training that is stopped in its middle, goes on from S3 as another job, and is looked at by rules.

    The last one here: the images of all accounts of a process are moto's, and go with this test's account.
    """
    folder = make_folder()
    small = ["-p", "weights=none", "-p", "trainable=all", "-p", "batch-size=8", "-p", "image-size=32"]
    with whole_account(tmp_path / "runs") as account:
        be_user(account, monkeypatch, tmp_path)
        assert kennel("upload", "--data", folder, "--name", "colours") == 0
        common: list[Any] = ["train", "--on", "aws", "--data", f"s3://{BUCKET}/kennel/data/colours", *small]
        common += ["-p", "epochs=8", "-p", "patience=0"]
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(stop_after_two_epochs, account, "road")
            assert kennel(*common, "--name", "road") == 1
            stopping.result()
        said = capsys.readouterr().out
        assert "epoch=2/8 train_loss=" in said and "epoch=8/8" not in said
        assert "go on from its checkpoint: kennel train --on aws ... --resume road" in said
        s3 = account.admin("s3")
        keys = [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET, Prefix="kennel/jobs/road/")["Contents"]]
        assert "kennel/jobs/road/output/model.tar.gz" in keys and any("/checkpoints/" in key for key in keys)

        assert kennel(*common, "--name", "further", "--resume", "road", "--debug") == 0
        said = capsys.readouterr().out
        assert "resumed at epoch=" in said and "epoch=8/8 train_loss=" in said
        request = account.asked("CreateTrainingJob")[1]
        assert request["CheckpointConfig"]["S3Uri"] == f"s3://{BUCKET}/kennel/jobs/road/checkpoints"
        assert "LossNotDecreasing" in said  # the rules, over the tensors in output.tar.gz
        assert f"the rules again, with other thresholds: kennel debug s3://{BUCKET}/kennel/jobs/further" in said
