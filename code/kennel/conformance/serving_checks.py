"""The checks of an image that has `serve`: each starts from what SageMaker promises and does to such a container.

    kennel conformance IMAGE --kind serve --model model.tar.gz [--request FILE --content-type TYPE]

One container answers most of them and is stopped at the end; a second one has the surroundings that SageMaker may
choose (batch transform, another port, ...), and loses a worker; then come bad archives, and multi-model endpoints.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from kennel.conformance import serving_requests as requests
from kennel.conformance.checks import Subject, check, failed, passed, skipped, warned
from kennel.conformance.findings import Finding
from kennel.conformance.serving_life import Variations, after_kills, bad_archives, memory, start_limit_s, stop_under_way
from kennel.conformance.serving_models import model_copy, multi_model_setup
from kennel.conformance.serving_multi_model import LABEL as MULTI_MODEL_LABEL
from kennel.conformance.serving_multi_model import multi_model_calls
from kennel.conformance.serving_probe import Answer, Load, Sample, put_under_load
from kennel.conformance.serving_request import sample_of
from kennel.conformance.serving_server import Launch, Server, Setup, private_network

BIND_TO_PORT_LABEL: Final = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"
_OTHER_PORT: Final = 8765
_OTHER_USER: Final = "12345:12345"
_IN_FLIGHT: Final = 8
_ROOTS: Final = ("", "root", "0", "root:root", "0:0", "0:root", "root:0")


@dataclass
class Main:
    """The container that most checks ask. strict: how it started at first, under conditions as hard as SageMaker's.

    eased: which of those had to be eased for `server` and `launch` to be good: "writable model", "network".
    """

    sample: Sample
    server: Server
    launch: Launch
    strict: Launch
    eased: tuple[str, ...] = ()

    @property
    def answers(self) -> bool:
        return self.launch.last is not None and self.launch.last.is_success

    @functools.cached_property
    def load(self) -> Load:
        return put_under_load(self.server.endpoint, self.sample)

    @functools.cached_property
    def judgement(self) -> requests.Judgement:
        return requests.send_bad_input(self.server, self.sample)

    @functools.cached_property
    def stopping(self) -> tuple[list[Answer], Finding]:
        return stop_under_way(self.server, self.sample, _IN_FLIGHT)


def main_of(subject: Subject) -> Main:
    """The container of most checks, started by whoever asks first."""
    if "serve.main" not in subject.shared:
        subject.shared["serve.main"] = _first_start(subject)
    main: Main = subject.shared["serve.main"]
    return main


def _first_start(subject: Subject) -> Main:
    """Under hard conditions; and where that does no good, under those eased one by one, to see which it was."""
    sample = sample_of(subject)
    hard = Setup(subject.model_folder)
    server = Server(subject, hard, name="main")
    strict = server.launch(sample)
    if strict.is_good or strict.is_loopback_only:
        return Main(sample, server, strict, strict)
    writable = replace(hard, model=model_copy(subject, "writable"), is_model_read_only=False)
    eased = {
        ("writable model", "network"): replace(writable, has_network=True),
        ("writable model",): writable,
        ("network",): replace(hard, has_network=True),
    }
    best: tuple[tuple[str, ...], Launch] = (), strict
    for names, setup in eased.items():
        server.discard("-".join(best[0]).replace(" ", "-") or "hard")
        server = Server(subject, setup, name="main-eased")
        launch = server.launch(sample)
        if len(names) == 2 and not launch.is_good:
            return Main(sample, server, strict, strict)  # it is neither of these
        if launch.is_good:
            best = names, launch
            if len(names) == 1:
                return Main(sample, server, launch, strict, names)
    server.discard("not-enough")
    server = Server(subject, eased["writable model", "network"], name="main-eased")
    return Main(sample, server, server.launch(sample), strict, ("writable model", "network"))


# --- start --------------------------------------------------------------------------------------------------------


@check("serve.starts", kind="serve")
def starts(subject: Subject) -> Finding:
    main = main_of(subject)
    limit_s = main.server.patience.start_s
    tried = f"/ping until it is 200; SageMaker gives up after {limit_s:g} s"
    if main.launch.is_loopback_only:
        finding = failed(
            tried,
            main.launch.why,
            "SageMaker cannot reach it: /ping fails until the endpoint does",
            "listen on 0.0.0.0, not on 127.0.0.1 or localhost",
        )
        return replace(finding, check="serve.interfaces")
    if main.launch.healthy_after_s is not None:
        return passed(tried, f"healthy {main.launch.healthy_after_s:.1f} s after its start")
    reason = main.server.reason_in_log()
    seen = main.launch.why if not reason or reason in main.launch.why else f"{main.launch.why}; its log: {reason}"
    remedy = "read its log (--logs DIR keeps it); load faster, or set ContainerStartupHealthCheckTimeoutInSeconds"
    if not any(subject.model_folder.iterdir()):
        remedy = f"it had no model: give its archive by --model; else {remedy}"
    return failed(
        tried, seen, "the endpoint ends as Failed: the primary container did not pass the ping health check", remedy
    )


@check("serve.interfaces", kind="serve", needs=("serve.starts",))
def interfaces(subject: Subject) -> Finding:
    server = main_of(subject).server
    return passed(
        "a connection from outside the container", f"it answers at {server.endpoint.host}:{server.setup.port}"
    )


@check("serve.network", kind="serve", needs=("serve.starts",))
def network(subject: Subject) -> Finding:
    tried = "start and requests in a network without a way out: no internet, no AWS, no credentials, no metadata"
    main = main_of(subject)
    if private_network(subject) is None:
        return skipped(tried, "containers' own addresses cannot be reached from this machine")
    if "network" not in main.eased:
        return passed(tried, "works")
    return failed(
        tried,
        _strictly(main),
        "with network isolation, or in a VPC without a way out, the endpoint fails; elsewhere, whenever that host does",
        "put what it downloads into the image or into model.tar.gz",
    )


@check("serve.read_only_model", kind="serve", needs=("serve.starts",))
def read_only_model(subject: Subject) -> Finding:
    tried = "/opt/ml/model mounted read-only"
    main = main_of(subject)
    if "writable model" not in main.eased:
        return passed(tried, "works")
    return failed(
        tried,
        _strictly(main),
        "SageMaker may mount the model read-only, and shares the folder between containers: the server fails",
        "write to /tmp, never to /opt/ml/model",
    )


def _strictly(main: Main) -> str:
    """What was seen before anything was eased."""
    strict = main.strict
    if strict.healthy_after_s is None:
        return strict.why
    return f"healthy, but then {strict.last or 'nothing'}: {strict.last.excerpt() if strict.last else ''}"


@check("serve.ready", kind="serve", needs=("serve.starts",))
def ready(subject: Subject) -> Finding:
    main = main_of(subject)
    launch, tried = main.launch, "a request right after the first healthy /ping"
    if launch.first is None or launch.last is None or not (main.answers or launch.first.is_refusal):
        return skipped(tried, "no request was answered at all")
    if launch.first.is_success or launch.first.is_refusal:
        return requests.readiness(launch.first, main.server.endpoint.invoke(main.sample))
    return failed(
        tried,
        f"{launch.first}: {launch.first.excerpt()}; answered {launch.last_after_s:.1f} s later",
        "SageMaker sends traffic to every new instance too early: deployments and scaling out fail clients' requests",
        "answer /ping with 503, or listen later, until the model has answered a request of your own",
    )


@check("serve.invocation", kind="serve", needs=("serve.starts",))
def invocation(subject: Subject) -> Finding:
    main = main_of(subject)
    sample, answer = main.sample, main.launch.last
    tried = f"POST /invocations, {sample.source}: {len(sample.body)} bytes of {sample.content_type}"
    if answer is None:
        return failed(tried, "not asked", "", "")
    seen = (
        f"{answer}: {answer.excerpt(80)}"
        if answer.status
        else f"{answer}{'; it ' + main.launch.why if main.launch.why else ''}"
    )
    if answer.is_success:
        return passed(tried, seen)
    how = "--request FILE --content-type TYPE, or the label dev.kennel.conformance with `request`"
    if answer.is_refusal and not subject.exercise.request:
        return skipped(tried, f"{seen}. Say what it takes: {how}")
    return failed(
        tried,
        seen,
        "the endpoint is InService and every request fails with ModelError",
        f"read the server's log (--logs DIR keeps it); if the model takes other requests, say so: {how}",
    )


# --- one container, many questions --------------------------------------------------------------------------------

_Question = Callable[[Main], Finding | Iterable[Finding]]


def ask(name: str) -> Callable[[_Question], _Question]:
    """Adds a check that needs a server which answers the sample; one that died of an earlier check is started again."""

    def add(question: _Question) -> _Question:
        def run(subject: Subject) -> Finding | Iterable[Finding]:
            main = main_of(subject)
            if not main.answers:
                return skipped("", "serve.invocation was skipped: no request is known that it answers")
            if (death := main.server.death()) and not main.server.revive():
                return skipped("", f"it {death}, and could not be started again")
            return question(main)

        check(name, kind="serve", needs=("serve.invocation",))(run)
        return question

    return add


ask("serve.response_type")(lambda main: requests.response_type(main.launch.last or Answer(None)))
ask("serve.get_invocations")(lambda main: requests.get_invocations(main.server.endpoint))
ask("serve.headers")(lambda main: requests.extra_headers(main.server.endpoint, main.sample))
ask("serve.type_parameters")(lambda main: requests.type_parameters(main.server.endpoint, main.sample))
ask("serve.accept")(lambda main: requests.unknown_accept(main.server.endpoint, main.sample))
ask("serve.ping_under_load")(lambda main: requests.ping_under_load(main.load))
ask("serve.connect")(lambda main: requests.connect(main.load))
ask("serve.concurrency")(lambda main: requests.concurrency(main.load))
ask("serve.same_answer")(lambda main: requests.same_answer(main.load))
ask("serve.bad_input")(lambda main: requests.refusals(main.judgement))
ask("serve.traceback")(lambda main: requests.no_traceback(main.judgement))
ask("serve.survives_bad_input")(lambda main: requests.survival(main.judgement))
ask("serve.payload")(lambda main: requests.payload(main.server, main.sample))
ask("serve.payload_over_limit")(lambda main: requests.payload_over_limit(main.server, main.sample))
ask("serve.memory")(lambda main: memory(main.server))


@ask("serve.sigterm")
def sigterm(main: Main) -> Finding:
    return main.stopping[1]


@check("serve.in_flight", kind="serve", needs=("serve.sigterm",))
def in_flight(subject: Subject) -> Finding:
    main = main_of(subject)
    tried = f"SIGTERM with {_IN_FLIGHT} requests under way"
    if not main.answers:
        return skipped(tried, "no request is known that it answers")
    answers = main.stopping[0]
    lost = [each for each in answers if not each.is_success]
    main.server.discard("stopped")
    if not lost:
        return passed(tried, f"{len(answers)} of {len(answers)} answered")
    return warned(
        tried,
        f"{len(answers) - len(lost)} of {len(answers)} answered; the first that was not: {lost[0]}",
        "clients lose requests when an endpoint is updated or scaled in",
        "on SIGTERM, take no new requests, finish those that came, and end then",
    )


# --- other surroundings -------------------------------------------------------------------------------------------

_BATCH: Final = {
    "SAGEMAKER_BATCH": "true",
    "SAGEMAKER_MAX_PAYLOAD_IN_MB": "6",
    "SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD",
    "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "2",
}


def variations_of(subject: Subject) -> Variations:
    """All surroundings at once in one container; one by one only where that is not healthy, to see which it was."""
    if "serve.variations" not in subject.shared:
        base = main_of(subject).server.setup
        changes: dict[str, Callable[[Setup], Setup]] = {
            "batch": lambda setup: replace(setup, environment={**setup.environment, **_BATCH}),
            "read_only_root": lambda setup: replace(setup, is_root_read_only=True),
        }
        if subject.labels.get(BIND_TO_PORT_LABEL) == "true":
            changes["bind_port"] = _at_other_port
        if runs_as_root(subject):
            changes["any_user"] = lambda setup: replace(setup, user=_OTHER_USER)
        subject.shared["serve.variations"] = Variations.try_out(
            subject, base, changes, main_of(subject).sample, limit_s=start_limit_s(main_of(subject).launch)
        )
    variations: Variations = subject.shared["serve.variations"]
    return variations


def _at_other_port(setup: Setup) -> Setup:
    environment = {"SAGEMAKER_BIND_TO_PORT": str(_OTHER_PORT), "SAGEMAKER_SAFE_PORT_RANGE": "21000-21999"}
    return replace(setup, port=_OTHER_PORT, environment={**setup.environment, **environment})


def runs_as_root(subject: Subject) -> bool:
    return (subject.config.get("User") or "") in _ROOTS


def vary(name: str) -> Callable[[Callable[[Subject, Variations], Finding]], None]:
    """Adds a check of surroundings; it needs a server that answers the sample in its usual ones."""

    def add(look: Callable[[Subject, Variations], Finding]) -> None:
        def run(subject: Subject) -> Finding:
            if not main_of(subject).answers:
                return skipped("", "no request is known that it answers")
            return look(subject, variations_of(subject))

        check(name, kind="serve", needs=("serve.invocation",))(run)

    return add


@vary("serve.bind_port")
def bind_port(subject: Subject, variations: Variations) -> Finding:
    tried = f"SAGEMAKER_BIND_TO_PORT={_OTHER_PORT}"
    if "bind_port" not in variations.launches:
        return skipped(tried, f"the label {BIND_TO_PORT_LABEL} does not promise it")
    launch = variations.launches["bind_port"]
    if launch.is_good:
        return passed(tried, f"answers at port {_OTHER_PORT}")
    return failed(
        tried,
        variations.outcome("bind_port"),
        f"the label {BIND_TO_PORT_LABEL} promises it: in a pipeline or multi-container endpoint it is never healthy",
        "listen on SAGEMAKER_BIND_TO_PORT where it is set, or take the label away",
    )


@vary("serve.batch")
def batch(subject: Subject, variations: Variations) -> Finding:
    tried = (
        "the environment of a batch transform (" + ", ".join(f"{key}={value}" for key, value in _BATCH.items()) + ")"
    )
    launch = variations.launches["batch"]
    if launch.is_good:
        return passed(tried, f"healthy, and a request: {launch.last}")
    return failed(
        tried,
        variations.outcome("batch"),
        "batch transform jobs fail",
        "pass over variables that the server does not know, and read these as they are documented",
    )


@vary("serve.execution_parameters")
def execution_parameters(subject: Subject, variations: Variations) -> Finding:
    tried = "GET /execution-parameters"
    if variations.server is None:
        return skipped(tried, "no server was healthy in the environment of a batch transform")
    answer = variations.server.endpoint.ask("GET", "/execution-parameters")
    fault = requests.execution_parameters_fault(answer)
    if not fault:
        return passed(tried, f"{answer}: {answer.excerpt()}" if answer.is_success else str(answer))
    return warned(
        tried,
        fault,
        "batch transform asks this first, and goes by the answer if it is one",
        'answer 404, or 200 with {"MaxConcurrentTransforms": 4, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6}',
    )


@vary("serve.read_only_root")
def read_only_root(subject: Subject, variations: Variations) -> Finding:
    tried = "the image's own files read-only, /tmp writable"
    if variations.launches["read_only_root"].is_good:
        return passed(tried, "works")
    return warned(
        tried,
        variations.outcome("read_only_root"),
        "SageMaker's own file system is writable; hardened platforms' are not, and what is written is lost anyway",
        "write to /tmp only",
    )


@vary("serve.any_user")
def any_user(subject: Subject, variations: Variations) -> Finding:
    if not runs_as_root(subject):
        return passed("USER of the image", f"{subject.config['User']}: it works without root")
    tried = f"user {_OTHER_USER}, which the image does not know"
    if variations.launches["any_user"].is_good:
        return passed(tried, "works")
    return warned(
        tried,
        variations.outcome("any_user"),
        "SageMaker runs it as root, as the image says: whoever breaks into the server owns the container",
        "set USER in the image, and let the server write to /tmp only",
    )


@vary("serve.killed_worker")
def killed_worker(subject: Subject, variations: Variations) -> Finding:
    if variations.server is None:
        return skipped("kill -9 of a worker", "no server was healthy in other surroundings")
    finding = after_kills(variations.server, main_of(subject).sample)
    variations.server.discard("killed")
    return finding


# --- other models -------------------------------------------------------------------------------------------------


@check("serve.bad_archive", kind="serve", needs=("serve.starts",))
def bad_archive(subject: Subject) -> Iterator[Finding]:
    """A server that is healthy without a model it can use makes a wrong deployment look like a right one."""
    main = main_of(subject)
    if not any(subject.model_folder.iterdir()):
        yield skipped("spoiled copies of the model", "no model was given (--model)")
        return
    yield from bad_archives(subject, main.server.setup, main.launch, main.sample if main.answers else None)


@check("serve.multi_model", kind="serve", needs=("serve.invocation",))
def multi_model(subject: Subject) -> Iterator[Finding]:
    main = main_of(subject)
    if subject.labels.get(MULTI_MODEL_LABEL) != "true":
        yield skipped("the calls of a multi-model endpoint", f"the label {MULTI_MODEL_LABEL} does not promise it")
        return
    if not main.answers:
        yield skipped("the calls of a multi-model endpoint", "no request is known that it answers")
        return
    setup, url, bad_url = multi_model_setup(subject, main.server.setup)
    server = Server(subject, setup, name="multi-model")
    launch = server.launch(None)
    if launch.healthy_after_s is None:
        yield failed(
            "SAGEMAKER_MULTI_MODEL=true without any model",
            launch.why,
            "the multi-model endpoint never becomes InService",
            "answer /ping with 200 before the first model is loaded",
        )
    else:
        yield from multi_model_calls(server.endpoint, main.sample, url=url, bad_url=bad_url)
    server.discard()
