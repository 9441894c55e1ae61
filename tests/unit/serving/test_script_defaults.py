import io
import json
from typing import Any

import numpy as np
import pytest
import torch

from kennel.errors import ContractError
from kennel.serving import script_defaults
from kennel.serving.request import RequestError
from kennel.serving.script_defaults import check_torch, input_fn, output_fn, predict_fn


def npy(array: Any) -> bytes:  # noqa: ANN401
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ("[[1, 2], [3, 4]]", "application/json", torch.tensor([[1.0, 2.0], [3.0, 4.0]])),
        ("[1, 2]", "Application/JSON; charset=utf-8", torch.tensor([1.0, 2.0])),
        ("1,2\n3,4\n", "text/csv", torch.tensor([[1.0, 2.0], [3.0, 4.0]])),
        ("5", "text/csv", torch.tensor(5.0)),
        (npy(np.arange(3)), "application/x-npy", torch.arange(3)),
        (bytearray(npy(np.ones((1, 2), np.float64))), "application/x-npy", torch.ones(1, 2, dtype=torch.float64)),
    ],
)
def test_numbers_become_a_tensor(body: str | bytes, kind: str, expected: torch.Tensor) -> None:
    found = input_fn(body, kind)
    assert found.dtype == expected.dtype and torch.equal(found, expected)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("{", "application/json", "The body is not application/json of numbers: "),
        ('{"a": 1}', "application/json", "The body is not application/json of numbers: "),
        ('["a"]', "application/json", "could not convert string to float"),
        ("[" * 100_000, "application/json", "The body is not application/json of numbers: "),
        (" ", "text/csv", "it is empty"),
        ("1,2\n3\n", "text/csv", "The body is not text/csv of numbers: "),
        (b"", "application/x-npy", "The body is not application/x-npy of numbers: "),
        (npy(np.array(["a"])), "application/x-npy", "can't convert np.ndarray"),
    ],
)
def test_what_are_no_numbers_is_400(body: str | bytes, kind: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        input_fn(body, kind)
    assert message in str(caught.value) and caught.value.status == 400


def test_an_archive_of_arrays_is_no_array() -> None:
    stream = io.BytesIO()
    np.savez(stream, a=np.ones(2))
    with pytest.raises(RequestError, match="it is an archive of several arrays"):
        input_fn(stream.getvalue(), "application/x-npy")


@pytest.mark.parametrize("kind", ["image/jpeg", None, "application/jsonlines"])
def test_another_type_is_415(kind: str | None) -> None:
    with pytest.raises(RequestError, match="or define input_fn in the script") as caught:
        input_fn(b"x", kind)
    assert caught.value.status == 415


def test_the_model_is_asked_in_evaluation_mode_without_gradients() -> None:
    model = torch.nn.Sequential(torch.nn.Dropout(0.99), torch.nn.ReLU())
    assert model.training
    answer = predict_fn(torch.ones(50, requires_grad=True), model)
    assert not answer.requires_grad and torch.equal(answer, torch.ones(50))


PREDICTION = torch.tensor([[0.5, 1.5]], requires_grad=True)


@pytest.mark.parametrize(
    ("prediction", "accept", "body", "kind"),
    [
        (PREDICTION, "application/json", b"[[0.5, 1.5]]", "application/json"),
        (PREDICTION, "*/*", b"[[0.5, 1.5]]", "application/json"),
        (PREDICTION, "text/html, text/csv;q=0.5", b"0.5,1.5\n", "text/csv"),
        ({"a": PREDICTION, "b": [PREDICTION]}, "application/json", None, "application/json"),
        ("text", "application/json", b'"text"', "application/json"),
    ],
)
def test_predictions_are_given_as_asked(prediction: object, accept: str, body: bytes | None, kind: str) -> None:
    content, given = output_fn(prediction, accept)
    assert given == kind
    assert content == body or json.loads(content) == {"a": [[0.5, 1.5]], "b": [[[0.5, 1.5]]]}


def test_predictions_as_an_array_and_as_nothing_that_is_known() -> None:
    content, kind = output_fn(PREDICTION, "application/x-npy")
    assert kind == "application/x-npy" and np.load(io.BytesIO(content)).tolist() == [[0.5, 1.5]]
    with pytest.raises(RequestError, match="or define output_fn in the script") as caught:
        output_fn(PREDICTION, "image/png")
    assert caught.value.status == 406


def test_without_torch_what_needs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_defaults, "find_spec", lambda name: None)
    check_torch(["output_fn"])
    with pytest.raises(ContractError, match="The script defines no input_fn and no predict_fn, and what stands in"):
        check_torch(["input_fn", "predict_fn", "output_fn"])
