"""What multi-model-server calls in a worker: `handle(None, context)` to load the model, then `handle(requests,
context)`.

`handle` is a function of the module on purpose. Of a handler *class*, multi-model-server swallows the exception of a
failed load, and then reports a healthy server that answers every request with an error (multi-model-server 1.1.11,
measured).

Not the toolkit's own Transformer, for three reasons measured on sagemaker-inference 1.10.1: it answers a client's
fault with 500 and a traceback in the body, takes `application/json; charset=utf-8` for another type than
`application/json`, and names the requested type in the answer whether or not it gave it. The four functions it would
call are called here the same way.
"""

import sys
import traceback
import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Protocol

import inference
from kennel.serving.engine import Engine
from kennel.serving.reply import Reply, error_reply
from kennel.serving.request import RequestError
from kennel.serving.response import choose_media_type, default_media_type, render_error, render_fault


class Context(Protocol):
    """The part of mms.context.Context that is used."""

    system_properties: Mapping[str, Any]

    def get_all_request_header(self, idx: int) -> Mapping[str, Any]: ...
    def set_response_status(self, code: int, phrase: str, idx: int) -> None: ...
    def set_response_content_type(self, idx: int, value: str) -> None: ...


def handle(data: Sequence[Mapping[str, Any]] | None, context: Context) -> list[bytes] | None:
    """The body for each request of a batch; status and content type go into `context`.

    data: None asks to load the model, and whatever is wrong with it is raised.
    """
    engine = load_once(str(context.system_properties["model_dir"]))
    if data is None:
        return None
    replies = [answer(each.get("body"), context.get_all_request_header(i), engine) for i, each in enumerate(data)]
    for index, reply in enumerate(replies):
        context.set_response_status(reply.status, HTTPStatus(reply.status).phrase, index)
        context.set_response_content_type(index, reply.content_type)
    return [reply.body for reply in replies]


@cache
def load_once(model_dir: str) -> Engine:
    """The engine of this process. Raises ArchiveError, and UserError for a setting that could not be answered with."""
    default_media_type()
    return inference.model_fn(model_dir)


def answer(body: bytes | None, headers: Mapping[str, Any], engine: Engine) -> Reply:
    """The reply to one request; never raises, because a worker must outlive whatever it is sent.

    body: None where multi-model-server took the body apart itself, which it does to forms.
    """
    try:
        accept = _header(headers, "accept")
        media = choose_media_type(accept)  # before the work is done, not after
        request = inference.input_fn(body or b"", _header(headers, "content-type"))
        content, content_type = inference.output_fn(inference.predict_fn(request, engine), media)
        return Reply(200, content, content_type)
    except RequestError as error:
        return render_error(error)
    except MemoryError:
        return error_reply(
            507, "out_of_memory", "Memory does not suffice for this request. Send fewer or smaller images."
        )
    except Exception:
        return _fault()


def _fault() -> Reply:
    fault_id = uuid.uuid4().hex[:12]
    print(f"ERROR {fault_id} {traceback.format_exc()}", file=sys.stderr, flush=True)
    return render_fault(fault_id)


def _header(headers: Mapping[str, Any], name: str) -> str | None:
    """A header in any case of letters. (A part of a form stands among them as a mapping: that is no header.)"""
    for key, value in headers.items():
        if key.lower() == name and isinstance(value, str):
            return value
    return None
