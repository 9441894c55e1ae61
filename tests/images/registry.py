"""A registry on loopback as ECR is one: Debian's docker-registry, entered with the token that moto's ECR gives.

Layers are in a folder of the test's own; the process is ended by its pid. Unlike ECR it makes repositories by itself
and lets a tag be moved: what Kennel refuses there, it must refuse by itself.
"""

import ctypes
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from moto.server import ThreadedMotoServer

from kennel.delivery.registry import Credentials

ACCOUNT = "123456789012"
TOKEN = f"{ACCOUNT}-auth-token"  # what moto's GetAuthorizationToken holds
USER = "AWS"


@dataclass(frozen=True)
class LocalRegistry:
    """host: 127.0.0.1:port, which Docker and Kennel speak plain http to."""

    host: str
    log: Path

    @property
    def credentials(self) -> Credentials:
        return Credentials(USER, TOKEN)

    @property
    def login(self) -> dict[str, str]:
        """The same for docker-py's auth_config."""
        return {"username": USER, "password": TOKEN}


@contextmanager
def running_registry(folder: Path) -> Iterator[LocalRegistry]:
    """A registry that stores under `folder`, with deletion allowed and a login asked for; gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(f"{USER}:{_bcrypt(TOKEN)}\n")
    port = _free_port()
    settings = folder / "config.json"  # YAML holds all of JSON
    settings.write_text(json.dumps(_settings(folder, port)))
    log = folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen([_program(), "serve", str(settings)], stdout=output, stderr=output)
    try:
        _wait(process, port, log)
        yield LocalRegistry(f"127.0.0.1:{port}", log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder / "storage", ignore_errors=True)  # gigabytes of layers


@contextmanager
def stand_in_for_aws() -> Iterator[str]:
    """The address of moto's server, empty at the start: what it holds is the whole process's, also after a stop."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"), timeout=30).close()
        yield url
    finally:
        server.stop()


def program() -> str | None:
    """Debian's docker-registry, where it is installed."""
    return shutil.which("docker-registry")


def store_manifest(engine: docker.DockerClient, image: str, reference: str, login: dict[str, str]) -> None:
    """Pushes an image of the engine as it is, as a test's starting point."""
    repository, _, tag = reference.rpartition(":")
    engine.images.get(image).tag(repository, tag)
    try:
        for line in engine.images.push(repository, tag=tag, auth_config=login, stream=True, decode=True):
            assert "error" not in line, line
    finally:
        engine.images.remove(reference, noprune=True)


def _program() -> str:
    found = program()
    assert found
    return found


def _settings(folder: Path, port: int) -> dict[str, object]:
    return {
        "version": 0.1,
        "log": {"accesslog": {"disabled": False}, "level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "one process needs none"},
        "auth": {"htpasswd": {"realm": "kennel-test", "path": str(folder / "htpasswd")}},
    }


def _bcrypt(password: str) -> str:
    """The only kind of password file docker-registry reads; libcrypt is on every Debian."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    hashed = crypt(password.encode(), b"$2b$05$abcdefghijklmnopqrstuu")
    assert hashed and hashed.startswith(b"$2b$"), "libcrypt knows no bcrypt"
    return str(hashed.decode())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=2).close()
        except urllib.error.HTTPError as error:
            error.close()
            assert error.code == 401, error
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"docker-registry is not up after 10 s:\n{log.read_text()}")
