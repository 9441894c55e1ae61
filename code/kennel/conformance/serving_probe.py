"""Asks a server over HTTP as SageMaker does, and says what came: an answer with its times, or why there was none.

Nothing here raises for what a server does; a refused connection or a hang is an Answer too.
Exercise it: pytest tests/unit/conformance/test_serving_probe.py
"""

import http.client
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

REFUSED: Final = "refused the connection"
HUNG_UP: Final = "closed the connection without an answer"
# What Python, Java and JavaScript print when an exception was let through, also inside a JSON string.
_TRACEBACK: Final = re.compile(
    rb'Traceback \(most recent call last\)|File \\?"[^"\n]+", line \d+'
    rb"|(?:\b|\\t)at [\w.$]+\([\w.]+:\d+\)|\bat .*\.js:\d+:\d+"
)


@dataclass(frozen=True)
class Answer:
    """What came of one request.

    status: of HTTP; None if no answer came, and then `fault` says why. reason: the words beside the status.
    headers: names in lower case. connect_s: until the connection was accepted; answer_s: from then to the last byte.
    """

    status: int | None
    fault: str = ""
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    connect_s: float = 0.0
    answer_s: float = 0.0

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_refusal(self) -> bool:
        """The client was told that it is at fault."""
        return self.status is not None and 400 <= self.status < 500

    @property
    def has_traceback(self) -> bool:
        return bool(_TRACEBACK.search(self.body) or _TRACEBACK.search(self.reason.encode()))

    def __str__(self) -> str:
        outcome = str(self.status) if self.status is not None else self.fault
        return f"{outcome} after {self.answer_s:.2f} s"

    def excerpt(self, length: int = 100) -> str:
        """The beginning of the body on one line, quoted, for a person."""
        text = " ".join(self.body[: 4 * length].decode("utf-8", "replace").split())
        return repr(text if len(text) <= length else text[:length] + "...") if text else "no text"


@dataclass(frozen=True)
class Sample:
    """A request that the server should be able to answer. source: where it came from, for messages."""

    body: bytes
    content_type: str
    accept: str = ""
    source: str = "the given request"

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": self.content_type} | ({"Accept": self.accept} if self.accept else {})

    def padded(self, size_bytes: int) -> bytes:
        """The body with as many bytes behind it as make up `size_bytes`, which most readers of its type pass over."""
        is_text = any(mark in self.content_type for mark in ("json", "text", "csv", "xml"))
        return self.body + (b" " if is_text else b"\0") * (size_bytes - len(self.body))


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens. timeout_s: how long it is waited for at each step of a request."""

    host: str
    port: int
    timeout_s: float = 60.0

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        on_sent: Callable[[], object] = lambda: None,
    ) -> Answer:
        """One request on a connection of its own. on_sent is called when all of it is on its way."""
        timeout_s = timeout_s or self.timeout_s
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        started = time.perf_counter()
        connected = None
        try:
            connection.connect()
            connected = time.perf_counter()
            _send(connection, method, path, body, headers or {})
            on_sent()
            response = connection.getresponse()
            received = response.read()
        except (OSError, http.client.HTTPException) as error:
            ended = time.perf_counter()
            fault = _fault(error, timeout_s, was_connected=connected is not None)
            return Answer(None, fault, connect_s=(connected or ended) - started, answer_s=ended - (connected or ended))
        finally:
            connection.close()
        return Answer(
            response.status,
            reason=response.reason,
            headers={name.lower(): value for name, value in response.getheaders()},
            body=received,
            connect_s=connected - started,
            answer_s=time.perf_counter() - connected,
        )

    def ping(self, timeout_s: float = 2.0) -> Answer:
        """GET /ping, with SageMaker's patience."""
        return self.ask("GET", "/ping", timeout_s=timeout_s)

    def invoke(
        self, sample: Sample, *, path: str = "/invocations", on_sent: Callable[[], object] = lambda: None
    ) -> Answer:
        """The sample, sent to /invocations."""
        return self.ask("POST", path, sample.body, headers=sample.headers, on_sent=on_sent)


def _send(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> None:
    """Sends a request. A server may answer before it has read all, and close: then the answer is there to be read."""
    try:
        connection.request(method, path, body, dict(headers))
    except (BrokenPipeError, ConnectionResetError):
        return


def _fault(error: Exception, timeout_s: float, *, was_connected: bool) -> str:
    """Why there is no answer, as the rest of a sentence that begins with "the server"."""
    match error:
        case ConnectionRefusedError():
            return REFUSED
        case TimeoutError():
            return f"{'gave no answer' if was_connected else 'accepted no connection'} within {timeout_s:g} s"
        case ConnectionResetError() | BrokenPipeError() | http.client.RemoteDisconnected():
            return HUNG_UP
        case http.client.HTTPException():
            return f"answered what is not HTTP or not whole ({type(error).__name__})"
        case _:
            return f"could not be asked ({error})"


@dataclass(frozen=True)
class Load:
    """What came of many requests at once, and of /ping meanwhile. answers: in the order of sending, roughly."""

    answers: tuple[Answer, ...]
    pings: tuple[Answer, ...]
    senders: int
    seconds: float

    @property
    def slowest_ping(self) -> Answer:
        """A ping without an answer if there is one, or else the slowest."""
        return max(self.pings, key=lambda each: (not each.is_success, each.answer_s))


def put_under_load(
    endpoint: Endpoint, sample: Sample, *, senders: int = 8, seconds: float = 2.0, ping_timeout_s: float = 5.0
) -> Load:
    """`senders` requests at a time for `seconds` and until the last is answered; meanwhile ten pings a second.

    The pings wait longer than SageMaker does, so that it can be said how slow they are.
    """
    started = time.perf_counter()
    finished = threading.Event()

    def send() -> list[Answer]:
        answers = [endpoint.invoke(sample)]
        while time.perf_counter() - started < seconds:
            answers.append(endpoint.invoke(sample))
        return answers

    def ping() -> list[Answer]:
        pings: list[Answer] = []
        while not finished.wait(0.1) or not pings:
            pings.append(endpoint.ping(ping_timeout_s))
        return pings

    with ThreadPoolExecutor(senders + 1) as pool:
        pinging = pool.submit(ping)
        sending = [pool.submit(send) for _ in range(senders)]
        answers = [answer for each in sending for answer in each.result()]
        finished.set()
        return Load(tuple(answers), tuple(pinging.result()), senders, time.perf_counter() - started)
