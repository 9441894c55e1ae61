"""The policies in iam/, with this account's names filled in.

    filled("person", profile, "123456789012")       # iam/person.json as a document for IAM
    names()                                          # person, execution-role, execution-role-trust, ...

Exercise it: pytest tests/aws/test_policies.py
"""

import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kennel.aws.profile import Profile
from kennel.errors import UserError

FOLDER: Final = Path(__file__).parents[3] / "iam"
# What the roles are called where the profile names none.
EXECUTION_ROLE: Final = "kennel-execution"
SCHEDULER_ROLE: Final = "kennel-scheduler"


def names() -> tuple[str, ...]:
    """Of all policies, in their order by name."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def filled(name: str, profile: Profile, account: str, *, region: str | None = None) -> dict[str, Any]:
    """One of iam/*.json with account, region, bucket, prefix and roles in place of ${Account} and the like.

    account: its 12 digits. region: where the profile has none. Statements named Kms... and Vpc... are there if the
    profile has a key and subnets. Raises UserError for a name that is none, for a bucket or region that nobody has
    given, and for a key by its alias, by which no policy can name it.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        raise UserError(f"There is no policy '{name}' in {FOLDER}. There are: {', '.join(names())}.")
    region = profile.region or region
    if not profile.bucket or not region:
        missing = "bucket" if region else "region"
        raise UserError(
            f"Policy '{name}' names the {missing}, and there is none. Give --{missing}, or put it into kennel.toml."
        )
    partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    role = f"arn:{partition}:iam::{account}:role"
    values = {
        "Partition": partition,
        "Account": account,
        "Region": region,
        "Bucket": profile.bucket,
        "Prefix": profile.prefix.strip("/"),
        "ExecutionRoleArn": profile.role or f"{role}/{EXECUTION_ROLE}",
        "SchedulerRoleArn": profile.scheduler_role or f"{role}/{SCHEDULER_ROLE}",
        "KmsKeyArn": _key_arn(profile.kms_key, f"arn:{partition}:kms:{region}:{account}:key/"),
    }
    document: dict[str, Any] = json.loads(path.read_text())
    left_out = tuple(start for start, given in (("Kms", profile.kms_key), ("Vpc", profile.subnets)) if not given)
    statements = [each for each in document["Statement"] if not each.get("Sid", "").startswith(left_out)]
    filled_in: dict[str, Any] = _substituted({**document, "Statement": statements}, values)
    return filled_in


def _key_arn(key: str | None, start: str) -> str:
    """Of a key by its ARN or its id."""
    if key and "alias/" in key:
        raise UserError(f"kms_key is {key}: a policy names a key by its ARN. Put that into kennel.toml, as kms_key.")
    return key if key and key.startswith("arn:") else f"{start}{key}"


def _substituted(value: Any, values: Mapping[str, str]) -> Any:  # noqa: ANN401  JSON in, JSON out
    if isinstance(value, dict):
        return {key: _substituted(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, values) for item in value]
    return string.Template(value).substitute(values) if isinstance(value, str) else value
