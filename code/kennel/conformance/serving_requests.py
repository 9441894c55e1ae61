"""What a server answers to good, bad, large and many requests. It asks a running server; it starts none.

Exercise it: pytest tests/unit/conformance/test_serving_requests.py
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from kennel.conformance.checks import failed, passed, warned
from kennel.conformance.findings import Finding
from kennel.conformance.serving_probe import Answer, Endpoint, Load, Sample

MAX_PING_S: Final = 2.0
MAX_CONNECT_S: Final = 0.25
MAX_INVOCATION_S: Final = 60.0
# What InvokeEndpoint takes and gives, in SageMaker's own API model.
MAX_PAYLOAD_BYTES: Final = 6_291_456
_OVERSIZE_BYTES: Final = 8_000_000
_MAX_ATTRIBUTES: Final = 1024  # characters of custom attributes
_UNKNOWN_TYPE: Final = "application/x-conformance-unknown"
# The same ones every time: of those drawn anew, some would be a table's first digit.
_GARBAGE: Final = random.Random(3).randbytes(1000)  # noqa: S311  no secret
_MAX_SLOW_CONNECTIONS: Final = 0.01  # of all
# A first answer after so long, and so many times slower than a later one, waited for the model.
_SLOW_FIRST_S: Final = 1.0
_SLOWER: Final = 10.0
_BUSY: Final = (429, 503)
# GET /execution-parameters: what batch transform reads.
_PARAMETERS: Final[dict[str, tuple[type, ...]]] = {
    "MaxConcurrentTransforms": (int,),
    "BatchStrategy": (str,),
    "MaxPayloadInMB": (int,),
}


class Served(Protocol):
    """A server that may die of what it is asked, and can be started again."""

    @property
    def endpoint(self) -> Endpoint: ...

    def death(self) -> str:
        """How it ended, as the rest of a sentence about the server; "" while it is healthy."""
        ...

    def revive(self) -> bool:
        """Starts it again after its death; whether it is healthy then."""
        ...


# --- one good request ---------------------------------------------------------------------------------------------


def readiness(first: Answer, usual: Answer) -> Finding:
    """The first request is answered; slowly, where it had to wait for the model. usual: the answer to a later one."""
    tried = "a request right after the first healthy /ping"
    if first.answer_s < _SLOW_FIRST_S or first.answer_s < _SLOWER * usual.answer_s:
        return passed(tried, str(first))
    return warned(
        tried,
        f"{first}, a later one after {usual.answer_s:.2f} s: it was healthy before its model was loaded",
        f"traffic comes to every new instance too early: clients wait, and beyond {MAX_INVOCATION_S:g} s they fail",
        "answer /ping with 503, or listen later, until the model has answered a request of your own",
    )


def response_type(answer: Answer) -> Finding:
    tried = "the header Content-Type of the answer"
    if content_type := answer.headers.get("content-type"):
        return passed(tried, content_type)
    return warned(
        tried,
        "none",
        "InvokeEndpoint tells clients no ContentType, and the SDK's deserializers do not know what they got",
        "set Content-Type on every answer",
    )


def get_invocations(endpoint: Endpoint) -> Finding:
    tried = "GET /invocations"
    answer = endpoint.ask("GET", "/invocations")
    if not answer.is_success:
        return passed(tried, str(answer))
    return warned(
        tried,
        f"{answer}: {answer.excerpt()}",
        "SageMaker only ever sends POST; whoever tries a server by GET believes that the model answered",
        "answer 405 to every method but POST",
    )


def extra_headers(endpoint: Endpoint, sample: Sample) -> Finding:
    """What SageMaker passes along beside the request."""
    headers = {
        "X-Amzn-SageMaker-Custom-Attributes": "trace=conformance;".ljust(_MAX_ATTRIBUTES, "x"),
        "X-Amzn-SageMaker-Inference-Id": "conformance-1",
        "X-Amzn-SageMaker-Target-Variant": "AllTraffic",
        "X-Amzn-SageMaker-Session-Id": "NEW_SESSION",
        "X-Conformance-Unknown": "1",
    }
    tried = f"{len(headers)} headers more, among them custom attributes of {_MAX_ATTRIBUTES} characters"
    answer = endpoint.ask("POST", "/invocations", sample.body, headers=sample.headers | headers)
    if answer.is_success:
        return passed(tried, str(answer))
    return failed(
        tried,
        f"{answer}: {answer.excerpt()}",
        "requests with custom attributes, an inference id or a target variant fail",
        "pass over headers that the server does not know",
    )


def type_parameters(endpoint: Endpoint, sample: Sample) -> Finding:
    content_type = f"{sample.content_type}; charset=utf-8"
    tried = f"the same request as {content_type}"
    answer = endpoint.ask("POST", "/invocations", sample.body, headers=sample.headers | {"Content-Type": content_type})
    if answer.is_success:
        return passed(tried, str(answer))
    return warned(
        tried,
        f"{answer}: {answer.excerpt()}",
        "many HTTP clients add a parameter to the type; their requests fail",
        "compare media types without their parameters and in any case",
    )


def unknown_accept(endpoint: Endpoint, sample: Sample) -> Finding:
    tried = f"the same request with Accept: {_UNKNOWN_TYPE}"
    answer = endpoint.ask("POST", "/invocations", sample.body, headers=sample.headers | {"Accept": _UNKNOWN_TYPE})
    claimed = answer.headers.get("content-type", "no type")
    if answer.is_success and claimed.startswith(_UNKNOWN_TYPE):
        return warned(
            tried,
            f"{answer}, and the same answer is called {claimed}",
            "clients are told a type that the answer has not",
            "answer 406 to a type the server cannot give, or answer in one it can and say so",
        )
    if answer.is_success or answer.is_refusal:
        return passed(tried, f"{answer}, {claimed}")
    return failed(
        tried,
        f"{answer}: {answer.excerpt()}",
        "a client's wrong Accept counts among the server's own errors (Invocation5XXErrors)",
        "answer 406 to a type the server cannot give",
    )


# --- many requests ------------------------------------------------------------------------------------------------


def load_tried(load: Load) -> str:
    return f"{load.senders} requests at a time for {load.seconds:.1f} s, {len(load.answers)} in all; pings meanwhile"


def ping_under_load(load: Load) -> Finding:
    worst = load.slowest_ping
    seen = f"slowest of {len(load.pings)} pings: {worst}"
    if worst.is_success and worst.answer_s <= MAX_PING_S:
        return passed(load_tried(load), seen)
    return failed(
        load_tried(load),
        seen,
        f"SageMaker waits {MAX_PING_S:g} s for /ping: under load it takes the container for dead and replaces it",
        "answer /ping on a thread of its own, never behind the requests' queue",
    )


def connect(load: Load) -> Finding:
    """A few slow ones may be this machine's own fault while it asks; more than one in a hundred are the server's."""
    times_s = [each.connect_s for each in (*load.answers, *load.pings)]
    slow = sum(each > MAX_CONNECT_S for each in times_s)
    seen = f"slowest of {len(times_s)} connections: {1000 * max(times_s):.0f} ms"
    if not slow:
        return passed(load_tried(load), seen)
    blame = failed if slow > _MAX_SLOW_CONNECTIONS * len(times_s) else warned
    return blame(
        load_tried(load),
        f"{seen}; {slow} took more than {1000 * MAX_CONNECT_S:.0f} ms",
        f"SageMaker expects a connection to be accepted within {1000 * MAX_CONNECT_S:.0f} ms",
        "accept connections on a thread of its own, with a longer listen backlog",
    )


def concurrency(load: Load) -> Finding:
    wrong = [each for each in load.answers if not each.is_success]
    faults = [each for each in wrong if each.status not in _BUSY]
    slowest_s = max(each.answer_s for each in load.answers)
    seen = f"{len(load.answers) - len(wrong)} of {len(load.answers)} answered, the slowest after {slowest_s:.2f} s"
    if faults or slowest_s > MAX_INVOCATION_S:
        example = f"; one of the others: {faults[0]}: {faults[0].excerpt(60)}" if faults else ""
        return failed(
            load_tried(load),
            seen + example,
            f"each of these is a ModelError for its client; an answer after {MAX_INVOCATION_S:g} s comes too late",
            "let requests that come while the model is busy wait in a queue; the log says what failed",
        )
    if wrong:
        return warned(
            load_tried(load),
            f"{seen}; {len(wrong)} were told to come back later ({wrong[0].status})",
            "clients get ModelError and must repeat their requests",
            "let more requests wait, or scale early on InvocationsPerInstance",
        )
    return passed(load_tried(load), seen)


def same_answer(load: Load) -> Finding:
    bodies = list(dict.fromkeys(each.body for each in load.answers if each.is_success))
    if len(bodies) <= 1:
        return passed(load_tried(load), "equal requests got equal answers")
    first, second = (Answer(200, body=body).excerpt(60) for body in bodies[:2])
    return warned(
        load_tried(load),
        f"{len(bodies)} different answers to equal requests, such as {first} and {second}",
        "clients get another answer when they ask again; it may even be another client's",
        "if they differ by more than a time or an id: put the model into evaluation mode, share no state",
    )


# --- bad requests -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BadInput:
    """A request that no server should take. name: of the check. may_succeed: some servers rightly take it."""

    name: str
    tried: str
    body: bytes
    content_type: str
    may_succeed: bool = False


def bad_inputs(sample: Sample) -> Sequence[BadInput]:
    own, half = sample.content_type, sample.body[: len(sample.body) // 2]
    is_a_whole = not any(kind in own for kind in ("image/", "json", "npy", "zip"))  # half a table is a table
    shape = b'{"conformance": [1, null]}'
    return (
        BadInput("empty", f"an empty body as {own}", b"", own),
        BadInput("garbage", f"{len(_GARBAGE)} random bytes as {own}", _GARBAGE, own),
        BadInput("truncated", f"the first {len(half)} of {len(sample.body)} bytes as {own}", half, own, is_a_whole),
        BadInput("unknown_type", f"the sample as {_UNKNOWN_TYPE}", sample.body, _UNKNOWN_TYPE),
        BadInput("broken_json", """'{"instances": [' as application/json""", b'{"instances": [', "application/json"),
        BadInput("wrong_json", f"{shape.decode()} as application/json", shape, "application/json"),
    )


@dataclass
class Judgement:
    """What came of all bad requests: an entry for each, what was wrong with the answers, deaths, tracebacks."""

    seen: list[str] = field(default_factory=list)
    wrong: list[Finding] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)
    tracebacks: dict[str, str] = field(default_factory=dict)  # by the bad request's name

    @property
    def tried(self) -> str:
        return f"{len(self.seen)} bad requests"


def send_bad_input(served: Served, sample: Sample) -> Judgement:
    """Sends each bad request, and brings the server back where it died of one."""
    judgement = Judgement()
    for each in bad_inputs(sample):
        answer = served.endpoint.ask("POST", "/invocations", each.body, headers={"Content-Type": each.content_type})
        death = served.death()
        judge(judgement, each, answer, death)
        if death and not served.revive():
            break
    return judgement


def judge(judgement: Judgement, each: BadInput, answer: Answer, death: str) -> None:
    """Adds what came of one. A server that died of it is not blamed for its answer as well."""
    judgement.seen.append(f"{each.name} {answer.status or answer.fault}")
    if answer.has_traceback:
        judgement.tracebacks[each.name] = answer.excerpt(200)
    if death:
        judgement.deaths.append(f"after {each.tried} it {death}")
    elif finding := _wrong_answer(each, answer):
        judgement.wrong.append(replace(finding, check=f"serve.bad_input.{each.name}"))


def _wrong_answer(each: BadInput, answer: Answer) -> Finding | None:
    if answer.is_refusal or (answer.is_success and each.may_succeed):
        return None
    seen = f"{answer}: {answer.excerpt()}" if answer.status else str(answer)
    remedy = "look at the request before the model does; answer 400 (415 for a type not taken) and say what is wrong"
    if answer.is_success:
        return warned(each.tried, seen, "clients take a meaningless answer for a prediction", remedy)
    return failed(
        each.tried,
        seen,
        "a client's fault counts among the server's own errors (Invocation5XXErrors): alarms go off, deployments "
        "roll back, batch transform repeats what can never work",
        remedy,
    )


def refusals(judgement: Judgement) -> Iterator[Finding]:
    """One finding for each bad request that was answered wrongly, or one that all were refused."""
    yield from judgement.wrong
    if not judgement.wrong:
        yield passed(judgement.tried, ", ".join(judgement.seen))


def no_traceback(judgement: Judgement) -> Finding:
    if not judgement.tracebacks:
        return passed(judgement.tried, "no answer shows a traceback")
    return failed(
        judgement.tried,
        f"a traceback for {', '.join(judgement.tracebacks)}; the first: {next(iter(judgement.tracebacks.values()))}",
        "clients see the server's files and code: ModelError passes 2,048 characters of it on",
        "catch exceptions around the handler; the traceback goes into the log, with an id that the answer names",
    )


def survival(judgement: Judgement) -> Finding:
    if not judgement.deaths:
        return passed(judgement.tried, "healthy after each of them")
    return failed(
        judgement.tried,
        "; ".join(judgement.deaths),
        "any client can end the server: what is in flight is lost, and nothing answers until it has started again",
        "catch exceptions around the handler; decode what clients send where a crash does no harm",
    )


# --- large requests -----------------------------------------------------------------------------------------------


def payload(served: Served, sample: Sample) -> Finding:
    """Just under what InvokeEndpoint takes."""
    size = MAX_PAYLOAD_BYTES - 1024
    tried = f"the sample, filled up to {size} bytes ({MAX_PAYLOAD_BYTES} is SageMaker's limit)"
    answer = served.endpoint.ask("POST", "/invocations", sample.padded(size), headers=sample.headers)
    death = served.death()
    if death:
        served.revive()
    if not death and answer.status == 413:
        return warned(
            tried,
            f"{answer}: {answer.excerpt()}",
            "the server refuses requests that SageMaker passes on",
            f"take {MAX_PAYLOAD_BYTES} bytes (SAGEMAKER_MAX_PAYLOAD_IN_MB, with SageMaker's toolkit)",
        )
    if not death and (answer.is_success or answer.is_refusal):
        return passed(tried, str(answer))
    return failed(
        tried,
        f"{answer}, and then it {death}" if death else f"{answer}: {answer.excerpt()}",
        "large requests fail with ModelError",
        f"read bodies of up to {MAX_PAYLOAD_BYTES} bytes, with memory for as many of them as are taken at a time",
    )


def payload_over_limit(served: Served, sample: Sample) -> Finding:
    tried = f"the sample, filled up to {_OVERSIZE_BYTES} bytes"
    answer = served.endpoint.ask("POST", "/invocations", sample.padded(_OVERSIZE_BYTES), headers=sample.headers)
    if death := served.death():
        served.revive()
        return failed(
            tried,
            f"{answer}, and then it {death}",
            "a batch transform with a larger MaxPayloadInMB, or an asynchronous request, ends the server",
            "look at Content-Length before reading; answer 413 with the limit in the text",
        )
    if answer.is_success:
        return passed(tried, f"{answer}: its own limit is larger than SageMaker's")
    if answer.is_refusal and answer.body:
        return passed(tried, f"{answer}: {answer.excerpt()}")
    return warned(
        tried,
        f"{answer}: {answer.excerpt()}" if answer.status else str(answer),
        "InvokeEndpoint refuses it first, but batch and asynchronous clients are not told that it was too much",
        "answer 413 with the limit in the text, after reading (or refusing) the body",
    )


def execution_parameters_fault(answer: Answer) -> str:
    """What is wrong with an answer to GET /execution-parameters; "" for 404, or for what batch transform reads."""
    if not answer.is_success:
        return "" if answer.is_refusal else str(answer)
    try:
        parameters = json.loads(answer.body)
        wrong = {key: parameters[key] for key, kinds in _PARAMETERS.items() if not _is_one(parameters.get(key), kinds)}
    except (ValueError, AttributeError, KeyError):
        return f"{answer}, without the parameters: {answer.excerpt()}"
    return f"{answer}, with {wrong}" if wrong else ""


def _is_one(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
