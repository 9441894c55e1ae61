"""docker/cloudformation.yaml: what cfn-lint finds, what its roles may do, and what moto makes of it."""

import ast
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import cfnlint.core
import pytest
import yaml
from cfnlint.decode import cfn_yaml
from moto import mock_aws

from kennel.aws.policies import filled
from kennel.aws.profile import Profile

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE = REPOSITORY / "docker" / "cloudformation.yaml"
ACCOUNT, REGION = "123456789012", "eu-west-1"
# AWS knows no narrower resource for these.
WITHOUT_RESOURCE = {
    "ecr:GetAuthorizationToken",
    "cloudwatch:PutMetricData",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
}
PARAMETERS = {"SourceLocation": "https://git.example/owner/kennel.git", "BucketName": "a-bucket"}
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0-1"
NAMES = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "BucketName": "a-bucket",
    "Prefix": "kennel",
    "BuildPrefix": "kennel/builds",
    "AWS::StackName": "kennel",
    "KmsKeyArn": KEY,
}
CONNECTION = f"arn:aws:codeconnections:{REGION}:{ACCOUNT}:connection/0-1"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return json.loads(json.dumps(cfn_yaml.load(str(TEMPLATE))))


def statements(template: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(role, statement) of every policy; those that depend on a condition too."""
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role":
            for policy in resource["Properties"]["Policies"]:
                for statement in policy["PolicyDocument"]["Statement"]:
                    yield name, statement["Fn::If"][1] if "Fn::If" in statement else statement


def listed(value: Any) -> list[Any]:  # noqa: ANN401  text or a list of it, as IAM takes both
    return value if isinstance(value, list) else [value]


def test_cfn_lint_finds_nothing() -> None:
    config = cfnlint.config.ConfigMixIn(["--include-checks", "I", "--", str(TEMPLATE)])
    found = list(cfnlint.runner.Runner(config).run())
    assert [f"{match.rule.id} line {match.linenumber}: {match.message}" for match in found] == []


def test_no_role_may_do_everything_or_to_everything(template: dict[str, Any]) -> None:
    seen = set()
    for role, statement in statements(template):
        actions = set(listed(statement["Action"]))
        assert not [action for action in actions if "*" in action], f"{role}: {statement}"
        if "*" in listed(statement["Resource"]):
            assert actions <= WITHOUT_RESOURCE, f"{role}: {statement}"
            seen |= actions
        for resource in listed(statement["Resource"]):
            text = resource.get("Fn::Sub", "") if isinstance(resource, dict) else resource
            assert isinstance(text, list) or not text.startswith("arn:*"), f"{role}: {statement}"
    assert seen == WITHOUT_RESOURCE, "what has no resource level is the only exception, and all are used"


def test_metrics_go_to_sagemakers_namespaces_only(template: dict[str, Any]) -> None:
    metrics = [statement for _, statement in statements(template) if statement["Action"] == "cloudwatch:PutMetricData"]
    assert [one["Condition"]["StringLike"]["cloudwatch:namespace"] for one in metrics] == ["/aws/sagemaker/*"]


def test_a_role_is_for_one_service_of_this_account(template: dict[str, Any]) -> None:
    for role, service in (
        ("BuildRole", "codebuild"),
        ("ExecutionRole", "sagemaker"),
        ("SchedulerRole", "scheduler"),
    ):
        trust = template["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert [one["Principal"] for one in trust] == [{"Service": f"{service}.amazonaws.com"}]
        assert trust[0]["Condition"]["StringEquals"]["aws:SourceAccount"] == {"Ref": "AWS::AccountId"}


@pytest.mark.parametrize(
    ("role", "policy"),
    [("ExecutionRole", "execution-role"), ("SchedulerRole", "scheduler-role"), ("BuildRole", "codebuild")],
)
def test_a_role_is_that_of_iam(template: dict[str, Any], role: str, policy: str) -> None:
    """Whoever makes the roles by hand, as scripts/setup.sh says, has the same ones."""
    profile = Profile(bucket="a-bucket", kms_key=KEY, subnets=("subnet-1",), security_groups=("sg-1",))
    properties = template["Resources"][role]["Properties"]
    [document] = [each["PolicyDocument"] for each in properties["Policies"]]
    if role == "BuildRole":  # what reads a private source is the stack's own
        document = {**document, "Statement": [each for each in document["Statement"] if "Fn::If" not in each]}
    for found, name in ((document, policy), (properties["AssumeRolePolicyDocument"], f"{policy}-trust")):
        wanted = filled(name, profile, ACCOUNT, region=REGION)
        assert alike(in_full(found)) == alike(wanted)


def in_full(value: Any) -> Any:  # noqa: ANN401  JSON in, JSON out
    """A part of the template as CloudFormation puts names into it, all conditions fulfilled."""
    if isinstance(value, list):
        return [in_full(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "Fn::If" in value:
        return in_full(value["Fn::If"][1])
    if "Fn::GetAtt" in value:
        kind = value["Fn::GetAtt"][0].removesuffix("Repository").lower()
        return f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/kennel-{kind}"
    if "Ref" in value:
        return NAMES[value["Ref"]]
    if "Fn::Sub" in value:
        return re.sub(r"\$\{([^}]+)\}", lambda found: NAMES[found[1]], value["Fn::Sub"])
    return {key: in_full(each) for key, each in value.items()}


def alike(value: Any) -> Any:  # noqa: ANN401
    """Texts as lists of one, which IAM does not tell apart."""
    if isinstance(value, dict):
        return {key: alike(each) for key, each in value.items()}
    return [each if isinstance(each, str) else alike(each) for each in value] if isinstance(value, list) else [value]


def test_the_project_plays_our_buildspec_with_docker_and_what_it_asks_for(template: dict[str, Any]) -> None:
    project = template["Resources"]["Project"]["Properties"]
    environment = project["Environment"]
    assert (environment["PrivilegedMode"], environment["Type"]) == (True, "LINUX_CONTAINER")
    assert (REPOSITORY / project["Source"]["BuildSpec"]).is_file()
    variables = [one for one in environment["EnvironmentVariables"] if "Name" in one]
    assert [one["Name"] for one in variables] == ["ECR_REGISTRY"]


def test_the_build_may_write_the_report_groups_that_codebuild_names_after_the_project(template: dict[str, Any]) -> None:
    project = template["Resources"]["Project"]["Properties"]["Name"]["Fn::Sub"]
    allowed = next(one for _, one in statements(template) if one.get("Sid") == "ReportTests")["Resource"]["Fn::Sub"]
    assert allowed.endswith(f":report-group/{project}-*")


def test_images_are_scanned_and_the_caches_tag_is_the_only_one_that_may_move(template: dict[str, Any]) -> None:
    spec = yaml.safe_load((REPOSITORY / "buildspec.yml").read_text())
    for name in ("TrainRepository", "ServeRepository"):
        properties = template["Resources"][name]["Properties"]
        assert properties["ImageScanningConfiguration"] == {"ScanOnPush": True}
        assert properties["ImageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
        filters = properties["ImageTagMutabilityExclusionFilters"]
        assert [one["ImageTagMutabilityExclusionFilterValue"] for one in filters] == [
            spec["env"]["variables"]["CACHE"] + "*"
        ]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, template: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The outputs of the stack as moto makes it; moto has no CodeBuild projects in its CloudFormation."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    known = copy.deepcopy(template)
    del known["Resources"]["Project"], known["Outputs"]["ProjectName"]
    with mock_aws():
        client = boto3.client("cloudformation", region_name=REGION)
        given = PARAMETERS | {"ConnectionArn": CONNECTION}
        client.create_stack(
            StackName="kennel",
            TemplateBody=json.dumps(known),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        )
        made = client.describe_stacks(StackName="kennel")["Stacks"][0]
        assert made["StackStatus"] == "CREATE_COMPLETE"
        yield {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}


def test_the_stack_makes_the_repositories_and_roles_that_its_outputs_name(stack: dict[str, str]) -> None:
    ecr = boto3.client("ecr", region_name=REGION)
    repositories = {one["repositoryName"]: one for one in ecr.describe_repositories()["repositories"]}
    assert set(repositories) == {"kennel-train", "kennel-serve"}
    assert stack["Registry"] == f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
    assert stack["TrainRepositoryUri"] == repositories["kennel-train"]["repositoryUri"]
    assert stack["JobLocation"] == "s3://a-bucket/kennel/jobs/"
    iam = boto3.client("iam", region_name=REGION)
    role = stack["ExecutionRoleArn"].rpartition("/")[2]
    text = iam.get_role_policy(RoleName=role, PolicyName="jobs")["PolicyDocument"]
    document = ast.literal_eval(text)  # moto keeps what a stack brings as Python prints it
    pulls = next(one for one in document["Statement"] if one["Sid"] == "PullItsImages")
    assert sorted(pulls["Resource"]) == sorted(one["repositoryArn"] for one in repositories.values())
    assert "${" not in json.dumps(document), "every name was put in"


@pytest.mark.parametrize(("name", "parameter"), [("Train", "KeepTrainImages"), ("Serve", "KeepServeImages")])
def test_ecr_takes_the_lifecycle_policies(
    name: str, parameter: str, stack: dict[str, str], template: dict[str, Any]
) -> None:
    """moto checks a policy as ECR does, but not one that comes with a stack."""
    text = template["Resources"][f"{name}Repository"]["Properties"]["LifecyclePolicy"]["LifecyclePolicyText"]["Fn::Sub"]
    policy = text.replace(f"${{{parameter}}}", str(template["Parameters"][parameter]["Default"]))
    ecr = boto3.client("ecr", region_name=REGION)
    ecr.put_lifecycle_policy(repositoryName=f"kennel-{name.lower()}", lifecyclePolicyText=policy)
    assert [rule["selection"]["tagStatus"] for rule in json.loads(policy)["rules"]] == ["untagged", "any"]
