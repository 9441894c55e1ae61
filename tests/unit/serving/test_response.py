import csv
import io
import json

import pytest

from kennel.errors import UserError
from kennel.serving.engine import Answer, Candidate, Prediction
from kennel.serving.request import RequestError
from kennel.serving.response import choose_media_type, default_media_type, render, render_error, render_fault

ANSWER = Answer(
    predictions=(
        Prediction(
            "Bouvier_des_Flandres", 0.75, False, (Candidate("Bouvier_des_Flandres", 0.75), Candidate("Pug", 0.2))
        ),
        Prediction('Løwchen, "little lion"', 0.3, True, (Candidate('Løwchen, "little lion"', 0.3),)),
    ),
    model={"backbone": "resnet18", "format": 1},
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("application/jsonlines", "application/jsonlines"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("text/html, text/csv;q=0.9, */*;q=0.1", "text/csv"),
        ("application/json;q=0.2, text/csv;q=0.7", "text/csv"),
        ("text/csv, application/json", "text/csv"),
        ("application/json;q=0, */*", "application/jsonlines"),
        ("text/csv;q=high", "text/csv"),
    ],
)
def test_accept_chooses_the_media_type(accept: str | None, expected: str) -> None:
    assert choose_media_type(accept) == expected


@pytest.mark.parametrize("accept", ["text/html", "image/png, text/html", "application/json;q=0", "*/*;q=0", "nonsense"])
def test_an_accept_that_cannot_be_met_is_406(accept: str) -> None:
    with pytest.raises(RequestError, match="Ask for application/json, application/jsonlines") as caught:
        choose_media_type(accept)
    assert (caught.value.status, caught.value.code) == (406, "not_acceptable")


def test_the_default_media_type_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/csv")
    assert choose_media_type(None) == "text/csv"
    assert choose_media_type("*/*") == "text/csv"
    assert choose_media_type("application/json") == "application/json"


def test_a_default_media_type_that_cannot_be_given_is_refused() -> None:
    with pytest.raises(UserError, match="SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is 'text/html'. Expected one of app"):
        default_media_type({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/html"})


def test_json_has_predictions_and_model() -> None:
    reply = render(ANSWER, "application/json")
    assert (reply.status, reply.content_type) == (200, "application/json")
    content = json.loads(reply.body)
    assert content["model"] == {"backbone": "resnet18", "format": 1}
    assert content["predictions"][0] == {
        "label": "Bouvier_des_Flandres",
        "probability": 0.75,
        "abstain": False,
        "top_k": [
            {"label": "Bouvier_des_Flandres", "probability": 0.75},
            {"label": "Pug", "probability": 0.2},
        ],
    }
    assert "Løwchen" in reply.body.decode()


@pytest.mark.parametrize("media", ["application/jsonlines", "application/x-ndjson"])
def test_json_lines_has_a_prediction_a_line(media: str) -> None:
    reply = render(ANSWER, media)
    assert reply.content_type == media
    lines = reply.body.decode().splitlines()
    assert [json.loads(line)["label"] for line in lines] == [each.label for each in ANSWER.predictions]


def test_csv_has_a_header_and_quotes_what_needs_it() -> None:
    reply = render(ANSWER, "text/csv")
    assert reply.content_type == "text/csv; charset=utf-8"
    assert list(csv.reader(io.StringIO(reply.body.decode()))) == [
        ["label", "probability"],
        ["Bouvier_des_Flandres", "0.75"],
        ['Løwchen, "little lion"', "0.3"],
    ]


def test_an_error_has_code_message_and_index() -> None:
    reply = render_error(RequestError("images[3] is not an image", status=415, code="unsupported_format", index=3))
    assert (reply.status, reply.content_type) == (415, "application/json")
    assert json.loads(reply.body) == {
        "error": {"code": "unsupported_format", "message": "images[3] is not an image", "index": 3}
    }
    assert "index" not in json.loads(render_error(RequestError("no")).body)["error"]


def test_a_fault_of_ours_tells_the_client_its_id_only() -> None:
    reply = render_fault("abc123")
    assert reply.status == 500
    error = json.loads(reply.body)["error"]
    assert (error["code"], error["id"]) == ("internal_error", "abc123")
    assert "abc123" in error["message"]
