"""Stands in for `serve` in tests of batch transform: answers JSON and CSV row by row, anything else with its own body.

What the first line of a body says is done: `status N`, `flaky N` (503, N times), `sleep S`, `die`. EXECUTION_PARAMETERS
in the environment is the answer to GET /execution-parameters, REFUSE_TO_START what to log before it ends.
"""

import http.server
import json
import os
import signal
import sys
import threading
import time

LOCK = threading.Lock()
SEEN = {"requests": 0, "now": 0, "most": 0}
TRIES: dict[bytes, int] = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parameters = os.environ.get("EXECUTION_PARAMETERS")
        if self.path == "/execution-parameters":
            self.reply(200 if parameters else 404, (parameters or "").encode())
        else:
            self.reply(200, b"")

    def do_POST(self) -> None:
        body = self.body()
        with LOCK:
            SEEN["requests"] += 1
            SEEN["now"] += 1
            SEEN["most"] = max(SEEN["most"], SEEN["now"])
        try:
            self.reply(*self.answer(body))
        finally:
            with LOCK:
                SEEN["now"] -= 1

    def answer(self, body: bytes) -> tuple[int, bytes]:
        kind = self.headers.get("Content-Type", "")
        word, _, value = body.partition(b"\n")[0].decode(errors="replace").partition(" ")
        if word == "die":
            print("ERROR the model went away", flush=True)
            os._exit(9)
        if word == "sleep":
            time.sleep(float(value))
        if word == "status":
            return int(value), b'{"error": "no picture"}\nsecond line'
        if word == "flaky":
            with LOCK:
                TRIES[body] = TRIES.get(body, 0) + 1
            return (503, b"busy") if TRIES[body] <= int(value) else (200, f"try {TRIES[body]}".encode())
        if kind == "x/look":
            told = {key: value for key, value in os.environ.items() if key.startswith(("SAGEMAKER_", "MINE"))}
            return 200, json.dumps({"environment": told, "headers": dict(self.headers), **SEEN}).encode()
        if kind.startswith("application/json"):
            lines = [json.dumps({"got": json.loads(line)}) for line in body.decode().splitlines()]
            return 200, "\n".join(lines).encode()
        if kind == "text/csv":
            sums = [sum(map(float, line.split(","))) for line in body.decode().splitlines()]
            return 200, "\n".join(map(str, sums)).encode()
        return 200, b"<" + body + b">"

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Pings are many."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(143))
    if "REFUSE_TO_START" in os.environ:
        sys.exit(os.environ["REFUSE_TO_START"])
    print("INFO serving", flush=True)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()


main()
