"""The HTTP side of a multi-model server: SageMaker's contract for multi-model endpoints, on one port.

    GET    /ping                    200 from when models can be loaded
    POST   /models                  {"model_name": "...", "url": "/opt/ml/models/<hash>/model"}
                                    200 loaded and proved on its golden predictions; 409 already loaded;
                                    404 there is no such folder; 400 it holds no model that can be served;
                                    507 memory does not suffice
    GET    /models                  {"models": [{"modelName", "modelUrl"}], "nextPageToken"}; ?next_page_token=, ?limit=
    GET    /models/{name}           404 where it is not loaded
    DELETE /models/{name}           returns when its processes and their memory are gone
    POST   /models/{name}/invoke    what POST /invocations is to a server with one model

Every error is JSON with a reason, as everywhere in kennel.serving. There is no /execution-parameters (404): batch
transform takes a container with one model.

    python -m kennel.serving.gateway FOLDER     (FOLDER: kennel.serving.frontend.private_folder)

**Why not multi-model-server's own API for this.** It has the calls and most of the codes (1.1.11, measured). But why a
model could not be loaded never leaves it ("Failed to start workers"), a model whose process was killed stays listed
while its requests hang for ever, and it starts a Python for each model, which imports everything anew (2 s, and 240 MB
that are not shared, with torch). So something would have to stand before it and something behind it, and what is left
between the two, a queue for each model, is less than the Java it takes. With one model it is in its place.
"""

import os
import re
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import loads
from pathlib import Path
from select import select
from socket import SHUT_RD, SHUT_WR, socket
from socketserver import TCPServer
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from kennel.serving.frontend import GATEWAY_LIFELINE
from kennel.serving.lifeline import LifelineWriter, Ready
from kennel.serving.models import DRAIN_S, Model, Models, Refusal
from kennel.serving.reply import Reply, error_reply, json_reply
from kennel.serving.settings import ServerSettings, read_settings

# A client may pause as long within a request. Between requests it may pause for ever.
_PAUSE_S: Final = 60.0
_PAGE: Final = 100
# SageMaker sends hashes. More would have to be quoted in paths and logs, and nobody asks for it.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@+-]{0,255}")
_DISCARD_BYTES: Final = 100 * 2**20


def main(folder: Path) -> None:
    """Serves until SIGTERM, then answers what is under way."""
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # for all threads: `sigwait` takes them
    settings = read_settings()
    lifeline = LifelineWriter(folder / GATEWAY_LIFELINE)
    with Gateway(settings, Models(folder, settings)) as gateway:
        threading.Thread(target=gateway.serve_forever, args=(0.05,), daemon=True).start()
        lifeline.tell(Ready())
        signal.sigwait(stops)
        gateway.drain()
    sys.stdout.flush()
    os._exit(0)  # threads that still wait for a client are of no use


class Gateway(ThreadingHTTPServer):
    """A thread for each connection; models do their work in other processes."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, settings: ServerSettings, models: Models) -> None:
        self.settings = settings
        self.models = models
        self.is_draining = False
        self._changed = threading.Condition()
        self._open: set[socket] = set()
        self._busy: set[socket] = set()
        super().__init__((settings.address, settings.port), _Connection)

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of the host's name, which takes seconds where there is no name service."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.settings.address, self.settings.port

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that broke is the client's business."""

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as socketserver has it
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401  as socketserver has it
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def asked(self, connection: socket) -> None:
        """A request has begun on the connection."""
        with self._changed:
            self._busy.add(connection)

    def answered(self, connection: socket) -> None:
        with self._changed:
            self._busy.discard(connection)

    def drain(self) -> None:
        """Takes no further connections, and returns when the requests that are here were answered."""
        self.is_draining = True
        self.shutdown()
        while select([self.socket], [], [], 0)[0]:
            self.handle_request()  # who is connected already
        self.socket.close()
        with self._changed:
            for connection in self._open - self._busy:
                with suppress(OSError):  # gone meanwhile
                    connection.shutdown(SHUT_RD)  # what it has sent is still read and answered
            self._changed.wait_for(lambda: not self._open, DRAIN_S)


class _Connection(BaseHTTPRequestHandler):
    """The requests of one client, one after the other."""

    server: Gateway
    protocol_version = "HTTP/1.1"
    server_version = "kennel"
    sys_version = ""
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        """From the first line on, a request counts as being here."""
        self.server.asked(self.connection)
        self.connection.settimeout(_PAUSE_S)
        return super().parse_request()

    def handle_one_request(self) -> None:
        self.connection.settimeout(None)
        try:
            super().handle_one_request()
        finally:
            self.server.answered(self.connection)
        if self.server.is_draining:
            self.close_connection = True

    def handle_expect_100(self) -> bool:
        """Says at once that a body is too large, before it was sent."""
        length = self.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > self.server.settings.max_request_bytes:
            self.close_connection = True
            self._send(_refused(self._too_large()))
            return False
        return super().handle_expect_100()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself objects to: a request that is none."""
        self.close_connection = True
        self._send(error_reply(code, "bad_request", f"{message or HTTPStatus(code).phrase}."))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401  as http.server has it
        """Nothing for requests, as with one model."""

    def _answer(self) -> None:
        try:
            body = self._body()
            reply = self._reply(body)
        except Refusal as refusal:
            reply = _refused(refusal)
        except (ConnectionError, TimeoutError):
            raise
        except Exception:
            fault_id = uuid.uuid4().hex[:12]
            print(f"ERROR {fault_id} {traceback.format_exc()}", file=sys.stderr, flush=True)
            reply = error_reply(500, "internal_error", f"The server failed. Its log has the reason: {fault_id}.")
        self._send(reply)
        if reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and self.close_connection:
            self._discard()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815  http.server's names

    def _reply(self, body: bytes) -> Reply:
        url = urlsplit(self.path)
        match [unquote(part) for part in url.path.split("/")[1:]]:
            case ["ping"]:
                self._allow("GET", "HEAD")
                return json_reply({"status": "Healthy", "models": len(self.server.models)})
            case ["models"]:
                self._allow("GET", "POST")
                return self._load(body) if self.command == "POST" else self._list(parse_qs(url.query))
            case ["models", name]:
                self._allow("GET", "DELETE")
                return self._unload(name) if self.command == "DELETE" else self._describe(name)
            case ["models", name, "invoke"]:
                self._allow("POST")
                return self.server.models.get(name).answer(dict(self.headers.items()), body)
            case ["invocations"]:
                message = (
                    "This server has many models. Send POST /models/<name>/invoke (SAGEMAKER_MULTI_MODEL is true)."
                )
                raise Refusal(HTTPStatus.NOT_FOUND, "multi_model", message)
        raise Refusal(HTTPStatus.NOT_FOUND, "not_found", f"There is no {url.path!a:.200}.")

    def _load(self, body: bytes) -> Reply:
        name, url = _order(body)
        model = self.server.models.load(name, url)
        more = {"model": model.description, "golden": model.golden, "load_s": round(model.load_s, 3)}
        return json_reply({"status": "loaded", **_entry(model), **more})

    def _list(self, query: Mapping[str, list[str]]) -> Reply:
        limit = query.get("limit", [str(_PAGE)])[0]
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= _PAGE:
            raise Refusal(HTTPStatus.BAD_REQUEST, "bad_limit", f"limit is {limit!a:.100}. Expected 1 to {_PAGE}.")
        page = self.server.models.page(int(limit), query.get("next_page_token", [None])[0])
        token = {} if page.next_token is None else {"nextPageToken": page.next_token}
        return json_reply({"models": [_entry(model) for model in page.models], **token})

    def _describe(self, name: str) -> Reply:
        model = self.server.models.get(name)
        return json_reply({**_entry(model), "model": model.description, "golden": model.golden})

    def _unload(self, name: str) -> Reply:
        self.server.models.unload(name)
        return json_reply({"status": "unloaded", "modelName": name})

    def _allow(self, *methods: str) -> None:
        if self.command not in methods:
            raise Refusal(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "method_not_allowed",
                f"{self.command} is not for {self.path!a:.200}. Expected {' or '.join(methods)}.",
            )

    def _body(self) -> bytes:
        """The request's body, whole. Raises Refusal; then the connection is of no more use."""
        lengths, encodings = self.headers.get_all("Content-Length", []), self.headers.get_all("Transfer-Encoding", [])
        self.close_connection, closes = True, self.close_connection
        if encodings:
            if lengths or [each.strip().lower() for each in encodings] != ["chunked"]:
                raise _bad_framing("Transfer-Encoding other than chunked, or together with Content-Length")
            body = b"".join(self._chunks())
        else:
            text = lengths[0].strip() if lengths else "0"
            if len(set(lengths)) > 1 or not text.isascii() or not text.isdigit():
                raise _bad_framing(f"Content-Length {', '.join(lengths)!a:.100}")
            if int(text) > self.server.settings.max_request_bytes:
                raise self._too_large()
            body = self._read(int(text))
        self.close_connection = closes
        return body

    def _chunks(self) -> Any:  # noqa: ANN401  an iterator of bytes
        total = 0
        while True:
            digits = self.rfile.readline(1024).partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", digits):
                raise _bad_framing("a chunk without a size")
            size = int(digits, 16)
            total += size
            if total > self.server.settings.max_request_bytes:
                raise self._too_large()
            if size == 0:
                break
            yield self._read(size)
            self.rfile.readline(3)
        while self.rfile.readline(65536).strip():
            pass  # trailers

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("The client hung up within its request.")
        return data

    def _discard(self) -> None:
        """Reads what is still on its way for a moment: to hang up on it would take the answer away, too."""
        deadline = time.monotonic() + 2.0
        self.connection.shutdown(SHUT_WR)
        self.connection.settimeout(1.0)
        left = _DISCARD_BYTES
        while left > 0 and time.monotonic() < deadline and (data := self.connection.recv(65536)):
            left -= len(data)

    def _too_large(self) -> Refusal:
        limit = self.server.settings.max_request_bytes
        return Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_many_bytes",
            f"The body is larger than the limit of {limit} bytes (SAGEMAKER_MAX_PAYLOAD_IN_MB).",
        )

    def _send(self, reply: Reply) -> None:
        """Status, headers and body in one write."""
        close = self.close_connection or self.server.is_draining
        head = (
            f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
            f"Content-Type: {reply.content_type}\r\nContent-Length: {len(reply.body)}\r\n"
            f"{'Connection: close' if close else 'Connection: keep-alive'}\r\n\r\n"
        )
        self.wfile.write(head.encode("latin-1") + (b"" if self.command == "HEAD" else reply.body))


def _order(body: bytes) -> tuple[str, str]:
    """model_name and url of POST /models. Raises Refusal."""
    expected = 'Expected {"model_name": "...", "url": "/opt/ml/models/<hash>/model"}.'
    try:
        content = loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid_json", f"The body is not JSON. {expected}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), str) for key in ("model_name", "url")):
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid_request", expected)
    name, url = content["model_name"], content["url"]
    if not _NAME.fullmatch(name):
        message = f"model_name is {name!a:.200}. Expected 1 to 256 of A-Z a-z 0-9 . _ = @ + -, a letter or digit first."
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid_name", message)
    if not url or "\0" in url:
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad_url", f"url is {url!a:.200}. {expected}")
    return name, url


def _entry(model: Model) -> dict[str, str]:
    return {"modelName": model.name, "modelUrl": model.url}


def _refused(refusal: Refusal) -> Reply:
    return error_reply(refusal.status, refusal.code, str(refusal))


def _bad_framing(what: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad_request", f"The request has {what}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
