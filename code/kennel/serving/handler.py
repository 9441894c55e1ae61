"""What multi-model-server calls in a worker: `handle(None, context)` to load the model, then `handle(requests,
context)`.

`handle` is a function of the module on purpose. Of a handler *class*, multi-model-server swallows the exception of a
failed load, and then reports a healthy server that answers every request with an error (multi-model-server 1.1.11,
measured).

Not the toolkit's own Transformer, for three reasons measured on sagemaker-inference 1.10.1: it answers a client's
fault with 500 and a traceback in the body, takes `application/json; charset=utf-8` for another type than
`application/json`, and names the requested type in the answer whether or not it gave it. The functions it would call,
Kennel's own or those of a script in the archive, are called here the same way.
"""

import os
import sys
import traceback
import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import mms
from mms.context import Context, RequestProcessor

from kennel.serving import functions
from kennel.serving.engine import Engine
from kennel.serving.reply import Reply, error_reply
from kennel.serving.request import RequestError, header_of
from kennel.serving.response import choose_media_type, default_media_type, render_error, render_fault
from kennel.serving.script import Script, load_script
from kennel.serving.script_answer import answer_script
from kennel.serving.script_process import become_a_scripts, warn_of_threads
from kennel.serving.settings import payload_bytes
from kennel.serving.source_dir import find_script

Model = Engine | Script


def handle(data: Sequence[Mapping[str, Any]] | None, context: Context) -> list[bytes] | None:
    """The body for each request of a batch; status and content type go into `context`.

    data: None asks to load the model, and whatever is wrong with it is raised.
    """
    model = load_once(str(context.system_properties["model_dir"]))
    if data is None:
        return None
    replies = [
        _within_limit(answer(each.get("body"), context.get_all_request_header(i), model, context=context))
        for i, each in enumerate(data)
    ]
    for index, reply in enumerate(replies):
        context.set_response_status(reply.status, _phrase(reply.status), index)
        context.set_response_content_type(index, reply.content_type)
    return [reply.body for reply in replies]


@cache
def load_once(model_dir: str) -> Model:
    """What answers in this process: Kennel's engine, or somebody's script (kennel.serving.script), with its model.

    Raises KennelError for a model that cannot be served, and UserError for a setting that could not be answered with.
    """
    source = find_script(Path(model_dir), os.environ)
    if source is None:
        default_media_type()
        return functions.model_fn(model_dir)
    become_a_scripts()
    script = load_script(source, Path(model_dir), context=make_context(model_dir))
    warn_of_threads()
    return script


def make_context(model_dir: str, *headers: Mapping[str, Any]) -> Context:
    """What multi-model-server gives a handler, where there is none: of a load, or of requests with these headers."""
    context = Context("model", model_dir, None, 1, None, mms.__version__)
    context.request_processor = [RequestProcessor(each) for each in headers]
    return context


def answer(body: bytes | bytearray | None, headers: Mapping[str, Any], model: Model, *, context: Context) -> Reply:
    """The reply to one request; never raises, because a worker must outlive whatever it is sent.

    body: None where multi-model-server took the body apart itself, which it does to forms.
    """
    try:
        if isinstance(model, Script):
            return answer_script(model, body or b"", headers, context=context)
        accept = header_of(headers, "accept")
        media = choose_media_type(accept)  # before the work is done, not after
        request = functions.input_fn(bytes(body or b""), header_of(headers, "content-type"))
        content, content_type = functions.output_fn(functions.predict_fn(request, model), media)
        return Reply(200, content, content_type)
    except RequestError as error:
        return render_error(error)
    except MemoryError:
        return error_reply(
            507, "out_of_memory", "Memory does not suffice for this request. Send fewer or smaller images."
        )
    except Exception:
        return _fault()


def _within_limit(reply: Reply) -> Reply:
    """multi-model-server takes a worker with a longer answer for dead (1.1.11, measured)."""
    limit = payload_bytes()
    if len(reply.body) <= limit:
        return reply
    return error_reply(
        500,
        "answer_too_large",
        f"The answer has {len(reply.body)} bytes, over the limit of {limit} (SAGEMAKER_MAX_PAYLOAD_IN_MB).",
    )


def _fault() -> Reply:
    fault_id = uuid.uuid4().hex[:12]
    print(f"ERROR {fault_id} {traceback.format_exc()}", file=sys.stderr, flush=True)
    return render_fault(fault_id)


def _phrase(status: int) -> str:
    """Empty for a status of a script's own."""
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
