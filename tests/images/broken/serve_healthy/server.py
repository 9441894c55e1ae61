"""Answers JPEGs with one of the model's labels. A worker process computes; it is started again when it dies."""

import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODEL = Path("/opt/ml/model")
MAX_BODY_BYTES = 6_500_000
WORKER = "import sys\nfor line in sys.stdin:\n    print(int(line, 16) % 1009, flush=True)\n"


Reply = tuple[int, dict[str, Any]]  # status and content


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Worker:
    """Gives a number for a digest."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.start()

    def start(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", WORKER], stdin=pipe, stdout=pipe, text=True)

    def compute(self, digest: str) -> int:
        with self.lock:
            if answer := self.ask(digest):
                return int(answer)
            self.died()
            return int(self.ask(digest))

    def died(self) -> None:
        self.process.wait()
        self.start()

    def ask(self, digest: str) -> str:
        """An empty text if the worker is dead."""
        try:
            self.process.stdin.write(digest + "\n")
            self.process.stdin.flush()
            return self.process.stdout.readline()
        except BrokenPipeError:
            return ""


class App:
    """What is served. models: by name, the labels; the endpoint's only model has the name ""."""

    def __init__(self) -> None:
        self.models = {}
        self.worker = Worker()

    def start(self) -> None:
        if os.environ.get("SAGEMAKER_MULTI_MODEL") != "true":
            self.models[""] = self.load(MODEL)

    def load(self, folder: str | Path) -> list[str]:
        try:
            return json.loads((Path(folder) / "model.json").read_text())["labels"]
        except (OSError, ValueError) as error:
            raise Refused(400, f"The model in {folder} cannot be loaded: {error}") from error

    def ping(self) -> Reply:
        return 200, {}

    def invoke(self, name: str, body: bytes, content_type: str) -> Reply:
        labels = self.labels(name)
        if content_type.partition(";")[0] != "image/jpeg":
            raise Refused(415, "Expected image/jpeg.")
        self.check(body)
        return 200, {"label": labels[self.worker.compute(hashlib.sha256(body).hexdigest()) % len(labels)]}

    def labels(self, name: str) -> list[str]:
        if name not in self.models:
            raise Refused(404, f"No model {name}.")
        return self.models[name]

    def check(self, body: bytes) -> None:
        if not body.startswith(b"\xff\xd8") or b"\xff\xd9" not in body:
            raise Refused(400, "This is no whole JPEG.")

    def add(self, body: bytes) -> Reply:
        request = json.loads(body)
        if request["model_name"] in self.models:
            return self.loaded_already(request)
        self.models[request["model_name"]] = self.load(request["url"])
        return 200, {}

    def loaded_already(self, request: dict[str, str]) -> Reply:
        raise Refused(409, f"Model {request['model_name']} is loaded.")

    def listed(self) -> Reply:
        return 200, {"models": [{"modelName": name, "modelUrl": ""} for name in self.models]}

    def get(self, name: str) -> Reply:
        self.labels(name)
        return 200, {"modelName": name}

    def remove(self, name: str) -> Reply:
        self.labels(name)
        del self.models[name]
        return 200, {}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(self.route_get)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.answer(lambda: self.route_post(body))

    def do_DELETE(self) -> None:
        self.answer(lambda: self.server.app.remove(self.path.removeprefix("/models/")))

    def route_get(self) -> Reply:
        app, path = self.server.app, self.path
        if path == "/ping":
            return app.ping()
        if path == "/models":
            return app.listed()
        if path.startswith("/models/"):
            return app.get(path.removeprefix("/models/"))
        raise Refused(405 if path == "/invocations" else 404, path)

    def route_post(self, body: bytes) -> Reply:
        app, path = self.server.app, self.path
        if len(body) > MAX_BODY_BYTES:
            raise Refused(413, f"More than {MAX_BODY_BYTES} bytes.")
        if path == "/models":
            return app.add(body)
        if path != "/invocations" and not path.endswith("/invoke"):
            raise Refused(404, path)
        name = "" if path == "/invocations" else path.split("/")[2]
        return app.invoke(name, body, self.headers.get("Content-Type") or "")

    def answer(self, work: Callable[[], Reply]) -> None:
        try:
            status, content = work()
        except Refused as error:
            status, content = error.status, {"error": str(error)}
        except Exception as error:
            status, content = self.fault(error)
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def fault(self, error: Exception) -> Reply:
        return 500, {"error": "internal"}

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = False  # those under way are waited for


def stop_on_sigterm(server: http.server.HTTPServer) -> None:
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())


def address() -> tuple[str, int]:
    return "0.0.0.0", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))  # noqa: S104  as SageMaker wants it


def main(
    app_class: type[App] = App,
    server_class: type[http.server.HTTPServer] = Server,
    handler: type[Handler] = Handler,
) -> None:
    app = app_class()
    try:
        app.start()
    except Refused as error:
        sys.exit(f"ERROR {error}")
    server = server_class(address(), handler)
    server.app = app
    stop_on_sigterm(server)
    server.serve_forever(0.05)
    server.server_close()
