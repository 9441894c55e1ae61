"""Small servers on loopback for the checks of serving to ask."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from behaviour import Asked, Behaviour

from kennel.conformance.serving_probe import Endpoint


class _Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        told = type(self).behaviour(Asked(self.command, self.path, headers, body))
        self.send_response(told.status)
        for name, value in told.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(told.body)))
        self.end_headers()
        self.wfile.write(told.body)

    do_GET = do_POST = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


@pytest.fixture
def behave() -> Iterator[Callable[[Behaviour], Endpoint]]:
    """Starts a server that answers as the behaviour says; ended with the test."""
    servers: list[_Server] = []

    def start(behaviour: Behaviour) -> Endpoint:
        handler = type("Handler", (_Handler,), {"behaviour": staticmethod(behaviour)})
        servers.append(server := _Server(("127.0.0.1", 0), handler))
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        return Endpoint("127.0.0.1", server.server_address[1], timeout_s=5.0)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
