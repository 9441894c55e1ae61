"""Who asks: a role, as in a notebook on SageMaker. STS and IAM are moto's, in this process.

`sagemaker.get_execution_role()`, with which most notebooks begin, asks STS who it is, and IAM for that role's path.
Roles that a script makes are there as well, with AWS's managed policies to attach; nothing is ever refused for want of
a permission.
"""

import io
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

from kennel.local.restoring import MotoApp
from kennel.local.settings import ACCESS_KEY, ACCOUNT, REGION

ROLE: Final = "kennel-local"
_TRUST: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


class Identity:
    """Both services, as WSGI apps."""

    def __init__(self) -> None:
        self._sts, self._iam = MotoApp("sts"), MotoApp("iam")
        self._is_known = False
        self._lock = threading.Lock()

    def sts(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        """Answers for STS."""
        self._make_known()
        return self._sts(environ, start_response)

    def iam(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        """Answers for IAM."""
        self._make_known()
        body = Request(environ).get_data()
        asked = parse_qs(body.decode(errors="replace"))
        if asked.get("Action") == ["SimulatePrincipalPolicy"]:  # which moto does not know, and SDK v3 begins with
            return _simulated(asked)(environ, start_response)
        environ["wsgi.input"] = io.BytesIO(body)
        return self._iam(environ, start_response)

    def _make_known(self) -> None:
        """Once: the role, assumed by the key that the service's variables give."""
        with self._lock:
            if self._is_known:
                return
            self._sts.load()
            import_module("moto.core.config").default_user_config["iam"]["load_aws_managed_policies"] = True
            iam = import_module("moto.iam.models").iam_backends[ACCOUNT]["aws"]
            iam.reset()  # moto's S3 may have made it, without those policies
            role = iam.create_role(
                role_name=ROLE,
                assume_role_policy_document=json.dumps(_TRUST),
                path="/",
                permissions_boundary=None,
                description="Whoever uses the local SageMaker",
                tags=[],
                max_session_duration="3600",
            )
            assumed = (
                import_module("moto.sts.models")
                .sts_backends[ACCOUNT]["aws"]
                .assume_role(
                    region_name=REGION,
                    role_session_name=ROLE,
                    role_arn=role.arn,
                    policy="",
                    duration=3600,
                    external_id="",
                )
            )
            assumed.access_key_id = ACCESS_KEY
            self._is_known = True


def _simulated(asked: Mapping[str, Sequence[str]]) -> Response:
    """Every action is allowed on every resource."""
    actions = [values[0] for key, values in asked.items() if re.fullmatch(r"ActionNames\.member\.\d+", key)]
    results = "".join(
        f"<member><EvalActionName>{escape(action)}</EvalActionName><EvalDecision>allowed</EvalDecision>"
        "<EvalResourceName>*</EvalResourceName><MatchedStatements/><MissingContextValues/></member>"
        for action in actions
    )
    body = (
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        f"<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>"
        "</SimulatePrincipalPolicyResult><ResponseMetadata><RequestId>local</RequestId></ResponseMetadata>"
        "</SimulatePrincipalPolicyResponse>"
    )
    return Response(body, content_type="text/xml")
