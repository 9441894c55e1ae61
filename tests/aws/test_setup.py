"""`kennel setup` against accounts that lack something: what it says, and the commands that make it.

Not shown: IAM's own simulation of a role's policies, which the local SageMaker answers (allowed, or as a test has it).
"""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from account import EXPIRED, REGION, Account, fault, open_account
from cfnlint.decode import cfn_yaml
from stand_in_iam import DenyingIam
from stand_in_images import Images, open_images
from stand_in_prices import Prices, product
from stand_in_quotas import Quotas

from kennel import __version__, cli
from kennel.launch.account.setup_command import INSTANCES

BUCKET = "my-bucket"
ROLES = {"kennel-execution": "execution-role-trust", "kennel-scheduler": "scheduler-role-trust"}
DENIED = fault("AccessDeniedException", "no", 403)
DENIED_XML = (
    403,
    {"Content-Type": "text/xml"},
    "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Account, Images]]:
    with open_account(tmp_path_factory.mktemp("setup") / "runs") as account, open_images(account) as images:
        yield account, images


@pytest.fixture
def images(opened: tuple[Account, Images]) -> Images:
    return opened[1]


@pytest.fixture
def account(opened: tuple[Account, Images], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    """One in which all is there."""
    account, images = opened
    for key, value in account.environ.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("KENNEL_BUCKET", BUCKET)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("kennel.launch.account.setup_command.commit_here", lambda: None)
    monkeypatch.chdir(tmp_path)
    account.faults.clear()
    account.calls.clear()
    images.clear()
    for kind in ("train", "serve"):
        images.put(f"kennel-{kind}", __version__)
    names = {f"{instance} for {use}": 2.0 for use, instance in INSTANCES.items()}
    account.others["servicequotas"] = Quotas(names, {})
    account.others["pricing"] = Prices(product("ml.g5.xlarge", "Training", "1.41"))
    make_bucket(account)
    make_roles(account)
    return account


def make_bucket(account: Account) -> None:
    s3 = account.admin("s3")
    s3.create_bucket(Bucket=BUCKET)
    every = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=dict.fromkeys(every, True))
    rule = {
        "ID": "x",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})


def make_roles(account: Account) -> None:
    iam = account.admin("iam")
    there = {each["RoleName"] for each in iam.list_roles()["Roles"]}
    for name, policy in ROLES.items():
        trust = (Path("iam") / f"{policy}.json").name
        document = (Path(__file__).parents[2] / "iam" / trust).read_text()
        if name not in there:
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)
        else:
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=document)


def setup(*arguments: str) -> int:
    return cli.main(["setup", *arguments])


def rows(told: str) -> dict[str, tuple[str, str]]:
    """State and what was said, by thing."""
    lines = told.split("\n\n")[0].splitlines()
    found = [re.split(r"  +", line, maxsplit=2) for line in lines]
    return {each[0]: (each[1], each[2]) for each in found if len(each) == 3}


def test_an_account_that_has_all_is_ready(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert setup() == 0
    told = capsys.readouterr().out
    found = rows(told)
    assert {state for state, _ in found.values()} == {"ok"}, told
    assert list(found)[:4] == ["credentials", "region", "sagemaker", "bucket"]
    assert "arn:aws:iam::123456789012:role/kennel-execution" in found["role"][1]
    assert found["role's permissions"][1] == "all of iam/execution-role.json"
    assert "@sha256:" in found["train image"][1] and "$1.41 an hour" in found["price list"][1]
    assert found["ml.g5.xlarge for training job usage"] == ("ok", "2 at once")
    assert told.count("\n") == len(found), "no commands"
    writing = re.compile(r"(Create|Put|Delete|Update|Attach|Tag|Request)")
    assert not [call for call in account.calls if call.asked and writing.match(call.asked.operation)]


def test_an_empty_account_gets_a_command_for_each_missing_thing(
    account: Account, images: Images, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images.clear()
    account.others["servicequotas"] = Quotas({f"{each} for {use}": 0.0 for use, each in INSTANCES.items()}, {})
    for name in ROLES:
        account.admin("iam").delete_role(RoleName=name)
    monkeypatch.setenv("KENNEL_BUCKET", "not-there")
    assert setup() == 1
    told = capsys.readouterr().out
    found = rows(told)
    missing = {thing for thing, (state, _) in found.items() if state == "missing"}
    assert missing == {
        *("bucket", "role", "scheduler role", "train image", "serve image"),
        *(f"{instance} for {use}" for use, instance in INSTANCES.items()),
    }
    lines = [line.strip() for line in told.splitlines() if line.startswith("    ")]
    assert "aws s3api create-bucket --bucket not-there --region us-east-1" in lines
    made = "scripts/setup.sh --region us-east-1 --bucket not-there --policy execution-role"
    assert f'aws iam create-role --role-name kennel-execution --assume-role-policy-document "$({made}-trust)"' in lines
    assert (
        f'aws iam put-role-policy --role-name kennel-execution --policy-name kennel --policy-document "$({made})"'
        in lines
    )
    assert "AWS_REGION=us-east-1 scripts/build.sh train && scripts/push.sh train" in lines
    assert any(
        line.startswith("aws ecr create-repository --region us-east-1 --repository-name kennel-serve") for line in lines
    )
    assert sum("request-service-quota-increase" in line for line in lines) == 4
    assert "aws cloudformation deploy --region us-east-1 --template-file docker/cloudformation.yaml" in told
    for line in lines:
        assert shlex.split(line)


def test_the_policies_that_the_commands_name_are_printed(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("execution-role", "execution-role-trust", "scheduler-role", "scheduler-role-trust"):
        assert setup("--policy", name) == 0
        text = capsys.readouterr().out
        assert json.loads(text)["Version"] == "2012-10-17" and "${" not in text
    assert setup("--policy", "nobody") == 2
    assert "There is no policy 'nobody'" in capsys.readouterr().err


def test_a_role_that_others_may_take_or_that_may_too_little_is_told(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((Path(__file__).parents[2] / "iam" / "scheduler-role-trust.json").read_text())
    account.admin("iam").update_assume_role_policy(RoleName="kennel-execution", PolicyDocument=json.dumps(document))
    assert setup() == 1
    told = capsys.readouterr().out
    assert rows(told)["role"] == ("missing", "kennel-execution does not trust sagemaker.amazonaws.com")
    assert "aws iam update-assume-role-policy --role-name kennel-execution --policy-document" in told


def test_what_a_role_may_not_do_is_named(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = {"s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
    monkeypatch.setitem(account.others, "iam", DenyingIam(account, denied))
    assert setup() == 1
    found = rows(capsys.readouterr().out)
    state, said = found["role's permissions"]
    assert state == "missing" and said.startswith("it may not s3:") and said.endswith("and 1 more")
    asked = account.asked("SimulatePrincipalPolicy")
    assert asked and all(each["PolicySourceArn"].startswith("arn:aws:iam::123456789012:role/kennel-") for each in asked)
    entries = [entry for each in asked for entry in each.get("ContextEntries", [])]
    assert {"ContextKeyName": "s3:prefix", "ContextKeyValues": ["kennel/kennel"], "ContextKeyType": "string"} in entries


def test_the_roles_of_the_stack_are_found(account: Account) -> None:
    """CloudFormation gives them names of its own. (moto's IAM made them; another is asked here.)"""
    template = cfn_yaml.load(str(Path(__file__).parents[2] / "docker" / "cloudformation.yaml"))
    known = json.loads(json.dumps(template))
    kept = {"ExecutionRole", "SchedulerRole", "TrainRepository", "ServeRepository"}
    known["Resources"] = {name: each for name, each in known["Resources"].items() if name in kept}
    known["Outputs"] = {key: each for key, each in known["Outputs"].items() if key.endswith("RoleArn")}
    given = {"SourceLocation": "https://git.example/owner/kennel.git", "BucketName": BUCKET}
    for kind in ("train", "serve"):
        account.admin("ecr").delete_repository(repositoryName=f"kennel-{kind}", force=True)
    stacks = account.admin("cloudformation")
    stacks.create_stack(
        StackName="kennel",
        TemplateBody=json.dumps(known),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )
    try:
        setup()
        outputs = {
            each["OutputKey"]: each["OutputValue"]
            for each in stacks.describe_stacks(StackName="kennel")["Stacks"][0]["Outputs"]
        }
    finally:
        stacks.delete_stack(StackName="kennel")
    asked = {each["RoleName"] for each in account.asked("GetRole")}
    assert asked == {arn.rpartition("/")[2] for arn in outputs.values()} and len(asked) == 2


def test_advice_is_no_need(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    s3 = account.admin("s3")
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.delete_bucket_lifecycle(Bucket=BUCKET)
    account.admin("iam").delete_role(RoleName="kennel-scheduler")
    assert setup() == 0
    told = capsys.readouterr().out
    assert {thing: state for thing, (state, _) in rows(told).items() if state != "ok"} == {
        "public access": "advice",
        "unfinished uploads": "advice",
        "scheduler role": "missing",
    }
    commands = [shlex.split(line) for line in told.splitlines() if line.startswith("    aws s3api put-")]
    block, rules = (dict(zip(each[3::2], each[4::2], strict=True)) for each in commands)
    every = dict(pair.split("=") for pair in block["--public-access-block-configuration"].split(","))
    s3.put_public_access_block(
        Bucket=BUCKET, PublicAccessBlockConfiguration={key: value == "true" for key, value in every.items()}
    )
    wanted = json.loads(rules["--lifecycle-configuration"])
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=wanted)
    assert setup() == 0
    assert "advice" not in capsys.readouterr().out, "what the commands make is what was missing"


@pytest.mark.parametrize(
    ("operations", "thing", "action"),
    [
        (("GetRole",), "role", "iam:GetRole"),
        (("SimulatePrincipalPolicy",), "role's permissions", "iam:SimulatePrincipalPolicy"),
        (("DescribeImages",), "train image", "ecr:DescribeImages and ecr:BatchGetImage"),
        (("ListTrainingJobs",), "sagemaker", "sagemaker:ListTrainingJobs"),
        (("ListServiceQuotas", "ListAWSDefaultServiceQuotas"), "ml.g5.xlarge for training job usage", "servicequotas:"),
    ],
)
def test_what_may_not_be_asked_is_not_known(
    account: Account, capsys: pytest.CaptureFixture[str], operations: tuple[str, ...], thing: str, action: str
) -> None:
    for operation in operations:
        account.faults[operation] = [DENIED_XML if operation in ("GetRole", "SimulatePrincipalPolicy") else DENIED] * 99
    assert setup() == 1
    state, said = rows(capsys.readouterr().out)[thing]
    assert state == "not known" and action in said


def test_a_bucket_that_cannot_be_used_is_told(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"LocationConstraint": "eu-west-1"}
    account.admin("s3").create_bucket(Bucket="abroad", CreateBucketConfiguration=there)
    monkeypatch.setenv("KENNEL_BUCKET", "abroad")
    assert setup() == 1
    assert rows(capsys.readouterr().out)["bucket"][1].startswith("'abroad' is in eu-west-1")
    account.faults["HEAD /abroad"] = [(403, {}, "")]
    assert setup() == 1
    assert rows(capsys.readouterr().out)["bucket"][0] == "not known"
    monkeypatch.delenv("KENNEL_BUCKET")
    assert setup() == 1
    told = capsys.readouterr().out
    assert rows(told)["bucket"][1].startswith("none is named")
    assert "aws s3api create-bucket --bucket kennel-123456789012-us-east-1 --region us-east-1\n" in told


def test_expired_credentials_end_it(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.faults["ListTrainingJobs"] = [EXPIRED]
    assert setup() == 5
    assert "The credentials have expired" in capsys.readouterr().err


def test_what_was_found_is_written_once(
    account: Account, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert setup("--write") == 0
    wanted = {
        "role": "arn:aws:iam::123456789012:role/kennel-execution",
        "scheduler_role": "arn:aws:iam::123456789012:role/kennel-scheduler",
        "region": REGION,
        "bucket": BUCKET,
        "prefix": "kennel",
    }
    assert tomllib.loads((tmp_path / "kennel.toml").read_text()) == wanted
    assert f"written: {tmp_path / 'kennel.toml'}" in capsys.readouterr().out
    assert setup("--write") == 0
    assert "says so already" in capsys.readouterr().out
    monkeypatch.setenv("KENNEL_TAGS", "team=vision")
    assert setup("--write") == 2
    told = capsys.readouterr().err
    assert "says otherwise of tags. Nothing was written" in told and 'tags = { "team" = "vision" }' in told
    assert tomllib.loads((tmp_path / "kennel.toml").read_text()) == wanted
