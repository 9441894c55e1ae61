"""Stands in for `serve` where an endpoint is asked about photos: answers as Kennel's server does.

It says of a photo the label that is in model.txt, and of the model how many bytes came, as what, and how they begin.
"""

import http.server
import json
import os
import signal
from pathlib import Path

MODEL = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / "model" / "model.txt"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.reply(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        label = MODEL.read_text()
        first = {"label": label, "probability": 0.9}
        model = {"bytes": len(body), "type": self.headers.get("Content-Type"), "begin": body[:3].hex()}
        prediction = {**first, "abstain": False, "top_k": [first]}
        self.reply(json.dumps({"predictions": [prediction], "model": model}).encode())

    def reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Pings are many."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(143))
    print("INFO serving", flush=True)
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


main()
