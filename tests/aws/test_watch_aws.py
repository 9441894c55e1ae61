"""What runs is watched, through all that comes between, against the tests' account with stand-in programs.

Not shown: AWS's own times between states, and machines that are really taken back. The spot interruption is played by
answers of the documented shape (SecondaryStatusTransitions); the local SageMaker has no spot machines.
"""

import datetime
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import watching
from account import EXPIRED, JSON, THROTTLED, UNAVAILABLE, Account, fault, open_account
from watching import attach
from werkzeug.wrappers import Request, Response

from conftest import impatient
from kennel.launch.jobs import TrainingJob, create_training_job
from kennel.launch.places import open_place
from kennel.launch.watching import attend as attending
from kennel.launch.watching.attend import Detached
from local_service import BUCKET, ROLE

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with impatient(), open_account(tmp_path_factory.mktemp("watch") / "runs") as account:
        account.others["pricing"] = watching.prices()
        yield account


@pytest.fixture
def account(opened: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    """Asked often, and once: what botocore repeats by itself takes seconds."""
    for key, value in opened.environ.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KENNEL_RUNS", str(tmp_path / "runs-here"))
    answering(monkeypatch)
    opened.calls.clear()
    opened.faults.clear()
    return opened


def answering(patch: pytest.MonkeyPatch, *answers: str, before: Callable[[], None] = lambda: None) -> list[str]:
    """What Ctrl-C is answered with, one after the other; the questions that were asked."""
    left, questions = list(answers), list[str]()

    def ask(question: str, choices: tuple[str, ...]) -> str:
        questions.append(f"{question} {' '.join(choices)}")
        return left.pop(0)

    def sleep(seconds: float) -> None:
        before()
        if left:
            raise KeyboardInterrupt
        threading_sleep(0.05)

    from time import sleep as threading_sleep

    patch.setattr(attending, "_AWS", attending.Manner(poll_s=0.05, ask=ask, is_patient=True, sleep=sleep))
    return questions


def test_a_training_is_followed_to_its_end(account: Account, capsys: Said) -> None:
    watching.train(account, "whole", steps=4, step_s="0.2")
    assert attach("whole") == 0
    lines = capsys.readouterr().out.splitlines()
    states = [line.partition(": ")[2] for line in lines if line.startswith("training job whole: ")]
    assert [each.partition(":")[0] for each in states if ":" in each] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert [line for line in lines if line.startswith("step=")] == [
        f"step={step} loss={1 / (step + 1):.4f}" for step in range(4)
    ]
    [cost] = [each for each in states if each.startswith("$")]
    assert 0.5 < float(cost.removeprefix("$").partition(",")[0]) < 60 and cost.endswith(", list price")
    assert "deploy it: kennel deploy whole --on aws" in lines


def test_throttling_and_faults_of_aws_are_waited_for(account: Account, capsys: Said) -> None:
    watching.train(account, "slow", steps=12, step_s="0.3")
    account.faults["DescribeTrainingJob"] = [THROTTLED, THROTTLED, None, UNAVAILABLE]
    assert attach("slow", "--kind", "training") == 0
    said = capsys.readouterr().out
    assert "AWS wants to be asked less often (DescribeTrainingJob: ThrottlingException)." in said
    assert "AWS has a fault of its own (DescribeTrainingJob: 503)." in said
    assert said.count("goes on, and so does watching it") == said.count("AWS answers again.") == 2
    steps = [line.split()[0] for line in said.splitlines() if line.startswith("step=")]
    assert steps == [f"step={step}" for step in range(12)]


def test_expired_credentials_end_the_watching_and_not_the_job(account: Account, capsys: Said) -> None:
    watching.train(account, "left", steps=8, step_s="0.3")
    account.faults["DescribeTrainingJob"] = [None, EXPIRED]
    assert attach("left", "--kind", "training") == 5
    said = capsys.readouterr().err
    assert "The credentials have expired (DescribeTrainingJob). Renew them" in said
    assert "training job left goes on without us. Follow it again: kennel attach left --on aws --region us-east" in said
    assert account.asked("StopTrainingJob") == []
    assert attach("left") == 0
    assert "training job left: Completed" in capsys.readouterr().out


def test_a_log_that_may_not_be_read_does_not_end_the_watching(account: Account, capsys: Said) -> None:
    watching.train(account, "silent")
    account.faults["DescribeLogStreams"] = [fault("AccessDeniedException", "no identity-based policy allows it")] * 3
    assert attach("silent") == 0
    said = capsys.readouterr().out
    assert said.count("the log cannot be shown: AWS refused DescribeLogStreams: no identity-based policy") == 1
    assert "step=" not in said


def test_ctrl_c_goes_on_detaches_or_stops(account: Account, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    watching.train(account, "asked", steps=200, step_s="0.2")
    questions = answering(monkeypatch, "c", "d")
    assert attach("asked") == 130
    assert questions == ["training job asked runs on AWS. d s c"] * 2
    said = capsys.readouterr().err
    assert "training job asked goes on." in said
    assert "follow it: kennel attach asked --on aws --region us-east-1\n" in said
    assert "stop it:   kennel attach asked --on aws --region us-east-1 --stop\n" in said
    assert account.asked("StopTrainingJob") == []

    answering(monkeypatch, "s")
    assert attach("asked") == 1
    said = capsys.readouterr().out
    assert "stopping asked" in said and "training job asked: Stopped after" in said
    assert account.asked("StopTrainingJob") == [{"TrainingJobName": "asked"}]


def test_ctrl_c_while_the_job_is_made_does_not_lose_its_name(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's Estimator.fit swallows a KeyboardInterrupt, and with it whether there is a job."""
    monkeypatch.setenv("KENNEL_ROLE", ROLE)
    monkeypatch.setenv("KENNEL_BUCKET", BUCKET)
    place = open_place("aws")
    place.sagemaker.meta.events.register(
        "before-send.sagemaker.CreateTrainingJob", lambda **_: os.kill(os.getpid(), signal.SIGINT)
    )
    channels = {"data": f"s3://{BUCKET}/kennel/in/"}
    account.admin("s3").put_object(Bucket=BUCKET, Key="kennel/in/a.jpg", Body=b"x")
    with pytest.raises(Detached, match="job held was being made.*\n  follow it: kennel attach held --on aws"):
        create_training_job(TrainingJob("held", channels), place)
    assert attach("held") == 0


def test_a_stop_that_is_not_heard_is_said(account: Account, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    watching.train(account, "deaf", steps=200, step_s="0.2")
    account.faults["StopTrainingJob"] = [THROTTLED]
    answering(monkeypatch, "s", "s")
    assert attach("deaf") == 1
    assert "deaf was not stopped: AWS wants to be asked less often (StopTrainingJob" in capsys.readouterr().out


def test_a_failed_training_is_told_with_its_log_and_a_remedy(account: Account, capsys: Said) -> None:
    watching.train(account, "fails", steps=30, fail="torch.OutOfMemoryError: CUDA out of memory", exit="1")
    assert attach("fails") == 1
    said = capsys.readouterr().err
    assert "the last 20 lines of the log:\n  step=10 loss=" in said and "  step=29 loss=" in said
    assert "what to do: The GPU's memory is full. Use a smaller batch-size or image-size." in said
    assert "kennel: AlgorithmError: " in said and "CUDA out of memory" in said


def test_a_search_is_followed_and_its_failures_are_grouped(account: Account, capsys: Said) -> None:
    watching.tune(account, "search", jobs=3, steps="2")
    assert attach("search") == 0
    said = capsys.readouterr().out
    assert sorted(line[:9] for line in said.splitlines() if line.startswith("trial=")) == [
        "trial=001",
        "trial=002",
        "trial=003",
    ]
    assert "cost: $" in said and "tuning job search: Completed, 3 trainings (3 completed)" in said
    assert "train with them: scripts/train.sh --on aws --data s3://pictures/dogs/ --best-of search" in said

    watching.tune(account, "bad", jobs=3, steps="2", fail_above="0.0001")
    assert attach("bad") == 1
    said = capsys.readouterr().err
    assert "3 failed (bad-00" in said and "is too high" in said
    assert "the last" not in said or "lines of the log of bad-00" in said


def test_a_transform_is_followed(account: Account, capsys: Said) -> None:
    watching.transform(account, "batch", watching.ended_training(account, "for-batch"))
    assert attach("batch") == 0
    said = capsys.readouterr().out
    assert "transform job batch: Completed" in said and "outputs: s3://" in said
    assert "INFO serving" in said
    assert "transform job batch: $" in said


def test_an_endpoint_is_followed_until_it_serves(account: Account, capsys: Said) -> None:
    watching.ended_training(account, "served")
    watching.endpoint(account, "served")
    assert attach("served") == 0  # what goes on counts: the training of the same name has ended
    said = capsys.readouterr()
    assert "served: this is the endpoint, and there is more of that name: --kind training" in said.err
    assert "endpoint served: InService" in said.out
    assert "endpoint served: $7200.00 an hour while it exists" in said.out
    assert "ask it:    kennel invoke served PHOTO... --on aws" in said.out
    assert "delete it: kennel delete --endpoint-name served --on aws" in said.out


def test_an_endpoint_that_never_turns_healthy_is_told_with_its_log(account: Account, capsys: Said) -> None:
    watching.endpoint(account, "ill", NEVER_HEALTHY="yes")
    assert attach("ill") == 1
    said = capsys.readouterr()
    assert "endpoint ill: Failed" in said.out
    assert "did not pass the ping health check" in said.err
    assert "lines of the log:\n  INFO serving" in said.err
    assert "what to do: The server did not answer GET /ping with 200 in time" in said.err


def test_an_endpoint_is_not_stopped(account: Account, capsys: Said) -> None:
    watching.endpoint(account, "up")
    assert attach("up", "--stop") == 2
    assert (
        "An endpoint is not stopped but deleted: kennel delete --endpoint-name up --on aws" in capsys.readouterr().err
    )


def test_stop_asks_the_job_to_end(account: Account, capsys: Said) -> None:
    watching.train(account, "unwanted", steps=200, step_s="0.2")
    assert attach("unwanted", "--stop") == 1
    assert "training job unwanted: Stopped after" in capsys.readouterr().out


def test_what_is_not_there_is_said(account: Account, capsys: Said) -> None:
    assert attach("nobody") == 2
    assert "There is no job and no endpoint 'nobody'. See what there is with: kennel list --on aws" in (
        capsys.readouterr().err
    )
    assert attach("nobody", "--kind", "transform") == 2
    assert "There is no transform job 'nobody'" in capsys.readouterr().err


class SpotJob:
    """A stand-in for SageMaker's answers on a spot job whose machine is taken back, one further at each question."""

    def __init__(self) -> None:
        self.at = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC).timestamp()
        one = [("Starting", "Starting the training job"), ("Training", "Training image download completed.")]
        taken = [*one, ("Interrupted", "Training job interrupted"), ("Pending", ""), ("Restarting", "")]
        self.steps = [one, taken, [*taken, ("Training", ""), ("Completed", "Training job completed")]]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        target = Request(environ).headers["X-Amz-Target"].rpartition(".")[2]
        if target != "DescribeTrainingJob":
            status, headers, body = fault("ValidationException", "Requested resource not found.")
            return Response(body, status, headers)(environ, start_response)
        states = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        return Response(json.dumps(self._description(states)), 200, JSON)(environ, start_response)

    def _description(self, states: list[tuple[str, str]]) -> dict[str, Any]:
        state = states[-1][0]
        ended = {"TrainingEndTime": self.at + 400, "BillableTimeInSeconds": 120, "TrainingTimeInSeconds": 400}
        return {
            "TrainingJobName": "spot",
            "TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/spot",
            "TrainingJobStatus": "Completed" if state == "Completed" else "InProgress",
            "SecondaryStatus": state,
            "SecondaryStatusTransitions": [
                {"Status": status, "StartTime": self.at, "StatusMessage": message} for status, message in states
            ],
            "CreationTime": self.at,
            "TrainingStartTime": self.at,
            "EnableManagedSpotTraining": True,
            "ResourceConfig": {"InstanceType": watching.TYPE, "InstanceCount": 2, "VolumeSizeInGB": 30},
            **(ended if state == "Completed" else {}),
        }


def test_a_spot_interruption_is_told_in_words(account: Account, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(account.others, "sagemaker", SpotJob())
    assert attach("spot") == 0
    said = capsys.readouterr().out
    assert "training job spot: Interrupted: a spot machine was taken back; goes on from its checkpoint" in said
    assert "training job spot: Pending: waits for machines" in said
    assert "training job spot: Restarting: starts again, from its checkpoint where there is one" in said
    assert "training job spot: $240.00, 120 of 400 s billed, list price" in said
