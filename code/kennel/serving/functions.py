"""Kennel's own model_fn, input_fn, predict_fn and output_fn.

What an inference script takes that adds something before or after a Kennel model, in its archive's code/:

    # code/inference.py: the label alone, as text. The three functions that it does not define stay Kennel's.
    def output_fn(answer, accept):
        return answer.predictions[0].label, "text/plain"

    # The same with the functions named: they are here, because there `inference` is the script itself.
    from kennel.serving.functions import input_fn, model_fn, predict_fn

Exercise them: pytest tests/unit/serving/test_inference.py
"""

from pathlib import Path

from kennel.serving.engine import Answer, Engine, load_engine
from kennel.serving.request import PredictionRequest, parse_request
from kennel.serving.response import choose_media_type, render


def model_fn(model_dir: str) -> Engine:
    """The model in `model_dir`, proved on its golden predictions. Raises ArchiveError."""
    return load_engine(Path(model_dir))


def input_fn(request_body: bytes | str, content_type: str | None) -> PredictionRequest:
    """The pictures in a request. Raises RequestError."""
    return parse_request(request_body, content_type)


def predict_fn(request: PredictionRequest, model: Engine) -> Answer:
    """The predictions for a request. Raises RequestError for a picture that cannot be used."""
    return model.predict(request.decoded(), top_k=request.top_k)


def output_fn(answer: Answer, accept: str | None) -> tuple[bytes, str]:
    """The answer's bytes and their content type. Raises RequestError when `accept` asks for what cannot be given."""
    reply = render(answer, choose_media_type(accept))
    return reply.body, reply.content_type
