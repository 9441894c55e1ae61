"""Stands in for `serve` in tests of the local SageMaker: answers with the model's text and what it was sent.

The model's Environment gives orders: REFUSE_TO_START (what to log), NEVER_HEALTHY, FAMILY (start escaping processes).
The content type of a request too: x/400, x/500, x/die, x/slow, x/headers, x/look, x/reach (HOST:PORT).
"""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

MODEL = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / "model" / "model.txt"
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.reply(503 if "NEVER_HEALTHY" in os.environ else 200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        order = self.headers.get("Content-Type", "")
        if order == "x/die":
            print("ERROR the model went away", flush=True)
            os._exit(9)
        if order == "x/slow":
            time.sleep(30)
        if order == "x/headers":
            self.reply(200, json.dumps(dict(self.headers)).encode())
        elif order == "x/look":
            self.reply(200, json.dumps(look()).encode())
        elif order == "x/reach":
            self.reply(200, json.dumps(reaches(*body.decode().split(":"))).encode())
        elif order in ("x/400", "x/500"):
            self.reply(int(order[2:]), b'{"error": "no picture"}')
        else:
            self.reply(200, MODEL.read_bytes() + b": " + body)

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        if ATTRIBUTES in self.headers:
            self.send_header(ATTRIBUTES, self.headers[ATTRIBUTES] + " seen")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Pings are many."""


def look() -> dict[str, object]:
    """What can be known of where this runs."""
    return {
        "environment": dict(os.environ),
        "user": os.getuid(),
        "read_only": bool(os.statvfs(MODEL.parent).f_flag & os.ST_RDONLY),
    }


def reaches(host: str, port: str) -> bool:
    """Whether somebody accepts a connection there."""
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(143))  # else ignored as a container's first process
    if "REFUSE_TO_START" in os.environ:
        print("INFO starting")
        sys.exit(os.environ["REFUSE_TO_START"])
    if "FAMILY" in os.environ:
        subprocess.Popen(["env", "-i", "/bin/sh", "-c", "setsid sleep 300 & exec sleep 300"])
    print("INFO serving", flush=True)
    (Path(os.environ.get("TMPDIR", "/tmp")) / "litter").touch()
    port = os.environ.get("SAGEMAKER_BIND_TO_PORT")
    address = ("127.0.0.1", int(port)) if port else ("0.0.0.0", 8080)  # noqa: S104  in a container
    http.server.ThreadingHTTPServer(address, Handler).serve_forever()


main()
