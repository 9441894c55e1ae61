"""The calls that SageMaker makes to a container of a multi-model endpoint, with the status each must have.

Exercise it: pytest tests/images/test_conformance_serving.py
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kennel.conformance.checks import failed, passed
from kennel.conformance.findings import Finding
from kennel.conformance.serving_probe import Answer, Endpoint, Sample

LABEL: Final = "com.amazonaws.sagemaker.capabilities.multi-models"
MODEL: Final = "conformance"
_BAD_MODEL: Final = "conformance-bad"
_UNKNOWN: Final = "conformance-unknown"
_UNLOADED: Final = "SageMaker loads a model that answers 404 and asks again; with another status the request fails"


@dataclass(frozen=True)
class Call:
    """One call. name: of its check. is_right: of the answer; wanted says the same in words."""

    name: str
    method: str
    path: str
    wanted: str
    is_right: Callable[[Answer], bool]
    consequence: str
    sample: Sample

    @property
    def tried(self) -> str:
        return f"{self.method} {self.path}"

    def ask(self, endpoint: Endpoint) -> Answer:
        return endpoint.ask(self.method, self.path, self.sample.body or None, headers=self.sample.headers)


def multi_model_calls(endpoint: Endpoint, sample: Sample, *, url: str, bad_url: str | None) -> Iterator[Finding]:
    """A finding for each call that was answered wrongly, or one that all were right; without models, to begin with.

    url: of a model's folder in the container; bad_url: of one that must not load.
    """
    seen = []
    wrong = False
    for call in _calls(sample, url, bad_url):
        answer = call.ask(endpoint)
        seen.append(f"{call.name} {answer.status or answer.fault}")
        if not call.is_right(answer):
            wrong = True
            yield _wrong(call, answer)
    if not wrong:
        yield passed(f"{len(seen)} calls of a multi-model endpoint", ", ".join(seen))


def _wrong(call: Call, answer: Answer) -> Finding:
    seen = f"{answer}: {answer.excerpt()}" if answer.status else str(answer)
    finding = failed(
        call.tried, f"{seen}, not {call.wanted}", call.consequence, f"answer {call.tried} with {call.wanted}"
    )
    return replace(finding, check=f"serve.multi_model.{call.name}")


def _calls(sample: Sample, url: str, bad_url: str | None) -> Sequence[Call]:
    """In the order in which they make sense."""
    nothing = Sample(b"", "application/json")

    def call(
        name: str, method: str, path: str, wanted: int, consequence: str, body: Sample = nothing, more: str = ""
    ) -> Call:
        def is_right(answer: Answer) -> bool:
            return answer.status == wanted and more in answer.body.decode("utf-8", "replace")

        words = f"{wanted} naming {more}" if more else str(wanted)
        return Call(name, method, path, words, is_right, consequence, body)

    load = _load(MODEL, url)
    invoke, of_model = f"/models/{MODEL}/invoke", f"/models/{MODEL}"
    bad = () if bad_url is None else _bad_load(bad_url)
    unlisted = "SageMaker does not know what is loaded, and unloads nothing to make room"
    return (
        call("invoke_unknown", "POST", f"/models/{_UNKNOWN}/invoke", 404, _UNLOADED, sample),
        call("get_unknown", "GET", f"/models/{_UNKNOWN}", 404, unlisted),
        call("load", "POST", "/models", 200, "no model of the endpoint can be invoked", load),
        call("load_again", "POST", "/models", 409, "SageMaker takes the model for newly loaded, or for failed", load),
        call("list", "GET", "/models", 200, unlisted, more=f'"{MODEL}"'),
        call("get", "GET", of_model, 200, unlisted),
        call("invoke", "POST", invoke, 200, "requests with TargetModel fail", sample),
        *bad,
        call("ping", "GET", "/ping", 200, "the container is taken for dead while its models are in use"),
        call("unload", "DELETE", of_model, 200, "models pile up until memory ends (507 for the next one)"),
        call("invoke_unloaded", "POST", invoke, 404, _UNLOADED, sample),
        call("unload_again", "DELETE", of_model, 404, unlisted),
    )


def _load(name: str, url: str) -> Sample:
    return Sample(json.dumps({"model_name": name, "url": url}).encode(), "application/json")


def _bad_load(url: str) -> Sequence[Call]:
    consequence = "the model counts as loaded, and every request to it fails"
    return (
        Call(
            "load_bad",
            "POST",
            "/models",
            "an error",
            lambda answer: answer.status is not None and answer.status >= 400,
            consequence,
            _load(_BAD_MODEL, url),
        ),
    )
