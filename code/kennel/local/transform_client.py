"""Sends a batch transform's requests to its server: over connections that stay open, again where that can help."""

import http.client
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from kennel.local.runners import Address
from kennel.local.transform_plan import Plan, read_parameters
from kennel.local.validation import Json

# SageMaker's rule for a health check; /execution-parameters is asked in the same way.
_PARAMETERS_S: Final = 2.0
_FIRST_PAUSE_S: Final = 0.25
# A server that is overloaded, or failed on this request; anything else it would answer alike again.
_PASSING: Final = (408, 429, 500, 502, 503, 504)
_MESSAGE: Final = 500

Body = bytes | Callable[[], Iterable[bytes]]


class Refused(Exception):
    """The server's answer is an error. status: HTTP's. message: the answer's body."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}"[:_MESSAGE])
        self.status = status
        self.message = message


class NoAnswer(Exception):
    """The server did not answer; the message says how."""


class Ended(Exception):
    """The job is being stopped, or its server is gone: nothing more is sent."""


@dataclass
class TransformClient:
    """The way to one server. is_ended: whether nothing more is to be sent. A connection for each thread that asks."""

    address: Address
    plan: Plan
    headers: dict[str, str]
    is_ended: Callable[[], bool]
    _own: threading.local = field(default_factory=threading.local)
    _open: list[http.client.HTTPConnection] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def invoke(self, body: Body) -> bytes:
        """The answer to one request. Raises Refused, NoAnswer, or Ended.

        body: a function makes the pieces of one that is sent in chunks, anew for each try.
        """
        pause_s = _FIRST_PAUSE_S
        for left in range(self.plan.retries, -1, -1):
            if self.is_ended():
                raise Ended
            try:
                return self._ask(body)
            except (Refused, NoAnswer) as error:
                if not left or (isinstance(error, Refused) and error.status not in _PASSING):
                    raise
            self._pause(pause_s)
            pause_s *= 4
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Closes the connections; a request that is under way ends with that."""
        with self._lock:
            for connection in self._open:
                connection.close()

    def _ask(self, body: Body) -> bytes:
        is_used = getattr(self._own, "connection", None) is not None
        try:
            return self._exchange(body)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            if not is_used:
                raise NoAnswer(f"the server did not answer ({error!r})") from error
        return self._ask(body)  # the server had closed the connection since the request before

    def _exchange(self, body: Body) -> bytes:
        connection = self._connection()
        try:
            self._send(connection, body)
            answer = connection.getresponse()
            content = answer.read()
        except TimeoutError as error:
            self._drop()
            raise NoAnswer(f"no answer within {self.plan.timeout_s} s (InvocationsTimeoutInSeconds)") from error
        if not 200 <= answer.status < 300:
            raise Refused(answer.status, content.decode(errors="replace"))
        return content

    def _send(self, connection: http.client.HTTPConnection, body: Body) -> None:
        try:
            if isinstance(body, bytes):
                connection.request("POST", "/invocations", body=body, headers=self.headers)
            else:
                chunked = {**self.headers, "Transfer-Encoding": "chunked"}
                connection.request("POST", "/invocations", body=body(), headers=chunked, encode_chunked=True)
        except (BrokenPipeError, ConnectionResetError):
            return  # the server may have answered already, that the body is too large

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=self.plan.timeout_s)
            self._own.connection = connection
            with self._lock:
                self._open.append(connection)
        return connection

    def _drop(self) -> None:
        connection = getattr(self._own, "connection", None)
        if connection is not None:
            connection.close()
            self._own.connection = None
            with self._lock:
                self._open.remove(connection)

    def _pause(self, seconds: float) -> None:
        waiting = threading.Event()
        while seconds > 0 and not self.is_ended():
            waiting.wait(min(seconds, 0.1))
            seconds -= 0.1


def ask_parameters(address: Address) -> Json:
    """What the server asks for at GET /execution-parameters; nothing if it does not say."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_PARAMETERS_S)
    try:
        connection.request("GET", "/execution-parameters")
        answer = connection.getresponse()
        return read_parameters(answer.read()) if answer.status == 200 else {}
    except (OSError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
