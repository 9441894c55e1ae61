import base64
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from kennel.delivery import registry as registries
from kennel.delivery.registry import (
    ACCEPT,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Credentials,
    Manifest,
    Reference,
    Registry,
    RegistryError,
    accepted_by_sagemaker,
    docker_credentials,
    fetch_manifest,
    is_loopback,
)
from kennel.errors import UserError


class FakeRegistry(ThreadingHTTPServer):
    """Stores documents by path, asks for the login it is told to, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.host = f"127.0.0.1:{self.server_port}"
        self.stored: dict[str, tuple[str, bytes]] = {}
        self.challenge = ""
        self.admits: set[str] = set()
        self.seen: list[tuple[str, str, str]] = []  # method, path, Authorization
        self.accept = ""

    def store(self, repository: str, name: str, manifest: dict, *, config: dict | None = None) -> str:
        """Stores a manifest (with its configuration) under a tag and its digest; returns the digest."""
        if config is not None:
            blob = json.dumps(config).encode()
            manifest = {**manifest, "config": {"digest": _digest(blob), "size": len(blob)}}
            self.stored[f"/v2/{repository}/blobs/{_digest(blob)}"] = ("application/octet-stream", blob)
        content = json.dumps(manifest).encode()
        for reference in (name, _digest(content)):
            self.stored[f"/v2/{repository}/manifests/{reference}"] = (manifest["mediaType"], content)
        return _digest(content)


class Answers(BaseHTTPRequestHandler):
    server: FakeRegistry

    def do_GET(self) -> None:
        path, sent = urlsplit(self.path), self.headers.get("Authorization", "")
        self.server.seen.append((self.command, self.path, sent))
        if path.path == "/token":
            basic = "Basic " + base64.b64encode(b"me:secret").decode()
            status, body = (200, {"token": "t0k3n"}) if sent == basic else (401, {"errors": [{"code": "NO"}]})
            return self._answer(status, "application/json", json.dumps(body).encode())
        if self.server.challenge and sent not in self.server.admits:
            return self._answer(401, "text/plain", b"", {"WWW-Authenticate": self.server.challenge})
        self.server.accept = self.headers.get("Accept", "")
        kind, content = self.server.stored.get(path.path, ("", b""))
        if kind == "redirect":
            return self._answer(307, "text/plain", b"", {"Location": content.decode()})
        return self._answer(200 if kind else 404, kind or "text/plain", content)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.seen.append(("POST", self.path, form["refresh_token"][0]))
        self._answer(200, "application/json", b'{"access_token": "t0k3n"}')

    def _answer(self, status: int, kind: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def no_docker_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Docker's configuration folder of the test's own, empty."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()
    return tmp_path / "docker"


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    server = FakeRegistry()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


IMAGE = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": [{"digest": "sha256:" + "a" * 64, "size": 90}]}
CONFIG = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ["sha256:" + "b" * 64]}}


def test_a_manifest_comes_with_its_digest_its_configuration_and_the_size_of_its_layers(fake: FakeRegistry) -> None:
    digest = fake.store("team/dogs", "7", IMAGE, config=CONFIG)
    manifest = fetch_manifest(f"{fake.host}/team/dogs:7")
    assert (manifest.media_type, manifest.digest, manifest.config) == (DOCKER_MANIFEST, digest, CONFIG)
    assert manifest.layer_sizes == {"sha256:" + "b" * 64: 90}
    assert manifest.stored_bytes == 90 + len(json.dumps(CONFIG))
    assert fetch_manifest(f"{fake.host}/team/dogs@{digest}").digest == digest


def test_every_kind_of_manifest_is_asked_for_so_that_the_registry_converts_none(fake: FakeRegistry) -> None:
    fake.store("dogs", "7", {"mediaType": OCI_INDEX, "manifests": []})
    assert fetch_manifest(f"{fake.host}/dogs:7").media_type == OCI_INDEX
    assert fake.accept == ACCEPT
    assert {DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX} <= set(ACCEPT.split(", "))


def test_an_oci_manifest_may_leave_its_type_to_the_header(fake: FakeRegistry) -> None:
    fake.stored["/v2/dogs/manifests/7"] = (OCI_MANIFEST + "; charset=utf-8", b'{"schemaVersion": 2}')
    assert fetch_manifest(f"{fake.host}/dogs:7").media_type == OCI_MANIFEST


def test_a_missing_image_is_the_callers_fault(fake: FakeRegistry) -> None:
    with pytest.raises(UserError, match="dogs:7 is not in the registry"):
        fetch_manifest(f"{fake.host}/dogs:7")


def test_content_that_does_not_match_its_digest_is_refused(fake: FakeRegistry) -> None:
    digest = fake.store("dogs", "7", IMAGE, config=CONFIG)
    fake.stored[f"/v2/dogs/manifests/{digest}"] = (DOCKER_MANIFEST, b'{"other": 1}')
    with pytest.raises(RegistryError, match="answered with the content of sha256:"):
        fetch_manifest(f"{fake.host}/dogs@{digest}")


def test_a_password_of_docker_login_is_used(fake: FakeRegistry, no_docker_login: Path) -> None:
    fake.store("dogs", "7", IMAGE, config=CONFIG)
    entry = base64.b64encode(b"me:secret").decode()
    fake.challenge, fake.admits = 'Basic realm="here"', {f"Basic {entry}"}
    with pytest.raises(UserError, match=f"denies access to 'dogs'.*docker login {fake.host}"):
        fetch_manifest(f"{fake.host}/dogs:7")
    (no_docker_login / "config.json").write_text(json.dumps({"auths": {fake.host: {"auth": entry}}}))
    assert fetch_manifest(f"{fake.host}/dogs:7").config == CONFIG


def test_a_password_of_a_credential_helper_is_used(
    fake: FakeRegistry, no_docker_login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.store("dogs", "7", IMAGE, config=CONFIG)
    fake.challenge, fake.admits = 'Basic realm="here"', {"Basic " + base64.b64encode(b"me:secret").decode()}
    helper = no_docker_login / "docker-credential-kennel-test"
    helper.write_text('#!/bin/sh\ncat >/dev/null\necho \'{"ServerURL": "x", "Username": "me", "Secret": "secret"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(no_docker_login), prepend=os.pathsep)
    (no_docker_login / "config.json").write_text(json.dumps({"credHelpers": {fake.host: "kennel-test"}}))
    assert fetch_manifest(f"{fake.host}/dogs:7").config == CONFIG


def test_a_credential_helper_that_is_missing_is_named(no_docker_login: Path) -> None:
    (no_docker_login / "config.json").write_text('{"credHelpers": {"somewhere.example": "not-installed"}}')
    with pytest.raises(UserError, match="docker-credential-not-installed"):
        docker_credentials("somewhere.example")


@pytest.mark.parametrize("login", [Credentials("me", "secret"), Credentials(identity_token="refresh")])
def test_a_bearer_token_is_fetched_where_the_registry_says(fake: FakeRegistry, login: Credentials) -> None:
    fake.store("dogs", "7", IMAGE, config=CONFIG)
    fake.challenge = f'Bearer realm="http://{fake.host}/token",service="here",scope="repository:dogs:pull"'
    fake.admits = {"Bearer t0k3n"}
    assert fetch_manifest(f"{fake.host}/dogs:7", credentials=login).config == CONFIG
    asked = [path for _, path, _ in fake.seen if path.startswith("/token")]
    assert len(asked) == 1, "one token serves the manifest and the configuration"
    if login.password:
        assert parse_qs(urlsplit(asked[0]).query) == {"service": ["here"], "scope": ["repository:dogs:pull"]}


def test_a_password_is_never_sent_to_a_realm_without_https(fake: FakeRegistry) -> None:
    fake.challenge = 'Bearer realm="http://elsewhere.example/token"'
    with pytest.raises(RegistryError, match="'http://elsewhere.example/token', which is not https"):
        fetch_manifest(f"{fake.host}/dogs:7", credentials=Credentials("me", "secret"))


def test_a_login_is_not_sent_on_to_where_the_blobs_are(fake: FakeRegistry) -> None:
    """ECR answers a blob with a redirect to S3, which refuses a second authorization."""
    entry = "Basic " + base64.b64encode(b"me:secret").decode()
    fake.challenge, fake.admits = 'Basic realm="here"', {entry, ""}
    fake.store("dogs", "7", IMAGE, config=CONFIG)
    blob = next(path for path in fake.stored if "/blobs/" in path)
    fake.stored["/bucket"] = fake.stored[blob]
    fake.stored[blob] = ("redirect", f"http://localhost:{fake.server_port}/bucket".encode())
    fake.admits = {entry}
    with pytest.raises(UserError):  # localhost is another host than 127.0.0.1: the login stays behind
        fetch_manifest(f"{fake.host}/dogs:7", credentials=Credentials("me", "secret"))
    assert ("GET", "/bucket", "") in fake.seen


def test_a_registry_that_does_not_answer_is_named() -> None:
    with pytest.raises(RegistryError, match=r"Registry 127\.0\.0\.1:1 does not answer"):
        fetch_manifest("127.0.0.1:1/dogs:7")


def test_an_answer_that_is_no_json_is_named(fake: FakeRegistry) -> None:
    fake.stored["/v2/dogs/manifests/7"] = (DOCKER_MANIFEST, b"<html>")
    with pytest.raises(RegistryError, match="the manifest of .* is no JSON"):
        fetch_manifest(f"{fake.host}/dogs:7")


def test_a_deleted_manifest_must_have_been_there(fake: FakeRegistry) -> None:
    with pytest.raises(RegistryError, match="was not there to delete|Unsupported method"):
        Registry(fake.host).delete(Reference.parse(f"{fake.host}/dogs:7"), "sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("dogs", ("docker.io", "library/dogs", "latest", None)),
        ("team/dogs:7", ("docker.io", "team/dogs", "7", None)),
        ("localhost/dogs", ("localhost", "dogs", "latest", None)),
        ("127.0.0.1:5000/dogs:7", ("127.0.0.1:5000", "dogs", "7", None)),
        ("r.example/a/b__c@sha256:" + "0" * 64, ("r.example", "a/b__c", None, "sha256:" + "0" * 64)),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text: str, parts: tuple[str, str, str | None, str | None]) -> None:
    read = Reference.parse(text)
    assert (read.registry, read.repository, read.tag, read.digest) == parts


@pytest.mark.parametrize("text", ["", "Dogs", "r.example/", "r.example/dogs:", "r.example/dogs@sha256:12", "a b"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no image reference"):
        Reference.parse(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:5000", True),
        ("localhost", True),
        ("[::1]:5000", True),
        ("127.evil.example", False),
        ("10.0.0.1", False),
    ],
)
def test_plain_http_is_for_this_machine_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def _stored(kind: str, **content: object) -> Manifest:
    return Manifest("r.example/dogs:7", kind, "sha256:" + "0" * 64, dict(content))


def test_sagemaker_takes_dockers_own_manifest() -> None:
    assert accepted_by_sagemaker(_stored(DOCKER_MANIFEST)) is None


def test_an_attestation_in_an_index_is_named_with_the_option_that_leaves_it_out() -> None:
    reason = accepted_by_sagemaker(
        _stored(
            OCI_INDEX,
            manifests=[
                {"platform": {"os": "linux", "architecture": "amd64"}},
                {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
            ],
        )
    )
    assert reason is not None
    assert "2 manifests (linux/amd64, attestation)" in reason
    assert "--provenance=false" in reason


@pytest.mark.parametrize("kind", [OCI_MANIFEST, DOCKER_LIST, registries.DOCKER_SCHEMA_1, ""])
def test_every_other_manifest_is_refused_with_the_remedy(kind: str) -> None:
    reason = accepted_by_sagemaker(_stored(kind))
    assert reason is not None
    assert "oci-mediatypes=false" in reason


def test_a_password_is_not_in_the_credentials_printed_form() -> None:
    assert "secret" not in repr(Credentials("me", "secret", "secret"))
