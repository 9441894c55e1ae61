"""What AWS would refuse of a person's requests, at the account of the tests: bad parameters, and want of permission.

Each request is checked against botocore's model of its operation (patterns, lengths, enums, ranges; boto3 checks types
and least values only) and against a policy of iam/. A bad parameter is only written down, because whoever answers may
refuse it as well; a want of permission is answered as AWS answers. All that was asked is written to the file that
KENNEL_TESTS_RECORD names, a line of JSON each (test_policies reads it).
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asked import Asked, UnknownRequest
from permissions import Need, UnknownNeed, needs_of
from policies import Policy, Statement
from werkzeug.wrappers import Response

from kennel.aws.policies import filled
from kennel.aws.profile import Profile
from kennel.aws.request_checks import check_request
from kennel.local.faults import ApiError
from kennel.local.validation import validate

RECORD = "KENNEL_TESTS_RECORD"
WHO = "arn:aws:sts::{account}:assumed-role/kennel-local/kennel-local"
_TAG_KEY = "aws:ResourceTag/kennel:created-by"
# Longer texts are pictures and pages of results; what they are is of no interest to who reads the record.
_LONGEST = 4000


@dataclass
class Gatekeeper:
    """Of one account. policy: a file in iam/, or None: everything is allowed.

    profile: whose names fill in the policy; None: the variables of this process, any role and any bucket. tag_of: the
    value of Kennel's tag on a resource, None if it has none. bad, denied: what was found.
    """

    account: str
    policy: str | None
    tag_of: Callable[[str], str | None]
    profile: Profile | None = None
    bad: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    is_denial_expected: bool = False

    def refusal(self, asked: Asked, region: str) -> Response | None:
        """What AWS answers where it refuses for want of permission."""
        self.bad.extend(violations(asked))
        try:
            needs = needs_of(asked, region=region, account=self.account)
        except UnknownNeed as error:
            self.denied.append(str(error))
            return self._answer(asked, str(error))
        document, profile = self._document(region)
        found = [self._allowing(document, each) for each in needs]
        missing = [need for need, statement in zip(needs, found, strict=True) if statement is None]
        self._record(asked, needs, found, profile)
        if document is None or not missing:
            return None
        who, first = WHO.format(account=self.account), missing[0]
        said = f"User: {who} is not authorized to perform: {first.action} on resource: {first.resource}"
        self.denied.append(said)
        return self._answer(asked, f"{said} because no identity-based policy allows the {first.action} action")

    def unknown(self, error: UnknownRequest) -> None:
        """Writes down a request that no model describes."""
        self.bad.append(str(error))

    def _document(self, region: str) -> tuple[Policy | None, Profile]:
        profile = self.profile or Profile(
            role=os.environ.get("KENNEL_ROLE") or f"arn:aws:iam::{self.account}:role/*",
            scheduler_role=os.environ.get("KENNEL_SCHEDULER_ROLE") or f"arn:aws:iam::{self.account}:role/*",
            region=region,
            bucket=os.environ.get("KENNEL_BUCKET") or "*",
            prefix=os.environ.get("KENNEL_PREFIX") or "kennel",
        )
        if self.policy is None:
            return None, profile
        return Policy(filled(self.policy, profile, self.account, region=region)), profile

    def _allowing(self, policy: Policy | None, need: Need) -> Statement | None:
        if policy is None:
            return None
        found = policy.allowing(need.action, need.resource, need.context)
        if found is not None:
            return found
        tag = self.tag_of(need.resource)
        return policy.allowing(need.action, need.resource, {**need.context, _TAG_KEY: tag}) if tag else None

    def _record(self, asked: Asked, needs: Sequence[Need], found: Sequence[Statement | None], profile: Profile) -> None:
        path = os.environ.get(RECORD)
        if not path:
            return
        line = {
            "service": asked.service,
            "operation": asked.operation,
            "parameters": _short(asked.parameters),
            "needs": [[each.action, each.resource] for each in needs],
            "statements": [each.sid if each else None for each in found],
            "policy": self.policy,
            "is_denial_expected": self.is_denial_expected,
            "bucket": profile.bucket,
            "prefix": profile.prefix,
        }
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{json.dumps(line)}\n".encode())  # at once: lines of several processes do not mix
        finally:
            os.close(descriptor)

    @staticmethod
    def _answer(asked: Asked, message: str) -> Response:
        if asked.protocol == "json":
            text = json.dumps({"__type": "AccessDeniedException", "Message": message})
            return Response(text, 400, content_type="application/x-amz-json-1.1")
        if asked.protocol == "rest-json":
            headers = {"x-amzn-ErrorType": "AccessDeniedException"}
            return Response(json.dumps({"Message": message}), 403, headers, content_type="application/json")
        error = f"<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error>"
        text = error if asked.protocol == "rest-xml" else f"<ErrorResponse>{error}</ErrorResponse>"
        return Response(text, 403, content_type="text/xml")


def violations(asked: Asked) -> list[str]:
    """What is wrong with the parameters, each with its operation."""
    name = f"{asked.service} {asked.operation}"
    try:
        validate(asked.model.input_shape, asked.parameters) if asked.model.input_shape else None
    except ApiError as error:
        return [f"{name}: {error.message}"]
    # Between members: in what is made or changed only.
    is_checked = asked.service == "sagemaker" and asked.operation.startswith(("Create", "Update"))
    return [f"{name}: {each}" for each in check_request(asked.operation, asked.parameters)] if is_checked else []


def _short(value: Any) -> Any:  # noqa: ANN401  JSON in, JSON out
    if isinstance(value, Mapping):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return f"{value[:40]}... ({len(value)})" if isinstance(value, str) and len(value) > _LONGEST else value
