"""An AWS account for tests: one loopback address that answers every service, and what it cannot show.

    with open_account(runs) as account:
        os.environ.update(account.environ)          # boto3, the SDK and the CLI are there
        account.faults["CreateTrainingJob"] = [THROTTLED, THROTTLED]
        account.calls                               # every request: service, operation, parameters
        with account.expects_invalid(): ...         # what AWS would refuse is meant here; else it fails at the end
        with account.expects_denied(): ...          # likewise what iam/person.json does not allow

Who answers what, and what that does not show:
- sagemaker, its runtime, logs, metrics, s3, sts, iam: the local SageMaker. Jobs and endpoints really run; there are no
  instance types, capacity, quotas and bills.
- all others: moto. Nothing scales, fires or is evaluated.
- what `others` names: stand-ins of the tests, with the documented shapes and made-up figures.
Before all stands the gatekeeper: permissions of a policy in iam/, and botocore's model of each request.
"""

import io
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import requests
from asked import Asked, UnknownRequest, read_request
from botocore.exceptions import BotoCoreError, ClientError
from gatekeeper import Gatekeeper
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from kennel.aws.profile import Profile
from kennel.local import daemon
from kennel.local.settings import ACCESS_KEY

REGION = "us-east-1"
NUMBER = "123456789012"
# Whose requests are neither faulted nor counted.
ADMIN_KEY = "KENNELADMINISTRATOR1"
# Signing names of what the local SageMaker answers.
LOCAL = ("sagemaker", "logs", "monitoring", "s3", "sts", "iam")
_SIGNED_FOR = re.compile(r"Credential=([^/]+)/[^/]+/([^/]+)/([^/]+)/aws4_request")
_HOP_BY_HOP = ("connection", "content-length", "transfer-encoding", "server", "date")

Answer = tuple[int, Mapping[str, str], str]
App = Callable[[dict[str, Any], Any], Iterable[bytes]]
JSON = {"Content-Type": "application/x-amz-json-1.1"}


def fault(code: str, message: str, status: int = 400) -> Answer:
    """An error as AWS's JSON services carry it."""
    return status, JSON, json.dumps({"__type": code, "message": message, "Message": message})


THROTTLED = fault("ThrottlingException", "Rate exceeded")
UNAVAILABLE: Answer = (503, {}, "")
EXPIRED = fault("ExpiredTokenException", "The security token included in the request is expired", 403)


@dataclass(frozen=True)
class Call:
    """A request as it came. target: the operation, or the method and path of services without operations.

    asked: as botocore's model has it, whatever the protocol; None for what no model describes.
    """

    service: str
    target: str
    parameters: Any
    asked: Asked | None = None


@dataclass
class Account:
    """One account.

    others: WSGI apps by signing name, in place of moto. faults: by operation ("*": any), what the next calls get; None
    passes one on. gatekeeper: what is refused, and what was found.
    """

    local_url: str
    gatekeeper: Gatekeeper
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    faults: dict[str, list[Answer | None]] = field(default_factory=dict)
    others: dict[str, App] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """What points boto3 and the SDK here; nothing of the local service's own variables."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_STS": self.url,
            "BOTOCORE_EXPERIMENTAL__PLUGINS": "kennel=kennel.local.boto_plugin",
        }

    def admin(self, service: str) -> Any:  # noqa: ANN401  boto3's
        """A client of whoever administers the account: for what a test prepares, and looks at afterwards."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=ADMIN_KEY,
            aws_secret_access_key=ADMIN_KEY,
        )

    def asked(self, operation: str) -> list[Any]:
        """The parameters of each call of an operation, of REST's services as well."""
        return [
            call.asked.parameters if call.asked and call.target != operation else call.parameters
            for call in self.calls
            if operation in (call.target, call.asked.operation if call.asked else None)
        ]

    @contextmanager
    def expects_invalid(self) -> Iterator[list[str]]:
        """At least one request meanwhile is one that AWS would refuse for its parameters; they are in the list."""
        with _expected(self.gatekeeper.bad, "no request had bad parameters") as found:
            yield found

    @contextmanager
    def expects_denied(self) -> Iterator[list[str]]:
        """At least one request meanwhile is not allowed by the policy; they are in the list."""
        self.gatekeeper.is_denial_expected = True
        try:
            with _expected(self.gatekeeper.denied, "no request was denied") as found:
                yield found
        finally:
            self.gatekeeper.is_denial_expected = False

    def tag_of(self, arn: str) -> str | None:
        """The value of Kennel's tag on a resource of SageMaker or on an alarm."""
        try:
            if ":sagemaker:" in arn:
                tags = self.admin("sagemaker").list_tags(ResourceArn=arn)["Tags"]
            elif ":cloudwatch:" in arn:
                tags = self.admin("cloudwatch").list_tags_for_resource(ResourceARN=arn)["Tags"]
            else:
                return None
        except (BotoCoreError, ClientError):  # there is no such resource
            return None
        return next((each["Value"] for each in tags if each["Key"] == "kennel:created-by"), None)


class _Gateway:
    """Routes a request to who answers for its service, after what was planned for it."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lock = threading.Lock()
        self._moto: App | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        request = Request(environ)
        body = request.get_data()  # or a kept-alive connection breaks where nobody reads it
        environ["wsgi.input"] = io.BytesIO(body)  # for those who come after
        found = _SIGNED_FOR.search(request.headers.get("Authorization", "") or environ.get("QUERY_STRING", ""))
        key, region, service = (found[1], found[2], found[3]) if found else ("", REGION, "s3")
        target = request.headers.get("X-Amz-Target", "").rpartition(".")[2] or f"{request.method} {request.path}"
        answer = None
        if key != ADMIN_KEY:
            asked = self._read(request, body, service)
            with self._lock:
                self._account.calls.append(Call(service, target, _parameters(request, body), asked))
            refusal = self._account.gatekeeper.refusal(asked, region) if asked else None
            if refusal is not None:
                return refusal(environ, start_response)
            with self._lock:
                names = (target, asked.operation if asked else "", "*")
                planned = next((found for name in names if (found := self._account.faults.get(name))), [])
                answer = planned.pop(0) if planned else None
        if answer is not None:
            status, headers, text = answer
            return Response(text, status=status, headers=dict(headers))(environ, start_response)
        other = self._account.others.get(service)
        if other is None and service in LOCAL:
            return self._forward(request, body)(environ, start_response)
        return (other or self._moto_app())(environ, start_response)

    def _read(self, request: Request, body: bytes, service: str) -> Asked | None:
        try:
            return read_request(request, body, service)
        except UnknownRequest as error:
            self._account.gatekeeper.unknown(error)
            return None

    def _forward(self, request: Request, body: bytes) -> Response:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in ("host", "connection")}
        path = request.environ.get("RAW_URI") or request.full_path.removesuffix("?")
        answer = requests.request(
            request.method, self._account.local_url + path, headers=headers, data=body, timeout=300, stream=True
        )
        with answer:
            content = answer.raw.read(decode_content=False)
        kept = [(key, value) for key, value in answer.headers.items() if key.lower() not in _HOP_BY_HOP]
        response = Response(content, status=answer.status_code, headers=kept)
        if request.method == "HEAD":  # the size of what is not sent
            response.headers["Content-Length"] = answer.headers.get("Content-Length", "0")
        return response

    def _moto_app(self) -> App:
        with self._lock:
            if self._moto is None:
                from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

                self._moto = DomainDispatcherApplication(create_backend_app)
            return self._moto


def _parameters(request: Request, body: bytes) -> Any:  # noqa: ANN401  any JSON value, or None
    """What is asked, where the protocol has it in the body as JSON or as a form."""
    kind = request.headers.get("Content-Type", "")
    if "json" in kind and body:
        return json.loads(body)
    return dict(request.form) if "urlencoded" in kind else None


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Writes no line for each request."""


@contextmanager
def _expected(found: list[str], otherwise: str) -> Iterator[list[str]]:
    """What is added to `found` meanwhile is moved to the list."""
    before, moved = len(found), list[str]()
    yield moved
    moved.extend(found[before:])
    del found[before:]
    assert moved, otherwise


@contextmanager
def open_account(runs: Path, *, policy: str | None = "person", profile: Profile | None = None) -> Iterator[Account]:
    """An account whose jobs run below `runs`; everything of it has ended afterwards.

    policy: of iam/, what the person may do; None: everything. profile: whose names fill it in; None: those of this
    process's variables. AssertionError at the end if AWS would have refused a request, and nobody expected it.
    """
    gatekeeper = Gatekeeper(NUMBER, policy, tag_of=lambda arn: account.tag_of(arn), profile=profile)
    account = Account(daemon.start(runs).url, gatekeeper)
    server = make_server("127.0.0.1", 0, _Gateway(account), threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    account.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield account
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        daemon.stop(runs)
    assert not gatekeeper.bad, f"AWS would have refused: {gatekeeper.bad}"
    assert not gatekeeper.denied, f"iam/{policy}.json does not allow: {gatekeeper.denied}"
