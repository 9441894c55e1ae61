"""AWS's JSON 1.1 protocol: POST with `X-Amz-Target: <prefix>.<Operation>`, JSON in and out."""

import json
import sys
import traceback
import uuid
from collections.abc import Mapping
from typing import Final

from werkzeug.wrappers import Request, Response

from kennel.local.faults import ApiError
from kennel.local.validation import Json, Operation, service_model, validate

CONTENT_TYPE: Final = "application/x-amz-json-1.1"


class JsonService:
    """One AWS service of this protocol: validates by botocore's description, calls the operation, answers."""

    def __init__(self, service: str, operations: Mapping[str, Operation]) -> None:
        """service: botocore's name for it. operations: those that are answered, by their names."""
        self._service = service
        self._operations = operations

    def answer(self, request: Request) -> Response:
        """The HTTP answer, errors included."""
        body = request.get_data()
        target = request.headers.get("X-Amz-Target", "")
        try:
            return json_response(self._call(target.rpartition(".")[2], body))
        except ApiError as error:
            return error_response(error)
        except Exception:
            return internal_failure(f"{target} in the local SageMaker")

    def _call(self, name: str, body: bytes) -> Json:
        operation = self._operations.get(name)
        if operation is None:
            known = ", ".join(sorted(self._operations))
            raise ApiError(
                "UnknownOperationException",
                f"The local SageMaker does not answer {name or 'a request without an operation'}. It answers: {known}. "
                f"For more use --on aws.",
            )
        try:
            request = json.loads(body or b"{}")
        except ValueError as error:
            raise ApiError("SerializationException", f"The request is not JSON: {error}") from error
        shape = service_model(self._service).operation_model(name).input_shape
        return operation(validate(shape, request))


def json_response(content: Json, *, status: int = 200) -> Response:
    """An answer with AWS's request id."""
    headers = {"x-amzn-RequestId": str(uuid.uuid4())}
    return Response(json.dumps(content), status=status, content_type=CONTENT_TYPE, headers=headers)


def error_response(error: ApiError) -> Response:
    """An error as AWS's JSON protocols carry it."""
    response = json_response(
        {"__type": error.code, "message": error.message, "Message": error.message, **error.fields}, status=error.status
    )
    response.headers["x-amzn-ErrorType"] = error.code
    return response


def internal_failure(where: str) -> Response:
    """A fault of ours: the id in the answer is beside the traceback in the service's log."""
    fault_id = uuid.uuid4().hex[:8]
    print(f"fault {fault_id}: {where}", file=sys.stderr)
    traceback.print_exc()
    sys.stderr.flush()
    message = f"Fault {fault_id}: {where} failed. The service's log (runs/.local/service.log) says why."
    return error_response(ApiError("InternalFailure", message, status=500))
