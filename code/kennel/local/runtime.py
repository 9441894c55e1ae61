"""sagemaker-runtime: InvokeEndpoint, passed on to the endpoint's server."""

import http.client
import re
from typing import Final

from werkzeug.wrappers import Request, Response

from kennel.local.endpoints import Endpoints
from kennel.local.faults import ApiError
from kennel.local.json_protocol import error_response, internal_failure
from kennel.local.servers import Server
from kennel.local.settings import ACCOUNT
from kennel.local.validation import Json

INVOCATIONS: Final = re.compile(r"/endpoints/([^/]+)/(invocations|invocations-response-stream|async-invocations)")
# SageMaker's limit on the body of a request and of an answer.
PAYLOAD_BYTES: Final = 6_291_456
# More than this of a refused body is not even read.
_DRAIN_BYTES: Final = 64 * 2**20
_ORIGINAL_MESSAGE: Final = 2048
_VARIANT: Final = "x-Amzn-Invoked-Production-Variant"
_ATTRIBUTES: Final = "X-Amzn-SageMaker-Custom-Attributes"
# Every other header is stripped, as SageMaker does.
_PASSED_ON: Final = (
    "Content-Type",
    "Accept",
    _ATTRIBUTES,
    *(
        f"X-Amzn-SageMaker-{name}"
        for name in (
            "Target-Model",
            "Target-Variant",
            "Target-Container-Hostname",
            "Inference-Id",
            "Enable-Explanations",
            "Inference-Component",
            "Session-Id",
            "Prefix-Aware-Id",
        )
    ),
)


class Runtime:
    """Answers invocations."""

    def __init__(self, endpoints: Endpoints, *, limit_s: float) -> None:
        """limit_s: how long a server may take to answer."""
        self._endpoints = endpoints
        self._limit_s = limit_s

    def answer(self, request: Request) -> Response:
        """The HTTP answer to a path that matches INVOCATIONS, errors included."""
        try:
            return self._invoke(request)
        except ApiError as error:
            return error_response(error)
        except Exception:
            return internal_failure(f"{request.path} in the local SageMaker")

    def _invoke(self, request: Request) -> Response:
        body = _read_body(request)
        match = INVOCATIONS.fullmatch(request.path)
        if request.method != "POST" or match is None or match[2] != "invocations":
            raise ApiError("ValidationError", f"{request.method} {request.path}: only InvokeEndpoint is answered here.")
        name = match[1]
        description = self._describe(name)
        server = self._endpoints.server_of(name)
        if server is None:
            status = description["EndpointStatus"]
            raise ApiError("ValidationError", f"Endpoint {name} of account {ACCOUNT} is {status}, not InService.")
        variant = str(description["ProductionVariants"][0]["VariantName"])
        if (wanted := request.headers.get("X-Amzn-SageMaker-Target-Variant", variant)) != variant:
            raise ApiError("ValidationError", f"Variant {wanted} of endpoint {name} not found. It has: {variant}.")
        return self._pass_on(request, body, server, variant)

    def _describe(self, name: str) -> Json:
        try:
            return self._endpoints.find(name)
        except ApiError as error:
            raise ApiError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.") from error

    def _pass_on(self, request: Request, body: bytes, server: Server, variant: str) -> Response:
        headers = {key: request.headers[key] for key in _PASSED_ON if key in request.headers}
        address = server.address
        if address is None:  # it has just been deleted
            raise _model_error(0, "the server has no address", server)
        connection = http.client.HTTPConnection(address.host, address.port, timeout=self._limit_s)
        try:
            connection.request("POST", "/invocations", body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
        except TimeoutError as error:
            raise _model_error(0, f"no answer within {self._limit_s:g} s", server) from error
        except (OSError, http.client.HTTPException) as error:
            raise _model_error(0, f"the server did not answer ({error!r})", server) from error
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise _model_error(answer.status, content.decode(errors="replace"), server)
        if len(content) > PAYLOAD_BYTES:
            raise _model_error(answer.status, f"the answer has {len(content)} bytes, over {PAYLOAD_BYTES}", server)
        passed_back = {_VARIANT: variant}
        if (attributes := answer.getheader(_ATTRIBUTES)) is not None:
            passed_back[_ATTRIBUTES] = attributes
        response = Response(content, headers=passed_back, content_type=answer.getheader("Content-Type"))
        return response


def _read_body(request: Request) -> bytes:
    """The request's body. Raises ApiError (413) for one over the limit, which is read and thrown away.

    A client that is still sending would see a broken connection in place of the error.
    """
    left, kept = _DRAIN_BYTES, bytearray()
    while left > 0 and (part := request.stream.read(1 << 16)):
        left -= len(part)
        if len(kept) <= PAYLOAD_BYTES:
            kept += part
    if len(kept) > PAYLOAD_BYTES:
        raise ApiError("413", f"HTTP content length exceeded {PAYLOAD_BYTES} bytes.", status=413)
    return bytes(kept)


def _model_error(status: int, message: str, server: Server) -> ApiError:
    side = "client" if 400 <= status < 500 else "server"
    text = f'Received {side} error ({status}) from primary with message "{message}". See {server.place.log} for more.'
    return ApiError(
        "ModelError",
        text,
        status=424,
        fields={"OriginalStatusCode": status, "OriginalMessage": message[:_ORIGINAL_MESSAGE]},
    )
