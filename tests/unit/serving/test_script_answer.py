import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sagemaker_inference.errors import BaseInferenceToolkitError, GenericInferenceToolkitError, UnsupportedFormatError

from kennel.serving.handler import answer, make_context
from kennel.serving.reply import Reply
from kennel.serving.request import RequestError
from kennel.serving.script import Function, Script
from kennel.serving.script_answer import answer_script


def script_of(function: Callable[..., Any], name: str = "transform_fn", *, takes_context: bool = False) -> Script:
    return Script("inference.py", (name,), {name: Function(name, function, takes_context)}, "model")


def ask(function: Callable[..., Any], body: bytes = b"", *, takes_context: bool = False, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    context = make_context("/model", names)
    return answer(body, names, script_of(function, takes_context=takes_context), context=context)


def arguments(*given: object) -> str:
    return repr(given)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, ("model", bytearray(b"\xc3\xa4"), None, "application/json")),
        ({"content_type": "text/csv"}, ("model", "ä", "text/csv", "application/json")),
        ({"Content_Type": "application/json; x"}, ("model", "ä", "application/json; x", "application/json")),
        ({"content_type": "image/x", "ACCEPT": "a/b"}, ("model", bytearray(b"\xc3\xa4"), "image/x", "a/b")),
        ({"accept": "*/*"}, ("model", bytearray(b"\xc3\xa4"), None, "application/json")),
    ],
)
def test_a_function_gets_what_the_toolkit_would_give(headers: dict[str, str], expected: tuple[object, ...]) -> None:
    assert ask(arguments, "ä".encode(), **headers).body.decode() == repr(expected)


def test_the_default_type_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/html")
    reply = ask(arguments)
    assert (reply.content_type, "'text/html'" in reply.body.decode()) == ("text/html", True)


@pytest.mark.parametrize(
    ("given", "body", "kind"),
    [
        ("ä", "ä".encode(), "a/b"),
        (b"x", b"x", "a/b"),
        (bytearray(b"x"), b"x", "a/b"),
        (("x", "c/d"), b"x", "c/d"),
        ({"a": [np.float32(0.5), np.ones(2)]}, b'{"a": [0.5, [1.0, 1.0]]}', "a/b"),
        (None, b"null", "a/b"),
        ([1, 2, 3], b"[1, 2, 3]", "a/b"),
        (((1, 2), "c/d"), b"[1, 2]", "c/d"),
    ],
)
def test_what_a_script_gives_back_becomes_bytes(given: object, body: bytes, kind: str) -> None:
    assert ask(lambda *_: given, accept="a/b, x/y") == Reply(200, body, kind)


def test_what_cannot_be_sent_is_a_fault_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    reply = ask(lambda *_: object())
    assert reply.status == 500
    assert "The script gave back a object. Expected text, bytes, or what JSON can hold." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (
            UnsupportedFormatError("a/b"),
            415,
            "unsupported_media_type",
            "transform_fn: Content type a/b is not supported",
        ),
        (BaseInferenceToolkitError(409, "not now", "no"), 409, "script_refused", "not now"),
        (GenericInferenceToolkitError(503), 503, "script_refused", "Invalid Request"),
        (BaseInferenceToolkitError(200, "odd", "odd"), 500, "script_failed", "transform_fn of the script raised Base"),
        (
            ValueError("bad\nthing"),
            500,
            "script_failed",
            "transform_fn of the script raised ValueError: bad thing. The",
        ),
        (
            ModuleNotFoundError("no cv2", name="cv2"),
            500,
            "script_failed",
            "transform_fn of the script raised ModuleNotFoundError: no cv2. Put cv2 into the archive's code/, or",
        ),
        (SystemExit(1), 500, "script_failed", "transform_fn of the script raised SystemExit: 1. The server's log"),
        (MemoryError(), 507, "out_of_memory", "Memory does not suffice"),
        (RequestError("not that", status=400), 400, "invalid_request", "not that"),
    ],
)
def test_errors_are_json_with_a_reason_and_no_traceback(
    error: BaseException, status: int, code: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    reply = ask(fail)
    found = json.loads(reply.body)["error"]
    assert (reply.status, found["code"], reply.content_type) == (status, code, "application/json")
    assert found["message"].startswith(message)
    assert "Traceback" not in reply.body.decode()
    log = capsys.readouterr().err
    assert ("id" in found) == ("Traceback" in log) == (f"ERROR {found.get('id')} transform_fn raised: " in log)


def test_an_output_that_is_not_supported_is_406() -> None:
    def fail(prediction: object, accept: str) -> None:
        raise UnsupportedFormatError(accept)

    functions = {name: Function(name, lambda *given: given[0], False) for name in ("input_fn", "predict_fn")}
    script = Script("s", (), {**functions, "output_fn": Function("output_fn", fail, False)}, None)
    assert answer_script(script, b"", {}, context=make_context("/model", {})).status == 406


def test_text_that_is_none_is_400() -> None:
    reply = ask(arguments, b"\xff", content_type="text/csv")
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (400, "invalid_utf8")


def test_a_script_sets_the_status_by_its_context() -> None:
    def teapot(*given: Any) -> str:  # noqa: ANN401
        given[-1].set_response_status(code=418)
        return "short"

    assert ask(teapot, takes_context=True) == Reply(418, b"short", "application/json")


def test_the_servers_own_question_does_not_reach_the_script() -> None:
    def fail(*_: object) -> None:
        pytest.fail("it was asked")

    assert ask(fail, x_kennel_canary="1") == Reply(200, b'{"status": "alive"}', "application/json")
