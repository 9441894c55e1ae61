"""The policies in iam/: what all other tests asked of the account was allowed, and nothing more is.

conftest.py has this file run last. What was not asked, because only a part of tests/aws ran, is said and not judged.
IAM itself is not here: the evaluator of these tests knows what the files use, and refuses what it does not know.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from permissions import Need
from policies import Context, Policy
from roles_at_work import as_execution_role, as_scheduler_role, buckets

from kennel.aws.policies import FOLDER, filled, names
from kennel.aws.profile import Profile
from kennel.errors import UserError

ACCOUNT, REGION = "123456789012", "us-east-1"
ROLE, SCHEDULER = f"arn:aws:iam::{ACCOUNT}:role/kennel-execution", f"arn:aws:iam::{ACCOUNT}:role/kennel-scheduler"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0123"
FULL = Profile(
    role=ROLE,
    scheduler_role=SCHEDULER,
    region=REGION,
    bucket="my-bucket",
    kms_key=KEY,
    subnets=("subnet-1",),
    security_groups=("sg-1",),
)
OURS = {"aws:ResourceTag/kennel:created-by": "kennel"}
NEW = {"aws:RequestTag/kennel:created-by": "kennel"}
TO_SAGEMAKER = {"iam:PassedToService": "sagemaker.amazonaws.com"}
# Without blanks, of one managed policy.
LONGEST = 6144
_SAGEMAKER = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
WIRE = Path(__file__).parent / "wire"
GIVEN = json.loads((WIRE / "description.json").read_text())

Json = dict[str, Any]


@pytest.fixture
def asked(record: Path) -> list[Json]:
    """Every request of a person under iam/person.json that was not meant to be denied."""
    if not record.exists():
        pytest.skip("no test that ran before asked anything of the account")
    lines = map(json.loads, record.read_text().splitlines())
    return [each for each in lines if each["policy"] == "person" and not each["is_denial_expected"]]


def policy(name: str, profile: Profile = FULL) -> Policy:
    return Policy(filled(name, profile, ACCOUNT, region=REGION))


@pytest.mark.parametrize("name", names())
def test_a_policy_is_one_that_iam_takes(name: str) -> None:
    profile = Profile(region="ap-southeast-2", bucket="b" * 63, kms_key=KEY, prefix="kennel/of/a/team")
    document = filled(name, profile, ACCOUNT)
    text = json.dumps(document, separators=(",", ":"))
    assert len(text) <= LONGEST and "${" not in text
    sids = [each.sid for each in Policy(document).statements]
    assert len(set(sids)) == len(sids) and all(re.fullmatch(r"[A-Za-z0-9]*", each) for each in sids)


def test_statements_of_keys_and_networks_are_there_for_who_has_them() -> None:
    plain = Profile(region=REGION, bucket="my-bucket")
    sids = {each.sid for each in policy("execution-role").statements}
    assert sids - {each.sid for each in policy("execution-role", plain).statements} == {
        *("KmsReadAndWrite", "KmsOfVolumes", "VpcInterfaces", "VpcLookUp")
    }
    with pytest.raises(UserError, match="a policy names a key by its ARN"):
        filled("person", Profile(region=REGION, bucket="b", kms_key="alias/mine"), ACCOUNT)
    with pytest.raises(UserError, match="names the bucket, and there is none"):
        filled("person", Profile(region=REGION), ACCOUNT)
    with pytest.raises(UserError, match="There is no policy 'king'.*person"):
        filled("king", plain, ACCOUNT)


@pytest.mark.parametrize(
    ("action", "resource", "context", "is_allowed"),
    [
        ("iam:PassRole", ROLE, TO_SAGEMAKER, True),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", TO_SAGEMAKER, False),
        ("iam:PassRole", ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}, False),
        ("iam:PassRole", SCHEDULER, TO_SAGEMAKER, False),
        ("sagemaker:DeleteEndpoint", f"{_SAGEMAKER}:endpoint/dogs", OURS, True),
        ("sagemaker:DeleteEndpoint", f"{_SAGEMAKER}:endpoint/dogs", {}, False),
        ("sagemaker:CreateTrainingJob", f"{_SAGEMAKER}:training-job/dogs", NEW, True),
        ("sagemaker:CreateTrainingJob", f"{_SAGEMAKER}:training-job/dogs", {}, False),
        ("sagemaker:AddTags", f"{_SAGEMAKER}:model/m", {**NEW, "sagemaker:TaggingAction": "CreateModel"}, True),
        ("sagemaker:AddTags", f"{_SAGEMAKER}:model/of-others", NEW, False),
        ("s3:GetObject", "arn:aws:s3:::my-bucket/kennel/data/a.jpg", {}, True),
        ("s3:GetObject", "arn:aws:s3:::my-bucket/payroll.csv", {}, False),
        ("s3:DeleteObject", "arn:aws:s3:::other/kennel/a.jpg", {}, False),
        ("scheduler:DeleteSchedule", f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/x", {}, False),
        ("cloudwatch:DeleteAlarms", f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:of-others", {}, False),
        ("logs:DeleteLogGroup", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/f:*", {}, False),
    ],
)
def test_a_person_may_do_it_to_what_is_kennels(action: str, resource: str, context: Context, is_allowed: bool) -> None:
    assert bool(policy("person").allowing(action, resource, context)) == is_allowed


@pytest.mark.parametrize(
    ("action", "key", "is_allowed"),
    [
        ("s3:GetObject", "kennel/data/dogs/a.jpg", True),
        ("s3:GetObject", "payroll.csv", False),
        ("s3:PutObject", "kennel/jobs/dogs/output/model.tar.gz", True),
        ("s3:PutObject", "kennel/data/dogs/a.jpg", False),
        ("s3:DeleteObject", "kennel/weights/a.pth", False),
    ],
)
def test_a_job_writes_beside_its_data(action: str, key: str, is_allowed: bool) -> None:
    assert bool(policy("execution-role").allowing(action, f"arn:aws:s3:::my-bucket/{key}", {})) == is_allowed


@pytest.mark.parametrize(
    ("name", "service", "more"),
    [
        ("execution-role-trust", "sagemaker", {}),
        (
            "scheduler-role-trust",
            "scheduler",
            # Of the group: with a schedule's own ARN CreateSchedule is refused (its guide on confused deputies).
            {"aws:SourceArn": f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/kennel"},
        ),
    ],
)
def test_a_role_is_for_one_service_of_this_account(name: str, service: str, more: Mapping[str, str]) -> None:
    (statement,) = filled(name, FULL, ACCOUNT)["Statement"]
    assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}
    assert statement["Action"] == "sts:AssumeRole"
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT, **more}}


def test_all_that_was_asked_is_allowed(asked: list[Json]) -> None:
    refused = [
        (each["operation"], need)
        for each in asked
        for need, statement in zip(each["needs"], each["statements"], strict=True)
        if statement is None
    ]
    assert refused == []


def test_a_person_may_do_nothing_that_no_test_asked(asked: list[Json], is_whole: bool) -> None:
    used = {
        (statement, need[0])
        for each in asked
        for need, statement in zip(each["needs"], each["statements"], strict=True)
    }
    plain = policy("person", Profile(region=REGION, bucket="my-bucket"))
    _judge({(each.sid, action) for each in plain.statements for action in each.actions} - used, is_whole)


def test_jobs_may_do_what_was_asked_of_them_and_nothing_more(asked: list[Json], is_whole: bool) -> None:
    used, refused = set(), []
    for each, need in _work(asked):
        bucket = (sorted(buckets(each["parameters"])) or ["my-bucket"])[0]
        key = next(iter(_keys(each["parameters"])), KEY)
        profile = Profile(
            bucket=bucket, prefix=each["prefix"], kms_key=key, subnets=("subnet-1",), security_groups=("sg-1",)
        )
        found = policy("execution-role", profile).allowing(need.action, need.resource, need.context)
        used |= {(found.sid, need.action)} if found else set()
        refused += [] if found else [(each["operation"], need.action, need.resource)]
    assert refused == []
    plain = policy("execution-role", Profile(bucket="my-bucket"))
    _judge({(each.sid, action) for each in plain.statements for action in each.actions} - used, is_whole)


def test_the_scheduler_may_do_what_schedules_say_and_nothing_more(asked: list[Json], is_whole: bool) -> None:
    scheduler, used = policy("scheduler-role"), set()
    for each in asked:
        if each["operation"] != "CreateSchedule":
            continue
        for need in as_scheduler_role(each["parameters"], region=REGION, account=ACCOUNT):
            found = scheduler.allowing(need.action, need.resource, need.context)
            assert found, f"the scheduler may not {need.action} {need.resource}"
            untagged = scheduler.allowing(need.action, need.resource, {})
            assert untagged is None
            used.add((found.sid, need.action))
    _judge({(each.sid, action) for each in scheduler.statements for action in each.actions} - used, is_whole)


def test_keys_and_networks_are_used_by_who_has_them() -> None:
    """No test of the account has them: the requests recorded for SDK v3 do."""
    work = [
        need
        for path in WIRE.glob("v3-*.json")
        for need in as_execution_role(
            path.stem.removeprefix("v3-"), json.loads(path.read_text()), region=GIVEN["region"], account=ACCOUNT
        )
    ]
    profile = Profile(
        role=GIVEN["role"],
        region=GIVEN["region"],
        bucket=GIVEN["bucket"],
        kms_key=GIVEN["kms_key"],
        subnets=("subnet-1",),
        security_groups=("sg-1",),
    )
    role = policy("execution-role", profile)
    found = {
        (each.sid, need.action) for need in work if (each := role.allowing(need.action, need.resource, need.context))
    }
    special = [each for each in role.statements if each.sid.startswith(("Kms", "Vpc"))]
    assert {(each.sid, action) for each in special for action in each.actions} <= found
    assert all(role.allowing(need.action, need.resource, need.context) for need in work)


@pytest.mark.parametrize("name", ["person", "execution-role", "scheduler-role", "codebuild"])
def test_the_page_says_of_each_action_which_call_needs_it(name: str) -> None:
    rows = defaultdict(set)
    part = (
        (FOLDER / "README.md").read_text().partition(f"## {name}.json\n")[2].partition("\n## ")[0].partition("|---|")[2]
    )
    for sid, actions, calls in re.findall(r"^\| (\w+) \| (.+?) \| (.+?) \|$", part, re.MULTILINE):
        rows[sid] |= set(re.findall(r"`([\w-]+:\w+)`", actions))
        assert calls.strip()
    wanted = {each.sid: set(each.actions) for each in policy(name).statements}
    assert dict(rows) == wanted


def _judge(unused: set[tuple[str, str]], is_whole: bool) -> None:
    """Nothing may be left of a whole run."""
    if not is_whole:
        pytest.skip(f"only a part of tests/aws ran, which did not use: {sorted(unused)}")
    assert unused == set(), "no test needs these: take them out, or test what needs them"


def _work(asked: list[Json]) -> Iterator[tuple[Json, Need]]:
    for each in asked:
        for need in as_execution_role(each["operation"], each["parameters"], region=REGION, account=ACCOUNT):
            yield each, need


def _keys(given: Json) -> set[str]:
    return set(re.findall(r"arn:aws:kms:[\w-]+:\d+:key/[\w-]+", json.dumps(given)))
