import socket
from collections.abc import Iterator

import pytest

from kennel.errors import KennelError
from kennel.images.decode import decode_image
from kennel.serving.pulse import PulseReader
from kennel.serving.vitals import Vitals


class Beats(PulseReader):
    """A pulse that the test sets."""

    def __init__(self) -> None:
        self.at = 1

    @property
    def last_beat(self) -> int:
        return self.at


@pytest.fixture
def port() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        yield listener


def make(port: socket.socket, beats: Beats) -> Vitals:
    return Vitals(beats, port.getsockname()[1], timeout_s=60)


def test_a_server_that_is_asked_is_never_asked_by_us(port: socket.socket) -> None:
    beats = Beats()
    server = make(port, beats)
    for beats.at in range(2, 100):
        server.look()
    with pytest.raises(TimeoutError):
        port.accept()


def test_one_picture_waits_at_a_time_and_is_one(port: socket.socket) -> None:
    server = make(port, Beats())
    for _ in range(5):
        server.look()
    canary, _ = port.accept()
    head, _, body = canary.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /invocations HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert decode_image(body, name="canary").size == (1, 1)
    with pytest.raises(TimeoutError):
        port.accept()
    canary.close()
    server.close()


def test_a_picture_that_got_an_error_is_sent_again(port: socket.socket) -> None:
    server = make(port, Beats())
    server.look()
    first, _ = port.accept()
    first.sendall(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    first.close()
    server.look()
    second, _ = port.accept()
    second.close()
    server.close()


def test_a_server_is_given_up_when_nothing_was_answered_for_long(port: socket.socket) -> None:
    beats = Beats()
    server = make(port, beats)
    for _ in range(18):
        server.look()
    beats.at = 2  # one answer, and it has all the time again
    for _ in range(19):
        server.look()
    with pytest.raises(KennelError, match="No request was answered for 180 s"):
        server.look()
    server.close()


def test_a_port_that_is_gone_counts_as_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    server = Vitals(Beats(), closed, timeout_s=1)
    for _ in range(7):
        server.look()
    with pytest.raises(KennelError, match="No request was answered for 70 s"):
        server.look()
