"""A request's answer by somebody's script: what the toolkit makes of it, but for faults.

    the script raised                                    500, with an id under which the log has the traceback
    sagemaker_inference's UnsupportedFormatError         415 from input_fn and transform_fn, 406 from output_fn
    its BaseInferenceToolkitError, or a subclass         the status and the message it carries
    what stands in for a function refused the request    the 4xx it says

A script may set another status, and headers, by its context. Exercise it:
pytest tests/unit/serving/test_script_answer.py
"""

import json
import os
import sys
import traceback
import uuid
from collections.abc import Mapping
from typing import Any, Final

from mms.context import Context
from sagemaker_inference import content_types, parameters
from sagemaker_inference.errors import BaseInferenceToolkitError, UnsupportedFormatError

from kennel.serving.reply import Reply, error_reply, json_reply
from kennel.serving.request import RequestError, header_of, media_type
from kennel.serving.script import RaisedError, Script, remedy, summary

# What the server sends itself when nobody else asks (kennel.serving.vitals): no business of a script's. SageMaker
# passes no such header on.
CANARY: Final = "x-kennel-canary"


def answer_script(script: Script, body: bytes | bytearray, headers: Mapping[str, Any], *, context: Context) -> Reply:
    """The reply to one request. Raises RequestError, MemoryError, and what is wrong with what a script gave back."""
    if header_of(headers, CANARY):
        return json_reply({"status": "alive"})
    content_type, accept = header_of(headers, "content-type"), _accept(headers)
    try:
        given = script.transform(context, _as_sent(body, content_type), content_type=content_type, accept=accept)
        return _reply(given, accept, status=context.get_response_status(0)[0])
    except RaisedError as raised:
        return _refusal(raised)


def _as_sent(body: bytes | bytearray, content_type: str | None) -> str | bytearray:
    """The body as the toolkit gives it to a script. Raises RequestError for text that is none."""
    if media_type(content_type) not in content_types.UTF8_TYPES:
        return bytearray(body)
    try:
        return bytes(body).decode()
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8 (byte {error.start} cannot be read)."
        raise RequestError(message, code="invalid_utf8") from None


def _accept(headers: Mapping[str, Any]) -> str:
    asked = (header_of(headers, "accept") or "").strip()
    if asked and asked != content_types.ANY:
        return asked
    return os.environ.get(parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV, "").strip() or content_types.JSON


def _reply(given: Any, accept: str, *, status: int) -> Reply:  # noqa: ANN401  what a script gave back
    """A pair is a body with its content type; else it is taken for what was asked for, as the toolkit does."""
    content_type = accept.partition(",")[0].strip()
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], str):
        given, content_type = given
    return Reply(status or 200, _bytes(given), content_type)


def _bytes(given: Any) -> bytes:  # noqa: ANN401
    if isinstance(given, bytes | bytearray):
        return bytes(given)
    return given.encode() if isinstance(given, str) else json.dumps(given, default=_listed).encode()


def _listed(value: Any) -> Any:  # noqa: ANN401
    """Arrays and tensors as lists. Raises TypeError for what is neither."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"The script gave back a {type(value).__name__}. Expected text, bytes, or what JSON can hold.")


def _refusal(raised: RaisedError) -> Reply:
    error = raised.__cause__
    if isinstance(error, UnsupportedFormatError):
        status, code = (406, "not_acceptable") if raised.name == "output_fn" else (415, "unsupported_media_type")
        return error_reply(status, code, f"{raised.name}: {str(error).strip().splitlines()[0]}")
    fault_id = uuid.uuid4().hex[:12]
    trace = "".join(traceback.format_exception(error))
    print(f"ERROR {fault_id} {raised.name} raised: {trace}", file=sys.stderr, flush=True)
    if isinstance(error, BaseInferenceToolkitError) and 400 <= int(error.status_code) <= 599:
        return error_reply(int(error.status_code), "script_refused", str(error.message), id=fault_id)
    what = f"{summary(error)}.{remedy(error)}" if error else ""
    message = f"{raised.name} of the script raised {what} The server's log has the traceback under the id {fault_id}."
    return error_reply(500, "script_failed", message, id=fault_id)
