"""What sagemaker-inference calls: model_fn once, then input_fn, predict_fn and output_fn for each request.

The names and signatures are the toolkit's, so its stock handler finds and runs this file as it is. Kennel's own handler
(kennel.serving.handler) calls the same four functions and adds what the stock one lacks: a client's fault is a 4xx.
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
