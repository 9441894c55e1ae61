"""The HTTP client of the serving checks against servers that misbehave."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from behaviour import Asked, Behaviour, Told

from kennel.conformance.serving_probe import HUNG_UP, REFUSED, Answer, Endpoint, Sample, put_under_load

SAMPLE = Sample(b"\xff\xd8 picture \xff\xd9", "image/jpeg")


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[[socket.socket], object]], Endpoint]]:
    """Starts a bare socket that deals with one connection in its own way."""
    threads: list[threading.Thread] = []

    def start(deal: Callable[[socket.socket], object]) -> Endpoint:
        server = socket.create_server(("127.0.0.1", 0))

        def run() -> None:
            with server:
                connection, _ = server.accept()
                with connection:
                    deal(connection)

        threads.append(thread := threading.Thread(target=run))
        thread.start()
        return Endpoint("127.0.0.1", server.getsockname()[1], timeout_s=5.0)

    yield start
    for thread in threads:
        thread.join()


def test_an_answer_has_its_status_headers_body_and_times(behave: Callable[[Behaviour], Endpoint]) -> None:
    asked: list[Asked] = []

    def slowly(request: Asked) -> Told:
        asked.append(request)
        time.sleep(0.05)
        return Told(headers={"Content-Type": "text/plain"}, body=b"Red")

    answer = behave(slowly).invoke(SAMPLE)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/plain", b"Red")
    assert answer.connect_s < 0.05 <= answer.answer_s
    assert (asked[0].headers["content-type"], asked[0].body) == ("image/jpeg", SAMPLE.body)


def test_a_refused_connection_is_an_answer_too() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    answer = Endpoint("127.0.0.1", port).ping()
    assert (answer.status, answer.fault) == (None, REFUSED)
    assert not answer.is_success
    assert not answer.is_refusal


def test_a_server_that_hangs_up_is_told_apart_from_one_that_hangs(
    listen: Callable[[Callable[[socket.socket], object]], Endpoint],
) -> None:
    assert listen(lambda connection: connection.recv(1000)).ping().fault == HUNG_UP
    released = threading.Event()
    hanging = listen(lambda connection: released.wait(5))
    assert hanging.ping(timeout_s=0.2).fault == "gave no answer within 0.2 s"
    released.set()


def test_what_is_not_http_is_said_to_be_so(listen: Callable[[Callable[[socket.socket], object]], Endpoint]) -> None:
    answer = listen(lambda connection: (connection.recv(1000), connection.sendall(b"hello\r\n\r\n"))).ping()
    assert "not HTTP" in answer.fault


def test_an_answer_before_the_body_was_read_is_read(
    listen: Callable[[Callable[[socket.socket], object]], Endpoint],
) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    answer = listen(refuse).ask("POST", "/invocations", b"x" * 5_000_000)
    assert (answer.status, answer.body) == (413, b"too much")


def test_on_sent_is_called_before_the_answer(behave: Callable[[Behaviour], Endpoint]) -> None:
    arrived, sent = threading.Event(), threading.Event()

    def wait(request: Asked) -> Told:
        arrived.set()
        return Told(200 if sent.wait(2) else 500)

    assert behave(wait).invoke(SAMPLE, on_sent=sent.set).status == 200
    assert arrived.is_set()


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        (b'Traceback (most recent call last):\n  File "a.py", line 3', True),
        (b'{"error": "  File \\"/opt/a.py\\", line 3, in f"}', True),
        (b"java.lang.NullPointerException\n\tat com.amazonaws.ml.mms.Main.run(Main.java:12)", True),
        (b'{"error": "Exception\\n\\tat com.amazonaws.ml.mms.Main.run(Main.java:12)"}', True),
        (b"    at Object.<anonymous> (/app/index.js:3:7)", True),
        (b'{"error": {"message": "The picture ends at line 3 of 40."}}', False),
        (b"look at example.com:8080", False),
    ],
)
def test_a_traceback_is_known_by_its_lines(body: bytes, is_one: bool) -> None:
    assert Answer(500, body=body).has_traceback is is_one


def test_a_traceback_may_stand_in_the_reason_phrase() -> None:
    assert Answer(500, reason='ValueError File "/opt/handler.py", line 9').has_traceback


def test_an_excerpt_is_one_short_line() -> None:
    assert Answer(200, body=b'{\n  "a": 1\n}').excerpt() == "'{ \"a\": 1 }'"
    assert len(Answer(200, body=b"x" * 10_000).excerpt(50)) < 60
    assert Answer(204).excerpt() == "no text"


def test_a_padded_sample_stays_what_it_is() -> None:
    assert Sample(b'{"a": 1}', "application/json").padded(12) == b'{"a": 1}    '
    assert Sample(b"\xff\xd8", "image/jpeg").padded(4) == b"\xff\xd8\0\0"


def test_pings_under_load_see_a_server_that_does_one_thing_at_a_time(behave: Callable[[Behaviour], Endpoint]) -> None:
    lock = threading.Lock()

    def one_at_a_time(request: Asked) -> Told:
        with lock:
            time.sleep(0.05 if request.is_invocation else 0)
            return Told()

    load = put_under_load(behave(one_at_a_time), SAMPLE, senders=4, seconds=0.3)
    assert len(load.answers) >= 4
    assert all(each.is_success for each in load.answers)
    assert load.slowest_ping.answer_s > 0.03
