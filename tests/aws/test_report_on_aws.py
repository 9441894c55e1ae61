"""`kennel report NAME --on aws`: pages on what AWS has of a training and of a search; the training is a real one.

Not shown: a log that CloudWatch has cut off, and outputs under a key of KMS.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import watching
from account import Account, open_account

from conftest import impatient
from kennel import cli
from kennel.launch.jobs import TrainingJob, create_training_job
from kennel.launch.places import open_place
from local_service import BUCKET, ROLE, wait_until

HERE = Path(__file__).parent
# Below the profile's prefix: that is what a person may read.
FOLDER = "kennel/data/pictures"
SMALL = {"weights": "none", "trainable": "all", "epochs": "2", "batch-size": "8", "image-size": "32"}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with impatient(), pytest.MonkeyPatch.context() as patch:
        patch.delenv("KENNEL_TRAIN_COMMAND")  # the real one
        with open_account(tmp_path_factory.mktemp("report") / "runs") as account:
            yield account


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with impatient(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("KENNEL_TRAIN_COMMAND", f"{sys.executable} -S {HERE / 'stand_in_epochs.py'}")
        with open_account(tmp_path_factory.mktemp("searched") / "runs") as account:
            yield account


def settle(account: Account, patch: pytest.MonkeyPatch, folder: Path) -> None:
    for key, value in {**account.environ, "KENNEL_ROLE": ROLE, "KENNEL_BUCKET": BUCKET}.items():
        patch.setenv(key, value)
    patch.setenv("KENNEL_RUNS", str(folder / "runs-here"))
    patch.chdir(folder)


def report(name: str, *more: object) -> int:
    return cli.main(["report", name, "--on", "aws", *(str(each) for each in more)])


def test_a_trainings_page_is_made_from_its_output(
    opened: Account,
    make_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settle(opened, monkeypatch, tmp_path)
    folder, s3 = make_folder(), opened.admin("s3")
    s3.create_bucket(Bucket=BUCKET)
    for path in sorted(folder.rglob("*.jpg")):
        s3.put_object(Bucket=BUCKET, Key=f"{FOLDER}/{path.relative_to(folder)}", Body=path.read_bytes())
    job = TrainingJob("real", {"data": f"s3://{BUCKET}/{FOLDER}/"}, SMALL)
    create_training_job(job, open_place("aws"))
    state = opened.admin("sagemaker").describe_training_job
    wait_until(lambda: state(TrainingJobName="real")["TrainingJobStatus"] != "InProgress", what="the training")

    assert report("real") == 0
    page = tmp_path / "runs-here" / "real" / "report.html"
    assert f"report: {page}" in capsys.readouterr().out
    content = json.loads(page.with_suffix(".json").read_text())
    assert content["status"] == "Completed"
    assert len(content["learning"]["epochs"]) == 2 and set(content["results"]) == {"test", "valid"}
    assert content["answers"] and content["model"] and content["settings"]["epochs"] == 2
    assert content["system"] == {} and content["problems"] == []  # AWS leaves no samples of the machine
    assert "<html" in page.read_text()
    assert not (tmp_path / "runs-here" / "real" / "job.json").exists()  # no run of this machine

    assert report(f"s3://{BUCKET}/kennel/jobs/real", "--output", tmp_path / "mine.html") == 0
    assert (tmp_path / "mine.html").is_file()


def test_a_searchs_page_is_made_from_the_apis_answers_and_the_logs(
    searched: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settle(searched, monkeypatch, tmp_path)
    metric = {"Name": "validation:loss", "Regex": r"(?:^|\s)valid_loss=([0-9.]+)"}
    watching.tune(searched, "look", jobs=4, metric=metric, epochs="3")
    state = searched.admin("sagemaker").describe_hyper_parameter_tuning_job
    wait_until(
        lambda: state(HyperParameterTuningJobName="look")["HyperParameterTuningJobStatus"] == "Completed",
        what="the search",
    )
    assert report("look") == 0
    page = tmp_path / "runs-here" / "look" / "report.html"
    content = json.loads(page.with_suffix(".json").read_text())
    best = state(HyperParameterTuningJobName="look")["BestTrainingJob"]
    assert content["best"]["name"] == best["TrainingJobName"]
    assert content["best"]["command"] == "scripts/train.sh --on aws --data s3://pictures/dogs/ --best-of look"
    assert [each["number"] for each in content["trials"]] == [1, 2, 3, 4]
    assert {each["outcome"] for each in content["trials"]} == {"completed"}
    assert all(len(each["history"]) == 3 for each in content["trials"])  # of each epoch, from the logs
    assert content["curves"] == [0, 1, 2, 3]
    [lr] = content["parameters"]
    assert (lr["name"], lr["low"], lr["high"]) == ("lr", 0.001, 0.1)
    # Where the local SageMaker would take it for a search of its own, there is none.
    assert not (tmp_path / "runs-here" / "look" / "tuning.json").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody", "There is no job and no endpoint 'nobody'"),
        ("served", "'served' is neither a training nor a tuning job"),
    ],
)
def test_what_has_no_report_is_said(
    searched: Account,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    message: str,
) -> None:
    settle(searched, monkeypatch, tmp_path)
    if name == "served":
        watching.endpoint(searched, name)
    assert report(name) == 2
    assert message in capsys.readouterr().err
