"""The four functions, through the toolkit's own transformer: what runs where someone starts the stock server."""

import base64
import json
from pathlib import Path

import pytest
from mms.context import Context, RequestProcessor
from sagemaker_inference.transformer import Transformer

import inference
from kennel.serving.engine import Engine
from served_archive import golden, picture


def test_the_toolkits_transformer_finds_and_runs_the_functions(model_dir: Path) -> None:
    data, expected = golden(model_dir)[0]
    context = Context("model", str(model_dir), None, 1, None, "1.1.11")
    context.request_processor = [RequestProcessor({"Content-Type": "application/json", "Accept": "application/json"})]
    body = json.dumps({"image": base64.b64encode(data).decode()}).encode()
    (answer,) = Transformer().transform([{"body": body}], context)
    assert context.get_response_status(0) == (200, None)
    assert context.get_response_content_type(0) == "application/json"
    (prediction,) = json.loads(answer)["predictions"]
    assert prediction["probability"] == pytest.approx(max(expected), abs=1e-6)


def test_output_fn_names_the_type_it_gave(engine: Engine) -> None:
    answer = inference.predict_fn(inference.input_fn(picture(), "image/png"), engine)
    assert inference.output_fn(answer, "text/html, text/csv;q=0.1")[1] == "text/csv; charset=utf-8"
    assert inference.output_fn(answer, None)[1] == "application/json"
