"""`kennel sbom` on images that Docker has built: one with a few packages, and one without a Python."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from kennel.delivery.sbom import report
from kennel.errors import KennelError

NAME, WITHOUT_PYTHON = "kennel-test-sbom:full", "kennel-test-sbom:without-python"
SITE = "/opt/kennel/venv/lib/python3.11/site-packages"
# A user who may not read it all, an entrypoint that would fail, and a sitecustomize that must not run.
DOCKERFILES = {
    NAME: f"""
FROM {{base}}
COPY tiny/METADATA {SITE}/tiny-1.0.dist-info/METADATA
RUN chmod 700 {SITE} && echo 'raise SystemExit("imported")' > /usr/lib/python3/dist-packages/sitecustomize.py
LABEL org.opencontainers.image.revision=47f1797
USER nobody
ENTRYPOINT ["false"]
""",
    WITHOUT_PYTHON: """
FROM {base}
RUN rm /usr/bin/python3
""",
}
METADATA = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nLicense-Expression: MIT\n"


def context(files: dict[str, str]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    stream.seek(0)
    return stream


@pytest.fixture(scope="module")
def images(docker_engine: docker.DockerClient, base_image: str) -> Iterator[docker.DockerClient]:
    for name, dockerfile in DOCKERFILES.items():
        sent = context({"Dockerfile": dockerfile.format(base=base_image), "tiny/METADATA": METADATA})
        docker_engine.images.build(fileobj=sent, custom_context=True, tag=name, rm=True, forcerm=True)
    yield docker_engine
    for name in DOCKERFILES:
        docker_engine.images.remove(name)


def containers(engine: docker.DockerClient) -> list[Any]:
    return [each.name for each in engine.containers.list(all=True, filters={"label": "dev.kennel.helper=sbom"})]


def dpkg_lists(engine: docker.DockerClient) -> set[str]:
    """The names of the installed packages, by the image's own dpkg."""
    container = engine.containers.create(NAME, ["-W", "-f", "${Package}\n"], entrypoint="dpkg-query")
    try:
        container.start()
        assert container.wait()["StatusCode"] == 0
        return set(container.logs().decode().split())
    finally:
        container.remove(force=True)


def test_the_bill_of_an_image_lists_its_packages(images: docker.DockerClient, tmp_path: Path) -> None:
    output = tmp_path / "bill.cdx.json"
    report(NAME, output)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(output.read_text()) is None
    bill = json.loads(output.read_text())
    packages = {each["name"]: each.get("purl", "") for each in bill["components"]}
    assert packages["tiny"] == "pkg:pypi/tiny@1.0"
    assert packages["bash"].startswith("pkg:deb/")
    of_distribution = {name for name, purl in packages.items() if purl.startswith("pkg:deb/")}
    assert of_distribution == dpkg_lists(images)
    subject = bill["metadata"]["component"]
    assert f"sha256:{subject['hashes'][0]['content']}" == images.images.get(NAME).id
    assert containers(images) == []


def test_an_image_without_python_is_said_so(images: docker.DockerClient, tmp_path: Path) -> None:
    with pytest.raises(KennelError, match="has no python3"):
        report(WITHOUT_PYTHON, tmp_path / "bill.json")
    assert not (tmp_path / "bill.json").exists()
    assert containers(images) == []
