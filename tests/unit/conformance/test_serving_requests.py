"""The judgement on single answers of a server: which check fails, which only warns, and with what words."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from behaviour import Asked, Behaviour, Told

from kennel.conformance import serving_requests as requests
from kennel.conformance.findings import Finding, Verdict
from kennel.conformance.serving_multi_model import multi_model_calls
from kennel.conformance.serving_probe import HUNG_UP, Answer, Endpoint, Load, Sample
from kennel.conformance.serving_request import sample_of
from kennel.errors import UserError

SAMPLE = Sample(b"\xff\xd8 picture \xff\xd9", "image/jpeg")
Behave = Callable[[Behaviour], Endpoint]


def good(request: Asked) -> Told:
    """Takes whole JPEGs of up to 7 MB."""
    if not request.is_invocation:
        return Told(200 if request.path == "/ping" else 405)
    if request.headers.get("content-type", "").partition(";")[0] != "image/jpeg":
        return Told(415, b"Expected image/jpeg.")
    if len(request.body) > 7_000_000:
        return Told(413, b"At most 7 MB.")
    is_whole = request.body.startswith(b"\xff\xd8") and b"\xff\xd9" in request.body
    return Told() if is_whole else Told(400, b"This is no whole JPEG.")


def but(wrong: Callable[[Asked], Told | None]) -> Behaviour:
    """As the good one, except where `wrong` has an answer."""
    return lambda request: wrong(request) or good(request)


@dataclass
class Undying:
    """A server that is there after every request, or dies of those that `kills` names."""

    endpoint: Endpoint
    deaths: int = 0
    kills: Callable[[], bool] = lambda: False

    def death(self) -> str:
        if self.kills():
            self.deaths += 1
            return "ended with status 139"
        return ""

    def revive(self) -> bool:
        return True


def test_a_good_server_passes(behave: Behave) -> None:
    endpoint = behave(good)
    served = Undying(endpoint)
    judgement = requests.send_bad_input(served, SAMPLE)
    findings = [
        requests.response_type(endpoint.invoke(SAMPLE)),
        requests.get_invocations(endpoint),
        requests.extra_headers(endpoint, SAMPLE),
        requests.type_parameters(endpoint, SAMPLE),
        requests.unknown_accept(endpoint, SAMPLE),
        *requests.refusals(judgement),
        requests.no_traceback(judgement),
        requests.survival(judgement),
        requests.payload(served, SAMPLE),
        requests.payload_over_limit(served, SAMPLE),
    ]
    assert {each.verdict for each in findings} == {Verdict.PASS}, findings
    assert judgement.seen == [
        "empty 400",
        "garbage 400",
        "truncated 400",
        "unknown_type 415",
        "broken_json 415",
        "wrong_json 415",
    ]


def no_attributes(request: Asked) -> Told | None:
    return Told(400, b"unknown header") if "x-amzn-sagemaker-custom-attributes" in request.headers else None


def no_parameters(request: Asked) -> Told | None:
    return Told(500) if ";" in request.headers.get("content-type", "") else None


def liar(request: Asked) -> Told | None:
    accept = request.headers.get("accept", "")
    return Told(headers={"Content-Type": accept}) if "unknown" in accept else None


def accept_crashes(request: Asked) -> Told | None:
    return Told(500) if "unknown" in request.headers.get("accept", "") else None


@pytest.mark.parametrize(
    ("wrong", "check", "verdict", "words"),
    [
        (no_attributes, requests.extra_headers, Verdict.FAIL, "400"),
        (no_parameters, requests.type_parameters, Verdict.WARN, "500"),
        (liar, requests.unknown_accept, Verdict.WARN, "is called application/x-conformance-unknown"),
        (accept_crashes, requests.unknown_accept, Verdict.FAIL, "500"),
    ],
)
def test_a_header_that_confuses_a_server_is_named(
    behave: Behave,
    wrong: Callable[[Asked], Told | None],
    check: Callable[[Endpoint, Sample], Finding],
    verdict: Verdict,
    words: str,
) -> None:
    finding = check(behave(but(wrong)), SAMPLE)
    assert finding.verdict is verdict
    assert words in finding.seen
    assert finding.consequence
    assert finding.remedy


def test_a_first_answer_that_waited_for_the_model_is_a_warning() -> None:
    usual, first = Answer(200, answer_s=0.02), Answer(200, answer_s=7.5)
    assert requests.readiness(usual, usual).verdict is Verdict.PASS
    assert requests.readiness(first, replace(first, answer_s=7.0)).verdict is Verdict.PASS  # it is always slow
    finding = requests.readiness(first, usual)
    assert finding.verdict is Verdict.WARN
    assert "200 after 7.50 s, a later one after 0.02 s" in finding.seen


def test_get_invocations_that_answers_is_a_warning(behave: Behave) -> None:
    assert requests.get_invocations(behave(lambda _: Told())).verdict is Verdict.WARN


def test_an_answer_without_a_type_is_a_warning() -> None:
    assert requests.response_type(Answer(200)).verdict is Verdict.WARN


def test_bad_input_that_is_answered_is_a_warning_for_each(behave: Behave) -> None:
    judgement = requests.send_bad_input(Undying(behave(lambda _: Told())), SAMPLE)
    assert {each.check: each.verdict for each in requests.refusals(judgement)} == {
        f"serve.bad_input.{name}": Verdict.WARN
        for name in ("empty", "garbage", "truncated", "unknown_type", "broken_json", "wrong_json")
    }


def test_bad_input_that_gives_500_is_a_failure_and_so_is_its_traceback(behave: Behave) -> None:
    def crash(request: Asked) -> Told | None:
        text = b'Traceback (most recent call last):\n  File "/opt/handler.py", line 3'
        return Told(500, text) if request.is_invocation and not request.body else None

    judgement = requests.send_bad_input(Undying(behave(but(crash))), SAMPLE)
    (finding,) = requests.refusals(judgement)
    assert (finding.check, finding.verdict) == ("serve.bad_input.empty", Verdict.FAIL)
    assert "Invocation5XXErrors" in finding.consequence
    shown = requests.no_traceback(judgement)
    assert shown.verdict is Verdict.FAIL
    assert "/opt/handler.py" in shown.seen


def test_half_a_table_is_a_table(behave: Behave) -> None:
    table = Sample(b"1,2\n3,4\n", "text/csv")

    def take(request: Asked) -> Told:
        is_table = request.headers["content-type"] == "text/csv" and request.body[:1].isdigit()
        return Told() if is_table else Told(400)

    judgement = requests.send_bad_input(Undying(behave(take)), table)
    assert [each.verdict for each in requests.refusals(judgement)] == [Verdict.PASS]


def test_a_server_that_died_is_blamed_for_that_and_not_for_its_answer() -> None:
    judgement = requests.Judgement()
    (first, *_) = requests.bad_inputs(SAMPLE)
    requests.judge(judgement, first, Answer(None, HUNG_UP), "ended with status 139 (ERROR decoder)")
    assert [each.verdict for each in requests.refusals(judgement)] == [Verdict.PASS]
    finding = requests.survival(judgement)
    assert finding.verdict is Verdict.FAIL
    assert "an empty body as image/jpeg it ended with status 139 (ERROR decoder)" in finding.seen


@pytest.mark.parametrize(
    ("told", "verdict"), [(Told(413, b"at most 5 MB"), Verdict.WARN), (Told(500), Verdict.FAIL), (Told(), Verdict.PASS)]
)
def test_a_payload_under_the_limit(behave: Behave, told: Told, verdict: Verdict) -> None:
    endpoint = behave(but(lambda request: told if len(request.body) > 6_000_000 else None))
    assert requests.payload(Undying(endpoint), SAMPLE).verdict is verdict


@pytest.mark.parametrize(
    ("told", "verdict"),
    [(Told(413, b"at most 7 MB"), Verdict.PASS), (Told(413, b""), Verdict.WARN), (Told(500), Verdict.WARN)],
)
def test_a_payload_over_the_limit(behave: Behave, told: Told, verdict: Verdict) -> None:
    endpoint = behave(but(lambda request: told if len(request.body) > 7_000_000 else None))
    assert requests.payload_over_limit(Undying(endpoint), SAMPLE).verdict is verdict


def test_a_payload_that_kills_is_a_failure(behave: Behave) -> None:
    finding = requests.payload_over_limit(Undying(behave(good), kills=lambda: True), SAMPLE)
    assert finding.verdict is Verdict.FAIL
    assert "and then it ended with status 139" in finding.seen


FAST = Answer(200, body=b"a", connect_s=0.001, answer_s=0.1)


def load(*answers: Answer, ping: Answer = FAST) -> Load:
    return Load((FAST, *answers), (FAST, ping), senders=8, seconds=2.0)


def test_load_is_judged_by_its_worst() -> None:
    def verdict(finding: Finding) -> Verdict:
        return finding.verdict

    assert verdict(requests.ping_under_load(load(ping=replace(FAST, answer_s=1.9)))) is Verdict.PASS
    assert verdict(requests.ping_under_load(load(ping=replace(FAST, answer_s=2.1)))) is Verdict.FAIL
    assert verdict(requests.ping_under_load(load(ping=Answer(None, HUNG_UP)))) is Verdict.FAIL
    assert verdict(requests.concurrency(load(FAST))) is Verdict.PASS
    assert verdict(requests.concurrency(load(Answer(503)))) is Verdict.WARN
    assert verdict(requests.concurrency(load(Answer(500)))) is Verdict.FAIL
    assert verdict(requests.concurrency(load(replace(FAST, answer_s=61.0)))) is Verdict.FAIL
    assert verdict(requests.same_answer(load(FAST))) is Verdict.PASS
    assert verdict(requests.same_answer(load(replace(FAST, body=b"b")))) is Verdict.WARN


def test_one_slow_connection_in_hundreds_warns_and_many_fail() -> None:
    slow = replace(FAST, connect_s=1.0)
    assert requests.connect(load(*[FAST] * 300)).verdict is Verdict.PASS
    assert requests.connect(load(*[FAST] * 300, slow)).verdict is Verdict.WARN
    assert requests.connect(load(slow, slow)).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(404), ""),
        (Answer(200, body=b'{"MaxConcurrentTransforms": 2, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6}'), ""),
        (Answer(200, body=b"Healthy"), "without the parameters"),
        (Answer(200, body=b"[]"), "without the parameters"),
        (Answer(200, body=b'{"MaxConcurrentTransforms": 2}'), "without the parameters"),
        (
            Answer(200, body=b'{"MaxConcurrentTransforms": "2", "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6}'),
            "with {'MaxConcurrentTransforms': '2'}",
        ),
        (Answer(500), "500"),
    ],
)
def test_execution_parameters_are_absent_or_whole(answer: Answer, fault: str) -> None:
    found = requests.execution_parameters_fault(answer)
    assert fault in found
    assert bool(fault) == bool(found)


class MultiModel:
    """A multi-model server that is right in all but the codes it is given."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes
        self.models: set[str] = set()

    def __call__(self, request: Asked) -> Told:
        name = request.path.split("/")[2] if request.path.startswith("/models/") else ""
        is_loaded = name in self.models
        match request.method, request.path.split("/")[1:]:
            case _, ["ping"]:
                return Told()
            case "POST", ["models"]:
                return self.load(json.loads(request.body))
            case "GET", ["models"]:
                return Told(body=json.dumps({"models": [{"modelName": each} for each in self.models]}).encode())
            case "DELETE", _ if is_loaded:
                self.models.remove(name)
                return Told()
            case _ if is_loaded:
                return Told()
        return Told(self.codes.get("absent", 404))

    def load(self, content: dict[str, str]) -> Told:
        if "bad" in content["url"]:
            return Told(self.codes.get("bad", 400))
        if content["model_name"] in self.models:
            return Told(self.codes.get("again", 409))
        self.models.add(content["model_name"])
        return Told()


@pytest.mark.parametrize(
    ("codes", "wrong"),
    [
        ({}, set()),
        ({"again": 200}, {"load_again"}),
        ({"bad": 200}, {"load_bad"}),
        ({"absent": 500}, {"invoke_unknown", "get_unknown", "invoke_unloaded", "unload_again"}),
    ],
)
def test_every_wrong_code_of_a_multi_model_server_is_named(
    behave: Behave, codes: dict[str, int], wrong: set[str]
) -> None:
    findings = list(multi_model_calls(behave(MultiModel(**codes)), SAMPLE, url="/good/model", bad_url="/bad/model"))
    failed = {each.check for each in findings if each.verdict is Verdict.FAIL}
    assert failed == {f"serve.multi_model.{name}" for name in wrong}
    if not wrong:
        assert [each.verdict for each in findings] == [Verdict.PASS]


def subject(request: dict[str, Any]) -> Any:  # noqa: ANN401
    return SimpleNamespace(exercise=SimpleNamespace(request=request))


def test_the_sample_is_the_given_request_or_a_drawn_picture(tmp_path: Path) -> None:
    drawn = sample_of(subject({}))
    assert (drawn.content_type, drawn.body[:2]) == ("image/jpeg", b"\xff\xd8")
    assert drawn == sample_of(subject({}))
    csv = sample_of(subject({"body": "1,2\n", "content_type": "text/csv", "accept": "application/json"}))
    assert (csv.body, csv.headers) == (b"1,2\n", {"Content-Type": "text/csv", "Accept": "application/json"})
    assert sample_of(subject({"base64": "AAE="})).body == b"\x00\x01"
    (tmp_path / "body").write_bytes(b"x")
    assert sample_of(subject({"file": str(tmp_path / "body")})).body == b"x"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"content_type": "text/csv"}, "Expected one of body, base64, file"),
        ({"base64": "???"}, "cannot be read"),
        ({"file": "/nowhere/at/all"}, "cannot be read"),
    ],
)
def test_a_request_that_cannot_be_read_is_a_users_error(request_: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        sample_of(subject(request_))
