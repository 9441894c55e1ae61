"""What a role may do, by IAM's own simulation of its policies: nothing is done, and nothing has to be tried.

    denied(boto3.client("iam"), role, {"s3:PutObject": "arn:aws:s3:::my-bucket/a.out"})     # what of it it may not

Exercise it: pytest tests/aws/test_setup.py tests/aws/test_transform_on_aws.py
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def denied(client: Any, role: str, wanted: Mapping[str, str]) -> list[str]:  # noqa: ANN401  boto3's `iam`
    """Of actions with a resource each, those that it may not do. Raises ClientError, also where nobody may ask."""
    return [
        each
        for action, resource in wanted.items()
        for each in denied_of(client, role, [action], [resource], context=())
    ]


def denied_of(
    client: Any,  # noqa: ANN401
    role: str,
    actions: Sequence[str],
    resources: Sequence[str],
    *,
    context: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """Of several actions on each of several resources. context: what the request would say, as ContextEntries."""
    pages = client.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=role, ActionNames=list(actions), ResourceArns=list(resources), ContextEntries=list(context)
    )
    for page in pages:
        for each in page["EvaluationResults"]:
            if each["EvalDecision"] != "allowed":
                yield str(each["EvalActionName"])
