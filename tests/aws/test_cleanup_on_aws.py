"""list and delete on AWS: all of ours, nothing of others, and what happens when AWS refuses.

Endpoints and jobs are the local SageMaker's: they really end. moto runs no schedules and no scaling: what those do is
not shown, nor how long AWS takes, and what its tagging API does not know yet.
"""

import json
from collections.abc import Iterator

import pytest
from account import EXPIRED, JSON, THROTTLED, fault
from made_on_aws import BUCKET, Made, furnished

DENIED = fault("AccessDeniedException", "User: arn:aws:iam::1:user/me is not authorized to perform: {}")
BUSY = fault("ValidationException", 'Cannot update in-progress endpoint "arn:aws:sagemaker:us-east-1:1:endpoint/up".')


def denied(action: str) -> tuple[int, dict[str, str], str]:
    status, headers, body = DENIED
    return status, dict(headers), body.replace("{}", action)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with furnished(tmp_path_factory.mktemp("cleanup")) as made:
        made.deploy("theirs", tags=False)
        made.train("their-training", tags=False)
        made.finished("their-training")
        yield made


@pytest.fixture
def made(account: Made) -> Iterator[Made]:
    """Ours is empty before and after."""
    account.account.calls.clear()
    yield account
    account.account.faults.clear()
    account.tagging.deleted.clear()
    account.tagging.unknown.clear()
    if account.tagging.ours():
        account.kennel("delete", "--all", "--yes")
    assert account.tagging.ours() == []
    assert account.endpoint("theirs") == "InService"
    assert account.finished("their-training")["TrainingJobStatus"] == "Completed"


def test_all_of_ours_is_listed_and_deleted_and_nothing_else(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.train("endless", orders={"step-s": "30"})
    made.train("done")
    made.tune("search")
    made.transform("answers")
    made.deploy("up")
    made.surround("up")
    made.finished("done")
    assert made.kennel("list") == 0
    listed = capsys.readouterr().out
    running, _, rest = listed.partition("\nis there")
    assert "endpoint up " in running and "InService" in running and "in 120 min (--ttl)" in running
    assert "$0.72" in running and "training job endless" in running and "$0.36" in running
    for line in ("training job done", "model up-2026", "endpoint configuration up-2026", "alarm kennel-up-errors"):
        assert line in rest
    assert "scaling endpoint/up/variant/AllTraffic" in rest and "schedule group kennel" in rest
    assert "theirs" not in listed and "their-training" not in listed
    assert "search-001" not in listed and "could not be looked at" not in listed

    assert made.kennel("delete", "--all", "--dry-run") == 0
    dry = capsys.readouterr().out
    assert "would delete tuning job search" in dry and "search-001" not in dry
    assert "would delete endpoint up (" in dry and "would untag transform job answers" in dry
    assert made.endpoint("up") == "InService"

    assert made.kennel("delete", "--all", "--yes") == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert made.tagging.ours() == []
    order = (
        "stopping training job endless",
        "deleted scaling",
        "deleted alarm",
        "deleted endpoint up",
        "deleted endpoint configuration up",
        "deleted model up",
        "deleted schedule up.",
        "deleted schedule group",
        "deleted tuning job search",
        "untagged transform job answers",
        "deleted training job done",
    )
    found = [next(number for number, line in enumerate(lines) if line.startswith(each)) for each in order]
    assert found == sorted(found), said
    assert "1 x ml.m5.large" in said and "(2 trainings" not in said and "$0." in said
    logs = made.account.admin("logs")
    for group, name in (("TrainingJobs", "done"), ("TransformJobs", "answers")):
        streams = logs.describe_log_streams(logGroupName=f"/aws/sagemaker/{group}", logStreamNamePrefix=f"{name}/")
        assert streams["logStreams"] == []
    assert made.s3.head_object(Bucket=BUCKET, Key="kennel/models/model.tar.gz")
    assert made.kennel("delete", "--all", "--yes") == 0
    assert "nothing to delete" in capsys.readouterr().out


def test_a_refusal_in_the_middle_leaves_the_rest_deleted_and_a_second_run_ends_it(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    made.deploy("up")
    made.deploy("sick", NEVER_HEALTHY="1")
    made.surround("up")
    made.account.faults["DeleteEndpoint"] = [None, denied("sagemaker:DeleteEndpoint")]
    made.account.faults["DeregisterScalableTarget"] = [denied("application-autoscaling:DeregisterScalableTarget")]
    assert made.kennel("delete", "--all", "--yes") == 1
    shown = capsys.readouterr()
    assert "Whoever administers the account has to allow sagemaker:DeleteEndpoint" in shown.err
    assert "5 left" in shown.err and "scaling endpoint/up/variant/AllTraffic" in shown.err
    assert "deleted endpoint sick" in shown.out and "deleted alarm kennel-up-errors" in shown.out
    assert "model up-20261121-1f2e: kept, because endpoint up is still there" in shown.err
    assert "schedules of endpoint up: kept, because it is still there, and they delete it" in shown.err
    kinds = [arn.split(":")[5].split("/")[0] for arn in made.tagging.ours()]
    assert sorted(kinds) == ["endpoint", "endpoint-config", "model", "scalable-target", "schedule-group"]
    assert len(made.account.admin("scheduler").list_schedules(GroupName="kennel")["Schedules"]) == 5
    assert made.kennel("delete", "--all", "--yes") == 0
    assert made.tagging.ours() == []


def test_an_endpoint_that_is_being_made_is_waited_for(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.deploy("up")
    described = made.sagemaker.describe_endpoint(EndpointName="up")
    creating = {key: described[key] for key in ("EndpointName", "EndpointArn", "EndpointConfigName")}
    times = {"EndpointStatus": "Creating", "CreationTime": 1_790_000_000, "LastModifiedTime": 1_790_000_000}
    busy = (200, JSON, json.dumps({**creating, **times}))
    made.account.faults["DescribeEndpoint"] = [busy] * 4
    made.account.faults["DeleteEndpoint"] = [BUSY]
    assert made.kennel("delete", "--endpoint-name", "up", "--yes") == 0
    said = capsys.readouterr().out
    assert "waiting for endpoint up, which is Creating" in said and "deleted endpoint up" in said
    assert len(made.account.asked("DeleteEndpoint")) == 2 and not made.account.faults["DescribeEndpoint"]
    assert made.tagging.ours() == []
    assert made.kennel("delete", "--endpoint-name", "up", "--yes") == 2
    assert "there is no such endpoint of Kennel's" in capsys.readouterr().err


def test_throttling_is_waited_for_and_expired_credentials_end_it(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    made.model("alone", owner="alone")
    made.account.faults["DeleteModel"] = [THROTTLED, THROTTLED, EXPIRED]
    assert made.kennel("delete", "--all", "--yes") == 5
    assert "The credentials have expired" in capsys.readouterr().err
    assert made.account.asked("DeleteModel") == [{"ModelName": "alone"}] * 3
    assert made.kennel("delete", "--all", "--yes") == 0


def test_what_the_tagging_api_does_not_know_yet_is_ours_and_what_it_still_knows_is_not_there(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    made.model("new", owner="new")
    made.train("newest")
    made.surround("newest")
    made.tagging.unknown |= set(made.tagging.ours())
    account = "arn:aws:sagemaker:us-east-1:123456789012"
    tags = {"kennel:created-by": "kennel", "kennel:name": "Gone"}
    made.tagging.deleted += [(f"{account}:{kind}/gone", tags) for kind in ("endpoint", "model", "training-job")]
    made.tagging.deleted += [("arn:aws:cloudwatch:us-east-1:123456789012:alarm:gone", tags)]
    assert made.kennel("list") == 0
    listed = capsys.readouterr().out
    assert "model new" in listed and "training job newest" in listed and "gone" not in listed.lower()
    assert "alarm kennel-newest-errors" in listed and "schedule group kennel" in listed
    assert made.kennel("delete", "--all", "--yes") == 0
    assert made.kennel("delete", "--all", "--yes") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing to delete"


def test_without_the_tagging_api_sagemakers_own_lists_do(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.model("alone", owner="alone")
    made.account.faults["GetResources"] = [denied("tag:GetResources")]
    assert made.kennel("delete", "--all", "--yes") == 1
    shown = capsys.readouterr()
    assert "deleted model alone" in shown.out
    assert "perhaps more (the tagging API)" in shown.err and "tag:GetResources" in shown.err
    assert made.tagging.ours() == []


def test_one_job_is_stopped_and_deleted_by_its_name(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.train("endless", orders={"step-s": "30"})
    made.tune("search", orders={"step-s": "30", "steps": "90"})
    made.model("other", owner="other")
    assert made.kennel("delete", "--name", "search", "--yes") == 0
    said = capsys.readouterr().out
    assert "stopping tuning job search" in said and "deleted tuning job search" in said and "endless" not in said
    left = [arn.rpartition("/")[2] for arn in made.tagging.ours()]
    assert sorted(left) == ["endless", "other"]
    assert made.kennel("delete", "--name", "endless", "--yes") == 0
    assert "deleted training job endless ($0." in capsys.readouterr().out
    assert made.kennel("delete", "--name", "endless", "--yes") == 2


def test_it_is_asked_first_and_a_no_deletes_nothing(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.model("alone", owner="alone")
    assert made.kennel("delete", "--all") == 2
    assert "there is no terminal to ask at. Give --yes" in capsys.readouterr().err
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "n")
    assert made.kennel("delete", "--all") == 2
    assert asked == ["Delete 1 model (now $0.00 an hour)? [y/N] "]
    assert len(made.tagging.ours()) == 1
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert made.kennel("delete", "--all") == 0


def test_what_kennel_does_not_make_is_named_and_left(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    tags = {"kennel:created-by": "kennel"}
    queue = "arn:aws:sqs:us-east-1:123456789012:mine"
    made.tagging.deleted += [(queue, tags), ("arn:aws:s3:::kennel-tests", tags)]
    assert made.kennel("delete", "--all", "--yes") == 1
    assert f"{queue}: Kennel makes no such thing. Delete it by hand" in capsys.readouterr().err
