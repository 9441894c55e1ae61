"""Roles in the account of the tests."""

import json

from account import Account


def make_role(account: Account, arn: str, *, service: str = "sagemaker.amazonaws.com") -> None:
    """A role that `service` may take; nothing happens where there is one of that name."""
    name, client = arn.rpartition("/")[2], account.admin("iam")
    if name in [each["RoleName"] for each in client.list_roles()["Roles"]]:
        return
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    client.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(document))
