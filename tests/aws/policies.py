"""Whether a policy of IAM allows an action, for exactly what the files in iam/ use; anything else is an error.

policy = Policy(json.loads(text))
policy.allowing("sagemaker:StopTrainingJob", "arn:aws:sagemaker:...", {"aws:ResourceTag/kennel:created-by": "kennel"})
"""

import fnmatch
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A value, several of them (any fits), or none known.
Context = Mapping[str, str | Sequence[str] | None]
_STATEMENT = {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}
_OPERATORS = ("StringEquals", "StringLike", "ArnLike", "Null")
# Keys of requests that this evaluator is given; of another one it would not know the value.
KEYS = (
    "aws:RequestTag/kennel:created-by",
    "aws:ResourceTag/kennel:created-by",
    "aws:SourceAccount",
    "aws:SourceArn",
    "application-autoscaling:scalable-dimension",
    "application-autoscaling:service-namespace",
    "cloudwatch:namespace",
    "iam:AWSServiceName",
    "iam:PassedToService",
    "s3:prefix",
    "sagemaker:TaggingAction",
)


@dataclass(frozen=True)
class Statement:
    """One `Allow`."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]]

    def fits(self, action: str, resource: str, context: Context) -> bool:
        """Whether it allows this."""
        return (
            any(_like(each.lower(), action.lower()) for each in self.actions)
            and any(_like(each, resource) for each in self.resources)
            and all(
                _holds(operator, values, context.get(key))
                for operator, keys in self.conditions.items()
                for key, values in keys.items()
            )
        )


class Policy:
    """A policy document. Raises ValueError for what this evaluator does not know."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        if document.get("Version") != "2012-10-17" or set(document) - {"Version", "Statement"}:
            raise ValueError(f"A policy has Version 2012-10-17 and Statement, not {sorted(document)}")
        self.statements = tuple(_read(each) for each in document["Statement"])

    def allowing(self, action: str, resource: str, context: Context) -> Statement | None:
        """The first statement that allows it."""
        return next((each for each in self.statements if each.fits(action, resource, context)), None)


def _read(statement: Mapping[str, Any]) -> Statement:
    unknown = set(statement) - _STATEMENT
    if unknown or statement["Effect"] != "Allow":
        raise ValueError(f"{statement.get('Sid')}: this evaluator knows nothing of {unknown or statement['Effect']}")
    conditions = {
        operator: {key: _texts(values) for key, values in keys.items()}
        for operator, keys in statement.get("Condition", {}).items()
    }
    for operator, keys in conditions.items():
        if operator not in _OPERATORS or set(keys) - set(KEYS):
            raise ValueError(f"{statement.get('Sid')}: this evaluator knows nothing of {operator} of {sorted(keys)}")
    return Statement(
        statement.get("Sid", ""), _texts(statement["Action"]), _texts(statement.get("Resource", "*")), conditions
    )


def _texts(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _holds(operator: str, wanted: Sequence[str], given: str | Sequence[str] | None) -> bool:
    if operator == "Null":
        return wanted == (str(given is None).lower(),)
    values = () if given is None else _texts(given)
    if operator == "StringEquals":
        return any(value in wanted for value in values)
    return any(_like(pattern, value) for pattern in wanted for value in values)


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))


def _like(pattern: str, text: str) -> bool:
    return _pattern(pattern).match(text) is not None
