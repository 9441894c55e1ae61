"""One HTTP answer, and the JSON of every error: {"error": {"code", "message"}}, whatever the client accepts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

JSON: Final = "application/json"


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: str


def json_reply(content: Mapping[str, Any], status: int = 200) -> Reply:
    """`content` as JSON, UTF-8."""
    return Reply(status, json.dumps(content, ensure_ascii=False).encode(), JSON)


def error_reply(status: int, code: str, message: str, **more: Any) -> Reply:  # noqa: ANN401  any JSON value
    """What is wrong: `code` is for programs, the message for people."""
    return json_reply({"error": {"code": code, "message": message, **more}}, status)
