"""docker/bundle_weights.py, which runs while the training image is built."""

import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "bundle_weights.py"
CONTENT = b"weights of a network"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def run(tmp_path: Path, *, url: str = "", sha256: str = "") -> subprocess.CompletedProcess[str]:
    (tmp_path / "context").mkdir(exist_ok=True)
    command = [sys.executable, SCRIPT, tmp_path / "context", tmp_path / "target", "--url", url, "--sha256", sha256]
    return subprocess.run(command, capture_output=True, text=True)


def give(tmp_path: Path, name: str) -> None:
    (tmp_path / "context").mkdir(exist_ok=True)
    (tmp_path / "context" / name).write_bytes(CONTENT)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a folder that has resnet18.pth."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "resnet18.pth").write_bytes(CONTENT)
    handler = partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


def test_without_weights_the_folder_is_made_and_empty(tmp_path: Path) -> None:
    give(tmp_path, "README.md")
    assert run(tmp_path).returncode == 0
    assert list((tmp_path / "target").iterdir()) == []


def test_given_weights_are_copied_and_checked(tmp_path: Path) -> None:
    give(tmp_path, "resnet18.pth")
    done = run(tmp_path, sha256=SHA256)
    assert (done.returncode, done.stdout) == (0, "bundled resnet18.pth, 20 bytes\n")
    assert (tmp_path / "target" / "resnet18.pth").read_bytes() == CONTENT


def test_other_weights_than_those_meant_are_refused(tmp_path: Path) -> None:
    give(tmp_path, "resnet18.pth")
    done = run(tmp_path, sha256="0" * 64)
    assert done.returncode == 1
    assert f"resnet18.pth has SHA-256 {SHA256}, and WEIGHTS_SHA256 says 000" in done.stderr


def test_weights_are_fetched_by_their_digest(tmp_path: Path, server: str) -> None:
    assert run(tmp_path, url=f"{server}/resnet18.pth", sha256=SHA256).returncode == 0
    assert (tmp_path / "target" / "resnet18.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "sha256", "message"),
    [
        ("/resnet18.pth", "", "needs WEIGHTS_SHA256"),
        ("/resnet18.pth", "0" * 64, "has SHA-256"),
        ("/absent.pth", SHA256, "404"),
        ("/page.html", SHA256, "expected an http"),
    ],
)
def test_a_fetch_that_cannot_be_trusted_fails(
    tmp_path: Path, server: str, path: str, sha256: str, message: str
) -> None:
    done = run(tmp_path, url=server + path, sha256=sha256)
    assert done.returncode == 1
    assert message in done.stderr
