"""`kennel conformance` on what needs no training: architecture, manifests, what an image holds; and its leftovers."""

import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest
from docker.errors import ImageNotFound

from kennel.conformance.checks import Selection
from kennel.conformance.containers import OWNER_LABEL, Containers, remove_remains
from kennel.conformance.findings import Verdict
from kennel.conformance.report import ImageReport
from kennel.conformance.run import Request, conform
from kennel.delivery.registry import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

BROKEN = Path(__file__).parent / "broken"
HEALTHY = "kennel-conformance-image-test:healthy"


@pytest.fixture(scope="module")
def healthy(docker_engine: docker.DockerClient, base_image: str) -> Iterator[str]:
    docker_engine.images.build(path=str(BROKEN / "healthy"), tag=HEALTHY, buildargs={"BASE_IMAGE": base_image})
    yield HEALTHY
    docker_engine.images.remove(HEALTHY, force=True)


@contextmanager
def built(engine: docker.DockerClient, *lines: str) -> Iterator[str]:
    """An image made from the healthy one by these lines of a Dockerfile."""
    name = f"kennel-conformance-image-test:{hashlib.sha256(repr(lines).encode()).hexdigest()[:12]}"
    text = "\n".join([f"FROM {HEALTHY}", *lines])
    engine.images.build(fileobj=io.BytesIO(text.encode()), tag=name, forcerm=True)
    try:
        yield name
    finally:
        engine.images.remove(name, force=True)


def examine(image: str, *, kind: str = "auto") -> ImageReport:
    request = Request(images=(image,), kind=kind, selection=Selection(only=("image",)))  # type: ignore[arg-type]
    (report,) = conform(request, progress=lambda _image, _finding: None)
    return report


def found(report: ImageReport, verdict: Verdict) -> dict[str, str]:
    return {finding.check: finding.seen for finding in report.findings if finding.verdict is verdict}


def test_an_arm_image_is_named_and_nothing_is_run(docker_engine: docker.DockerClient) -> None:
    name = "kennel-conformance-image-test:arm64"
    make_image(docker_engine, name, architecture="arm64")
    try:
        request = Request(images=(name,))
        (report,) = conform(request, progress=lambda _image, _finding: None)
    finally:
        docker_engine.images.remove(name, force=True)
    assert found(report, Verdict.FAIL) == {"image.architecture": "linux/arm64"}
    assert found(report, Verdict.SKIP)["train.completes"] == "image.architecture failed"


def make_image(engine: docker.DockerClient, name: str, *, architecture: str) -> None:
    """Loads an image of two files, `train` and its shell, as a build on another machine would have made it."""
    layer = archive_of({"usr/local/bin/train": b"#!/bin/sh\n", "bin/sh": b"\x7fELF"})
    layer_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer_id]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    engine.images.load(archive_of(files))


def archive_of(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


INDEX = {
    "schemaVersion": 2,
    "mediaType": OCI_INDEX,
    "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": "sha256:" + "1" * 64, "size": 1, "platform": {"os": "linux"}},
        {
            "mediaType": OCI_MANIFEST,
            "digest": "sha256:" + "2" * 64,
            "size": 1,
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        },
    ],
}
CONFIG = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}}).encode()
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": DOCKER_MANIFEST,
    "config": {"digest": "sha256:" + hashlib.sha256(CONFIG).hexdigest(), "size": len(CONFIG)},
    "layers": [],
}


@contextmanager
def registry_with(content: Mapping[str, object]) -> Iterator[str]:
    """The host of a registry on loopback that has this manifest under every name."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = CONFIG if "/blobs/" in self.path else json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", str(content["mediaType"]))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("content", "verdict", "words"),
    [
        (INDEX, Verdict.FAIL, "attestation"),
        ({**MANIFEST, "mediaType": OCI_MANIFEST}, Verdict.FAIL, OCI_MANIFEST),
        (MANIFEST, Verdict.PASS, DOCKER_MANIFEST),
    ],
    ids=["oci_index", "oci_manifest", "docker_manifest"],
)
def test_the_manifest_in_the_registry_decides(
    docker_engine: docker.DockerClient, healthy: str, content: Mapping[str, object], verdict: Verdict, words: str
) -> None:
    with registry_with(content) as host:
        name = f"{host}/team/trainer:1"
        docker_engine.images.get(healthy).tag(name)
        try:
            report = examine(name)
        finally:
            docker_engine.images.remove(name)
    assert words in found(report, verdict)["image.manifest"]
    assert set(found(report, Verdict.FAIL)) == ({"image.manifest"} if verdict is Verdict.FAIL else set())


def test_a_registry_that_is_out_of_reach_is_no_fault_of_the_image(
    docker_engine: docker.DockerClient, healthy: str
) -> None:
    name = "127.0.0.1:9/team/trainer:1"
    docker_engine.images.get(healthy).tag(name)
    try:
        report = examine(name)
    finally:
        docker_engine.images.remove(name)
    assert "does not answer" in found(report, Verdict.SKIP)["image.manifest"]


def test_what_its_owner_will_regret_is_warned_of_and_conforms(docker_engine: docker.DockerClient, healthy: str) -> None:
    lines = (
        "ENV DB_PASSWORD=abc",
        "STOPSIGNAL SIGINT",
        "RUN mkdir -p /opt/ml/model && echo x > /opt/ml/model/w && chmod 0600 /opt/program/trainer.py",
        "USER 1000",
        'ENTRYPOINT ["/usr/bin/env"]',
    )
    with built(docker_engine, *lines) as image:
        report = examine(image)
    assert report.is_passed, report.table()
    warnings = found(report, Verdict.WARN)
    assert set(warnings) == {"image.secrets", "image.stop_signal", "image.opt_ml", "image.user"}
    assert "DB_PASSWORD" in warnings["image.secrets"]
    assert warnings["image.stop_signal"] == "SIGINT"
    assert "/opt/ml/model/w" in warnings["image.opt_ml"]
    assert "/opt/program/trainer.py" in warnings["image.user"]
    assert "abc" not in report.table()


@pytest.mark.parametrize(
    ("lines", "check", "words"),
    [
        (["ENV AWS_SECRET_ACCESS_KEY=abc", "ENV X=:AKIAIOSFODNN7EXAMPLE"], "image.secrets", "AWS_SECRET_ACCESS_KEY, X"),
        (["RUN rm /usr/local/bin/train"], "image.words", "neither is in /usr/local/sbin"),
        (["RUN sed -i '1s/.*/#!\\/opt\\/python/' /usr/local/bin/train"], "image.interpreter", "/opt/python"),
        (["RUN sed -i '1d' /usr/local/bin/train"], "image.interpreter", "neither an ELF"),
        (
            ["RUN mv /usr/local/bin/train /root/train && chmod 700 /root", "ENV PATH=/root:$PATH", "USER 1000"],
            "image.executable",
            "/root/train",
        ),
    ],
)
def test_what_ends_a_container_at_its_start_is_the_only_fault_named(
    docker_engine: docker.DockerClient, healthy: str, lines: list[str], check: str, words: str
) -> None:
    with built(docker_engine, *lines) as image:
        report = examine(image)
    failures = found(report, Verdict.FAIL)
    assert set(failures) == {check}, report.table()
    assert words in failures[check]
    assert "AKIA" not in report.table()


def test_an_init_as_entrypoint_is_warned_of_where_the_word_is_found(
    docker_engine: docker.DockerClient, healthy: str
) -> None:
    init = "RUN cp /usr/bin/env /usr/bin/tini"
    with built(docker_engine, init, 'ENTRYPOINT ["/usr/bin/tini", "--"]') as image:
        assert "tini" in found(examine(image), Verdict.WARN)["image.entrypoint"]
    with built(docker_engine, init, "RUN rm /usr/local/bin/train", 'ENTRYPOINT ["/usr/bin/tini"]') as image:
        assert set(found(examine(image, kind="train"), Verdict.FAIL)) == {"image.words"}


def test_a_server_without_sagemakers_labels_is_warned_of(docker_engine: docker.DockerClient, healthy: str) -> None:
    with built(docker_engine, "RUN cp /usr/local/bin/train /usr/local/bin/serve") as image:
        report = examine(image)
        assert report.kinds == ("image", "serve", "train")
        assert "accept-bind-to-port, multi-models" in found(report, Verdict.WARN)["image.labels"]


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kennel.cli", "conformance", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores Ctrl-C, and so would what these tests start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_the_command_writes_json_and_junit_and_ends_with_its_verdict(healthy: str, tmp_path: Path) -> None:
    options = ("--only", "image.words", "--json", str(tmp_path / "a" / "r.json"), "--junit", str(tmp_path / "r.xml"))
    program = command(healthy, *options)
    output, errors = program.communicate(timeout=60)
    assert program.returncode == 0, errors
    assert f"{healthy} conforms (image+train): 1 pass" in output
    assert json.loads((tmp_path / "a" / "r.json").read_text())["passed"] is True
    assert 'name="image.words"' in (tmp_path / "r.xml").read_text()
    program = command(healthy, "--kind", "serve", "--only", "image.words")
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 1
    assert "remedy: install an executable named `serve` on PATH" in " ".join(output.split())
    program = command("kennel-conformance-image-test:absent")
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 2
    assert "There is no image 'kennel-conformance-image-test:absent' here" in errors


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_containers_do_not_outlive_the_command(
    docker_engine: docker.DockerClient, healthy: str, signum: signal.Signals
) -> None:
    """A killed command's are removed by the next one."""
    program = command(healthy, "-p", "epochs=400", "--only", "train.completes")
    try:
        wait_until(lambda: running_of(docker_engine, program.pid), "a training container runs")
        program.send_signal(signum)
        program.communicate(timeout=30)
        assert program.returncode == (130 if signum != signal.SIGKILL else -9)
        if signum == signal.SIGKILL:
            assert running_of(docker_engine, program.pid)
            remove_remains(docker_engine)
        assert not running_of(docker_engine, program.pid)
    finally:
        program.kill()
        program.communicate()
        remove_remains(docker_engine)


def test_networks_of_a_check_are_removed_with_their_containers(
    docker_engine: docker.DockerClient, healthy: str
) -> None:
    with Containers(docker_engine) as containers:
        network = containers.network()
        containers.start(healthy, ["sleep", "60"], network=network, hostname="algo-1")
        other = containers.start(healthy, ["getent", "hosts", "algo-1"], network=network, hostname="algo-2")
        assert other.wait(timeout_s=30).status == 0
    assert not docker_engine.networks.list(names=[network])
    with suppress(ImageNotFound):
        assert not [each for each in docker_engine.containers.list(all=True) if is_owned_by(each.labels, os.getpid())]


def running_of(engine: docker.DockerClient, pid: int) -> list[str]:
    """Running containers that belong to a process."""
    containers = engine.containers.list(filters={"label": OWNER_LABEL}, ignore_removed=True)
    return [each.id for each in containers if is_owned_by(each.labels, pid)]


def is_owned_by(labels: Mapping[str, str], pid: int) -> bool:
    return f"/{pid}/" in labels.get(OWNER_LABEL, "")


def wait_until(happens: object, what: str, *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not happens():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)


def test_what_containers_write_becomes_the_callers(
    docker_engine: docker.DockerClient, healthy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary user could not delete root's files."""
    caller = 12345
    (tmp_path / "deep").mkdir()
    with Containers(docker_engine) as containers:
        monkeypatch.setattr(os, "geteuid", lambda: caller)
        monkeypatch.setattr(os, "getegid", lambda: caller)
        containers.take_over(healthy, [tmp_path])
    assert {(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.rglob("*")} == {(caller, caller)}
