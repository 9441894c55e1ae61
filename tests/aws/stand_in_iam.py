"""A stand-in for IAM's simulation of policies, which the local SageMaker always answers with `allowed`."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

import requests
from account import Account
from werkzeug.wrappers import Request, Response


class DenyingIam:
    """IAM whose simulation says that a role may not do these; all else is the account's."""

    def __init__(self, account: Account, actions: set[str]) -> None:
        self._url, self._actions = account.local_url, actions

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        request = Request(environ)
        body = request.get_data()
        asked = parse_qs(body.decode())
        if asked["Action"] != ["SimulatePrincipalPolicy"]:
            headers = {
                key: value for key, value in request.headers.items() if key.lower() not in ("host", "connection")
            }
            answer = requests.post(self._url, headers=headers, data=body, timeout=60)
            return Response(answer.content, status=answer.status_code, content_type="text/xml")(environ, start_response)
        named = [values[0] for key, values in asked.items() if key.startswith("ActionNames.")]
        results = "".join(
            f"<member><EvalActionName>{each}</EvalActionName><EvalDecision>"
            f"{'implicitDeny' if each in self._actions else 'allowed'}</EvalDecision></member>"
            for each in named
        )
        text = (
            '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
            "<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated>"
            f"<EvaluationResults>{results}</EvaluationResults></SimulatePrincipalPolicyResult>"
            "</SimulatePrincipalPolicyResponse>"
        )
        return Response(text, content_type="text/xml")(environ, start_response)
