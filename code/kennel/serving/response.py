"""From predictions to the bytes of an answer, in the media type the client accepts.

    application/json (default)   {"predictions": [{"label", "probability", "abstain", "top_k"}, ...], "model": {...}}
    application/jsonlines        one prediction a line, without "model" (application/x-ndjson is the same)
    text/csv                     a first line `label,probability`, then one line an image: its best class

Everything is UTF-8. An error is {"error": {"code", "message"}} whatever the client accepts, so that it can always be
read. Exercise it: pytest tests/unit/serving/test_response.py
"""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sagemaker_inference import content_types, parameters

from kennel.errors import UserError
from kennel.serving.engine import Answer, Prediction
from kennel.serving.reply import Reply, error_reply, json_reply
from kennel.serving.request import RequestError, media_type

JSON_LINES: Final = "application/jsonlines"
NDJSON: Final = "application/x-ndjson"
# In the order of preference where a client accepts several alike.
ACCEPTED: Final = (content_types.JSON, JSON_LINES, NDJSON, content_types.CSV)


def default_media_type(environ: Mapping[str, str] = os.environ) -> str:
    """What a client without an Accept header gets. Raises UserError where that could not be given."""
    name = parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV
    kind = media_type(environ.get(name)) or content_types.JSON
    if kind not in ACCEPTED:
        raise UserError(f"{name} is {environ[name]!r}. Expected one of {', '.join(ACCEPTED)}.")
    return kind


def choose_media_type(accept: str | None) -> str:
    """Which of ACCEPTED an Accept header asks for: the highest q, then the first named; for */* the default.

    Raises RequestError (406) when it asks for none of them.
    """
    candidates = (default_media_type(), *ACCEPTED)
    ranges = [_media_range(part) for part in (accept or "").split(",") if part.strip()] or [("*/*", 1.0)]
    refused = {kind for kind, quality in ranges if quality <= 0}
    for kind, quality in sorted(ranges, key=lambda each: -each[1]):
        for candidate in candidates:
            if quality > 0 and candidate not in refused and _matches(kind, candidate):
                return candidate
    raise RequestError(
        f"Accept {accept!a:.100} names nothing that can be given. Ask for {', '.join(ACCEPTED)}.",
        status=406,
        code="not_acceptable",
    )


def render(answer: Answer, media: str) -> Reply:
    """The answer in one of ACCEPTED."""
    if media == content_types.CSV:
        return Reply(200, _csv(answer.predictions), f"{media}; charset=utf-8")
    if media in (JSON_LINES, NDJSON):
        lines = (json.dumps(_prediction(each), ensure_ascii=False) for each in answer.predictions)
        return Reply(200, "".join(f"{line}\n" for line in lines).encode(), media)
    content = {"predictions": [_prediction(each) for each in answer.predictions], "model": dict(answer.model)}
    return json_reply(content)


def render_error(error: RequestError) -> Reply:
    """A client's fault, without a traceback."""
    where = {} if error.index is None else {"index": error.index}
    return error_reply(error.status, error.code, str(error), **where)


def render_fault(fault_id: str) -> Reply:
    """Our own fault: the client gets the id under which the log has the traceback, and no more."""
    message = f"The server failed on this request. Its log has the reason under the id {fault_id}."
    return error_reply(500, "internal_error", message, id=fault_id)


def _media_range(part: str) -> tuple[str, float]:
    """`text/csv;q=0.5` as ("text/csv", 0.5). A q that is no number counts as 1, as if it were not there."""
    quality = 1.0
    for parameter in part.split(";")[1:]:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 1.0
    return media_type(part), quality


def _matches(wanted: str, candidate: str) -> bool:
    return wanted in ("*/*", "*", candidate, f"{candidate.partition('/')[0]}/*")


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return asdict(prediction)


def _csv(predictions: Sequence[Prediction]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("label", "probability"))
    writer.writerows((each.label, each.probability) for each in predictions)
    return text.getvalue().encode()
