"""What Kennel made on AWS, by its tags: put on everything, and found again by them.

    tags_for("dogs", profile)                       # name, maker, version, and the profile's own
    find_tagged(boto3.client("resourcegroupstaggingapi"))

The tagging API tells of things that are deleted for a while, and not of schedules (which cannot be tagged) and roles of
IAM. So what it finds is looked at before it is shown or deleted (kennel.launch.account.cleanup).
Exercise it: pytest tests/aws/test_tags.py
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kennel import __version__
from kennel.aws.profile import Profile

NAME: Final = "kennel:name"
MAKER: Final = "kennel:created-by"
VERSION: Final = "kennel:version"
_ARN: Final = re.compile(r"arn:[\w-]+:(?P<service>[\w-]+):[\w-]*:\d*:(?P<kind>[\w-]+)[/:](?P<name>.+)")
_BUCKET_ARN: Final = re.compile(r"arn:[\w-]+:s3:::(?P<name>[^/]+)")


@dataclass(frozen=True)
class Tagged:
    """A thing of ours. kind: `sagemaker:endpoint`, `cloudwatch:alarm`, as the tagging API names types."""

    arn: str
    kind: str
    name: str
    tags: Mapping[str, str]


def tags_for(name: str, profile: Profile) -> dict[str, str]:
    """Of everything that is made for the job or endpoint `name`; Kennel's own are over the profile's."""
    return {**profile.tags, NAME: name, MAKER: "kennel", VERSION: __version__}


def as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """As most of AWS's requests have them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def find_tagged(client: Any, *, name: str | None = None) -> Iterator[Tagged]:  # noqa: ANN401  boto3's
    """All that carries our tag, in one region. client: boto3's `resourcegroupstaggingapi`. name: only of that one."""
    filters = [{"Key": MAKER, "Values": ["kennel"]}]
    filters += [{"Key": NAME, "Values": [name]}] if name else []
    for page in client.get_paginator("get_resources").paginate(TagFilters=filters):
        for each in page["ResourceTagMappingList"]:
            tags = {tag["Key"]: tag["Value"] for tag in each["Tags"]}
            yield Tagged(each["ResourceARN"], *_kind_and_name(each["ResourceARN"]), tags)


def _kind_and_name(arn: str) -> tuple[str, str]:
    """Buckets alone have no word for what they are in their ARNs."""
    if (bucket := _BUCKET_ARN.fullmatch(arn)) is not None:
        return "s3:bucket", bucket["name"]
    found = _ARN.fullmatch(arn)
    return (f"{found['service']}:{found['kind']}", found["name"]) if found else ("unknown", arn)
