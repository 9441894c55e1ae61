"""Whether the two roles are there, who may take them, and whether they may do what iam/ says.

Exercise it: pytest tests/aws/test_setup.py
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.aws.account_rows import MISSING, OK, UNKNOWN, Account, Row, asking
from kennel.aws.policies import EXECUTION_ROLE, SCHEDULER_ROLE, filled
from kennel.aws.simulation import denied_of

STACK: Final = "kennel"
_SHOWN: Final = 3


@asking("role", "iam:GetRole")
def execution_role(account: Account) -> Iterator[Row]:
    """What jobs and models run as."""
    given = account.profile.role or _of_stack(account, "ExecutionRoleArn")
    yield from _role(account, "role", "execution-role", given, EXECUTION_ROLE, "sagemaker")


@asking("scheduler role", "iam:GetRole", is_needed=False)
def scheduler_role(account: Account) -> Iterator[Row]:
    """What deletes endpoints when their time is over."""
    given = account.profile.scheduler_role or _of_stack(account, "SchedulerRoleArn")
    yield from _role(account, "scheduler role", "scheduler-role", given, SCHEDULER_ROLE, "scheduler")


def role_commands(account: Account, policy: str, name: str) -> tuple[str, ...]:
    """What makes a role as iam/ has it. policy: execution-role or scheduler-role."""
    more = f" --region {account.region}" + (f" --bucket {account.profile.bucket}" * bool(account.profile.bucket))
    setup = f"scripts/setup.sh{more} --policy {policy}"
    return (
        f'aws iam create-role --role-name {name} --assume-role-policy-document "$({setup}-trust)"',
        f'aws iam put-role-policy --role-name {name} --policy-name kennel --policy-document "$({setup})"',
    )


def _of_stack(account: Account, output: str) -> str | None:
    """What docker/cloudformation.yaml has made, whose roles have names of CloudFormation's; None if nobody says."""
    try:
        [stack] = account.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    except ClientError:  # there is none, or we may not see it: the usual name is looked for
        return None
    return next((each["OutputValue"] for each in stack.get("Outputs", []) if each["OutputKey"] == output), None)


def _role(account: Account, thing: str, policy: str, given: str | None, usual: str, service: str) -> Iterator[Row]:
    is_needed = service == "sagemaker"
    arn = given or f"arn:{account.partition}:iam::{account.number}:role/{usual}"
    name = arn.rpartition("/")[2]
    purpose = "" if is_needed else " (for --ttl)"
    make, allow = role_commands(account, policy, name)
    try:
        found = account.client("iam").get_role(RoleName=name)["Role"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        yield Row(thing, MISSING, f"there is no {arn}{purpose}", (make, allow), is_needed)
        return
    account.found[policy] = found["Arn"]
    if not _trusts(found.get("AssumeRolePolicyDocument", {}), service):
        trust = make.partition(" --assume-role-policy-document ")[2]
        update = f"aws iam update-assume-role-policy --role-name {name} --policy-document {trust}"
        yield Row(thing, MISSING, f"{name} does not trust {service}.amazonaws.com{purpose}", (update,), is_needed)
        return
    yield Row(thing, OK, f"{found['Arn']}{purpose}", (), is_needed)
    what = f"{thing}'s permissions"

    @asking(what, "iam:SimulatePrincipalPolicy", is_needed=is_needed)
    def permissions(account: Account) -> Iterator[Row]:
        yield from _permissions(account, what, policy, found["Arn"], allow, is_needed=is_needed)

    yield from permissions(account)


def _permissions(account: Account, what: str, policy: str, arn: str, command: str, *, is_needed: bool) -> Iterator[Row]:
    """What of the policy the role may not do, by IAM's own simulation."""
    if not account.profile.bucket:
        yield Row(what, UNKNOWN, "they name the bucket, and there is none yet", (), is_needed)
        return
    document = filled(policy, account.profile, account.number, region=account.region)
    denied = list(dict.fromkeys(each for one in document["Statement"] for each in _denied(account, arn, one)))
    if denied:
        shown = ", ".join(denied[:_SHOWN]) + (f" and {len(denied) - _SHOWN} more" if len(denied) > _SHOWN else "")
        yield Row(what, MISSING, f"it may not {shown}", (command,), is_needed)
    else:
        yield Row(what, OK, f"all of iam/{policy}.json", (), is_needed)


def _denied(account: Account, arn: str, statement: Mapping[str, Any]) -> Iterator[str]:
    """Actions that the role may not do on an example of each of the statement's resources."""
    resources = [_example(each) for each in _listed(statement["Resource"])]
    actions, context = _listed(statement["Action"]), list(_context(statement))
    return denied_of(account.client("iam"), arn, actions, resources, context=context)


def _context(statement: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What the statement's conditions demand, as the service's own requests have it; the simulation is told."""
    for keys in statement.get("Condition", {}).values():
        for key, values in keys.items():
            examples = [_example(each) for each in _listed(values)]
            yield {"ContextKeyName": key, "ContextKeyValues": examples, "ContextKeyType": "string"}


def _example(pattern: str) -> str:
    return pattern if pattern == "*" else pattern.replace("*", "kennel")


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _trusts(document: Mapping[str, Any], service: str) -> bool:
    for each in document.get("Statement", []):
        principal = each.get("Principal")
        services = _listed(principal.get("Service", [])) if isinstance(principal, dict) else []
        if each.get("Effect") == "Allow" and f"{service}.amazonaws.com" in services:
            return True
    return False
