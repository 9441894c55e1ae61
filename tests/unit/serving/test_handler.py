import base64
import json
from pathlib import Path
from typing import Any

import pytest
from mms.context import Context, RequestProcessor

from kennel.errors import ArchiveError, UserError
from kennel.serving import functions
from kennel.serving.engine import Answer, Engine
from kennel.serving.handler import handle, load_once
from kennel.serving.request import PredictionRequest
from served_archive import golden, picture


def make_context(model_dir: Path, *headers: dict[str, Any]) -> Context:
    context = Context("model", str(model_dir), None, 1, None, "1.1.11")
    context.request_processor = [RequestProcessor(each) for each in headers]
    return context


def post(model_dir: Path, body: bytes | None, **headers: str) -> tuple[int, str, Any]:
    """Status, content type and body of the answer; `content_type="image/png"` is the header Content-Type."""
    names = {name.replace("_", "-").title(): value for name, value in headers.items()}
    context = make_context(model_dir, names)
    data = {} if body is None else {"body": bytearray(body)}
    (reply,) = handle([data], context) or []
    return context.get_response_status(0)[0], context.get_response_content_type(0), reply


def test_load_raises_what_is_wrong_with_the_model(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"has no model\.json"):
        handle(None, make_context(tmp_path))


def test_load_refuses_a_default_that_cannot_be_given(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/html")
    load_once.cache_clear()
    with pytest.raises(UserError, match="SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is 'text/html'"):
        handle(None, make_context(model_dir))


def test_load_answers_nothing_and_happens_once(model_dir: Path) -> None:
    assert handle(None, make_context(model_dir)) is None
    assert load_once(str(model_dir)) is load_once(str(model_dir))


@pytest.mark.parametrize("header", ["content_type", "CONTENT_TYPE"])
def test_a_picture_is_answered(model_dir: Path, header: str) -> None:
    data, expected = golden(model_dir)[0]
    status, content_type, body = post(model_dir, data, **{header: "image/png"})
    assert (status, content_type) == (200, "application/json")
    (prediction,) = json.loads(body)["predictions"]
    assert prediction["probability"] == pytest.approx(max(expected), abs=1e-6)


def test_headers_are_read_in_any_case_of_letters(model_dir: Path) -> None:
    context = make_context(model_dir, {"ACCEPT": "text/csv", "content-TYPE": "image/png"})
    (body,) = handle([{"body": picture()}], context) or []
    assert context.get_response_content_type(0) == "text/csv; charset=utf-8"
    assert body.startswith(b"label,probability\n")


def test_each_request_of_a_batch_has_its_own_status(model_dir: Path) -> None:
    context = make_context(model_dir, {}, {"Content-Type": "text/html"}, {"Accept": "text/csv"})
    bodies = handle([{"body": picture()}, {"body": b"<p>"}, {"body": picture()}], context) or []
    assert [context.get_response_status(index) for index in range(3)] == [
        (200, "OK"),
        (415, "Unsupported Media Type"),
        (200, "OK"),
    ]
    assert [context.get_response_content_type(index).partition(";")[0] for index in range(3)] == [
        "application/json",
        "application/json",
        "text/csv",
    ]
    assert [body[:8] for body in bodies] == [b'{"predic', b'{"error"', b"label,pr"]


def test_a_form_is_415_though_it_has_no_body(model_dir: Path) -> None:
    status, _, body = post(model_dir, None, content_type="multipart/form-data; boundary=x")
    assert status == 415
    assert json.loads(body)["error"]["code"] == "unsupported_media_type"


def test_a_client_that_accepts_nothing_we_have_is_406_before_any_work(model_dir: Path) -> None:
    status, _, body = post(model_dir, b"", accept="text/html")
    assert status == 406
    assert json.loads(body)["error"]["code"] == "not_acceptable"


def test_the_bad_image_of_several_is_named(model_dir: Path) -> None:
    images = [base64.b64encode(each).decode() for each in (picture(), picture("JPEG")[:-40])]
    status, _, body = post(model_dir, json.dumps({"images": images}).encode(), content_type="application/json")
    error = json.loads(body)["error"]
    assert (status, error["code"], error["index"]) == (400, "truncated", 1)


def test_a_fault_of_ours_is_500_with_an_id_that_the_log_has_too(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(request: PredictionRequest, model: Engine) -> Answer:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(functions, "predict_fn", fail)
    status, content_type, body = post(model_dir, picture())
    error = json.loads(body)["error"]
    assert (status, content_type, error["code"]) == (500, "application/json", "internal_error")
    assert b"secret" not in body
    log = capsys.readouterr().err
    assert f"ERROR {error['id']} Traceback" in log
    assert "RuntimeError: secret detail" in log
