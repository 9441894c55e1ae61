"""For tests of serving: the real `serve` as a process, on loopback, over a folder that stands for /opt/ml."""

import base64
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

SERVE = Path(sys.executable).with_name("serve")
# Importing torch takes 2 s on an idle machine and 20 s on a busy one.
START_DEADLINE_S = 120.0


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401
        return json.loads(self.body)


@dataclass
class Server:
    base: Path
    port: int
    process: "subprocess.Popen[bytes]"
    before_ready: set[int | str] = field(default_factory=set)

    @property
    def output(self) -> str:
        return (self.base / "out.txt").read_text()

    @property
    def errors(self) -> str:
        return (self.base / "err.txt").read_text()

    @property
    def temporary(self) -> list[Path]:
        return list((self.base / "tmp").iterdir())

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """`content_type="image/png"` is the header Content-Type; http.client adds none of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        names = {name.replace("_", "-").title(): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, names)
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def invoke(self, body: bytes, **headers: str) -> Reply:
        return self.request("POST", "/invocations", body, **headers)

    def wait_until_ready(self) -> "Server":
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            assert self.process.poll() is None, f"serve ended with {self.process.returncode}: {self.errors}"
            assert time.monotonic() < deadline, f"not ready in {START_DEADLINE_S} s: {self.errors}"
            try:
                status: int | str = self.request("GET", "/ping").status
            except ConnectionRefusedError:
                status = "refused"
            if status == 200:
                break
            self.before_ready.add(status)
            time.sleep(0.02)
        while "ready: " not in self.output:
            assert time.monotonic() < deadline, self.errors
            time.sleep(0.02)
        return self

    def family(self) -> list[psutil.Process]:
        """serve, java, its stand-in for the workers' parent, the workers' parent, and the workers, in this order."""
        serve = psutil.Process(self.process.pid)
        java, parent = sorted(serve.children(), key=lambda child: "java" not in child.name())
        (standin,) = (child for child in java.children() if runs(child, "model_service_worker.py"))
        return [serve, java, standin, parent, *parent.children()]

    def wait_for_worker(self) -> psutil.Process:
        """The process that loads the model, as soon as there is one."""
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            assert time.monotonic() < deadline, self.errors
            for child in psutil.Process(self.process.pid).children():
                if runs(child, "kennel.serving.worker"):
                    return child
            time.sleep(0.02)

    def end(self) -> int:
        return self.process.wait(60)


def runs(process: psutil.Process, program: str) -> bool:
    """Whether a process is one of `program`; there are short-lived others (`java -version`, a look at the metrics)."""
    try:
        return any(program in argument for argument in process.cmdline())
    except psutil.Error:
        return False


def free_port() -> int:
    """Of those multi-model-server takes: below 32,767, where the kernel gives none by itself."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise OSError("a hundred ports are in use")


def start_server(base: Path, **environ: str) -> Server:
    port = free_port()
    (base / "tmp").mkdir(exist_ok=True)
    settings = {
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MODEL_SERVER_WORKERS": "2",
        "KENNEL_LOOPBACK": "1",
        "TMPDIR": str(base / "tmp"),
    }
    inherited = dict(os.environ)
    inherited.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # with it, every one of these servers would compile torch's modules anew
    with open(base / "out.txt", "wb") as out, open(base / "err.txt", "wb") as err:
        process = subprocess.Popen([SERVE], env=inherited | settings | environ, stdout=out, stderr=err, cwd=base)
    return Server(base, port, process)


def stop_server(server: Server) -> None:
    """Whatever a test did: nothing is left."""
    if server.process.poll() is None:
        server.process.terminate()
        try:
            server.process.wait(30)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()


def as_json(**content: Any) -> bytes:  # noqa: ANN401
    return json.dumps(content).encode()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wait_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []
