"""The real `serve` where torch cannot be imported, from its first process to an answered request."""

import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from served_archive import LABELS, golden, make_archive, picture

SERVE = Path(sys.executable).with_name("serve")
START_DEADLINE_S = 120.0
# Every Python process of the server imports this at its start; an attempt to import torch is an error then, and told.
BLOCKED = """import sys
sys.modules["torch"] = sys.modules["torchvision"] = None
"""


@dataclass
class Server:
    base: Path
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def output(self) -> str:
        return (self.base / "out.txt").read_text()

    @property
    def errors(self) -> str:
        return (self.base / "err.txt").read_text()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while "ready: " not in self.output:
            assert self.process.poll() is None, self.errors
            assert time.monotonic() < deadline, self.errors
            time.sleep(0.02)

    def invoke(self, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", "/invocations", body, {"Content-Type": "image/png"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def free_port() -> int:
    """Of those multi-model-server takes: below 32,767, where the kernel gives none by itself."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise OSError("a hundred ports are in use")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for /opt/ml, with an archive, and what blocks torch."""
    base = tmp_path_factory.mktemp("ml")
    make_archive(base / "model")
    for name in ("tmp", "home", "blocked"):
        (base / name).mkdir()
    (base / "blocked" / "sitecustomize.py").write_text(BLOCKED)
    return base


def start(base: Path, **environ: str) -> Server:
    port = free_port()
    settings = {
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MODEL_SERVER_WORKERS": "2",
        "KENNEL_LOOPBACK": "1",
        "TMPDIR": str(base / "tmp"),
        "HOME": str(base / "home"),
        "PYTHONPATH": str(base / "blocked"),
    }
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "KENNEL_ENGINE")}
    with open(base / "out.txt", "wb") as out, open(base / "err.txt", "wb") as err:
        process = subprocess.Popen([SERVE], env=inherited | settings | environ, stdout=out, stderr=err, cwd=base)
    return Server(base, port, process)


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[Server]:
    server = start(base)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.process.terminate()
        server.process.wait(30)


def test_a_server_without_torch_says_what_it_computes_with(server: Server) -> None:
    assert "engine=onnxruntime backbone=resnet18 classes=3 golden=2 workers=2/2" in server.output
    assert server.errors == ""


def test_a_server_without_torch_gives_the_probabilities_that_torch_wrote(server: Server) -> None:
    data, expected = golden(server.base / "model")[0]
    for _ in range(4):  # whichever worker it is
        status, body = server.invoke(data)
        found = {each["label"]: each["probability"] for each in json.loads(body)["predictions"][0]["top_k"]}
        assert (status, [found[label] for label in LABELS]) == (200, pytest.approx(expected, abs=1e-5))
    assert server.invoke(b"hello")[0] == 400


def test_a_server_without_torch_leaves_nothing_in_the_home_folder(server: Server) -> None:
    """Where ONNX Runtime would keep an identifier of the machine, and the reports it has not sent yet."""
    assert server.invoke(picture())[0] == 200
    assert list((server.base / "home").rglob("*")) == []


def test_torch_that_is_asked_for_and_not_there_is_said_at_once(base: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(base / "model")
    (tmp_path / "tmp").mkdir()
    refused = start(tmp_path, KENNEL_ENGINE="torch", PYTHONPATH=str(base / "blocked"))
    assert refused.process.wait(60) == 2
    assert refused.errors.startswith("ERROR UserError: KENNEL_ENGINE is 'torch', but torch and torchvision is not")


def test_a_backbone_that_only_torch_has_is_refused_with_the_remedy(base: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    shutil.copytree(base / "model", tmp_path / "model")
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    (tmp_path / "model" / "model.json").write_text(json.dumps(card | {"backbone": "vgg11"}))
    refused = start(tmp_path, PYTHONPATH=str(base / "blocked"))
    assert refused.process.wait(START_DEADLINE_S) == 4
    last = refused.errors.splitlines()[-1]
    assert last.startswith("ERROR ArchiveError: ")
    assert "ONNX Runtime cannot serve backbone vgg11 here; it can serve resnet18, " in last
    assert "Serve it where torch is installed" in last
