"""The bill of materials: what the inventory finds in a file system, and what becomes of it in CycloneDX."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from docker.errors import APIError, ImageNotFound

from kennel import cli
from kennel.delivery import sbom
from kennel.delivery.inventory import inventory
from kennel.errors import KennelError, UserError

SITE = "opt/kennel/venv/lib/python3.11/site-packages"
IMAGE_ID = f"sha256:{'ab' * 32}"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with a package of each kind."""
    root = tmp_path / "root"
    write(root / "etc/os-release", 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    write(
        root / SITE / "multi_model_server-1.1.11.dist-info/METADATA",
        "Metadata-Version: 2.4\nName: multi-model-server\nVersion: 1.1.11\nSummary: Serves\n"
        "License-Expression: Apache-2.0 AND MIT\n\nName: not-this\n",
    )
    write(
        root / SITE / "multi_model_server-1.1.11.dist-info/RECORD",
        "mms/frontend/model-server.jar,sha256=x,700\nmms/__init__.py,sha256=y,30\n"
        "multi_model_server-1.1.11.dist-info/RECORD,,\n",
    )
    write(root / SITE / "old.egg-info", "Name: old\nVersion: 3\nLicense: BSD\n")
    write(root / SITE / "unreadable-2.dist-info/other", "no METADATA")
    jar = root / SITE / "mms/frontend/model-server.jar"
    jar.parent.mkdir(parents=True)
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
        archive.writestr(
            "META-INF/io.netty.versions.properties",
            "netty-common.version=4.1.91.Final\nnetty-common.shortCommitHash=1\n",
        )
        archive.writestr("META-INF/maven/g/a/pom.properties", "#made\nversion=1.2\ngroupId=com.g\nartifactId=a\n")
    write(root / "usr/share/java/broken.jar", "no zip")
    write(
        root / "var/lib/dpkg/status",
        "Package: libc6\nStatus: install ok installed\nInstalled-Size: 13001\nArchitecture: amd64\n"
        "Source: glibc\nVersion: 2.36-9+deb12u14\nDescription: GNU C Library\n more\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n",
    )
    (root / "lib").symlink_to("usr/lib")
    return root


def test_the_inventory_finds_every_kind_of_package(root: Path) -> None:
    found = inventory(str(root))
    assert found["os"]["ID"] == "debian"
    assert [(each["name"], each["version"], each["bytes"]) for each in found["python"]] == [
        ("multi-model-server", "1.1.11", 730),
        ("old", "3", 0),
    ]
    assert found["python"][0]["path"] == f"/{SITE}/multi_model_server-1.1.11.dist-info"
    assert [each["Package"] for each in found["debian"]] == ["libc6"]
    jar, broken = found["jars"]
    assert (jar["name"], jar["version"], jar["part_of"]) == ("model-server", "1.1.11", "multi-model-server 1.1.11")
    assert jar["bundled"] == [
        {"group": "com.g", "name": "a", "version": "1.2"},
        {"group": "io.netty", "name": "netty-common", "version": "4.1.91.Final"},
    ]
    assert (broken["name"], broken["version"], broken["bundled"]) == ("broken", "", [])


def test_packages_of_an_image_without_dpkg_are_read_from_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2026a\nArchitecture: all\n")
    write(tmp_path / "var/lib/dpkg/status.d/tzdata.md5sums", "0  usr/share/zoneinfo/UTC\n")
    assert inventory(str(tmp_path))["debian"] == [{"Package": "tzdata", "Version": "2026a", "Architecture": "all"}]


def image(**changes: Any) -> sbom.Image:  # noqa: ANN401
    facts: dict[str, Any] = {
        "name": "127.0.0.1:5000/kennel-train:0.1.0",
        "image_id": IMAGE_ID,
        "created": "2026-11-21T04:32:33.406278979Z",
        "architecture": "amd64",
        "labels": {"org.opencontainers.image.revision": "47f1797"},
        "digests": (f"127.0.0.1:5000/kennel-train@sha256:{'cd' * 32}",),
        "layers": (f"sha256:{'01' * 32}",),
    }
    return sbom.Image(**facts | changes)


def test_the_bill_is_valid_cyclonedx_with_a_purl_for_every_package(root: Path) -> None:
    text = sbom.to_json(image(), inventory(str(root)))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert bill["specVersion"] == "1.6"
    components = {each["name"]: each for each in bill["components"]}
    assert components["multi-model-server"]["purl"] == "pkg:pypi/multi-model-server@1.1.11"
    assert components["multi-model-server"]["licenses"] == [{"expression": "Apache-2.0 AND MIT"}]
    assert components["libc6"]["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12"
    assert {"name": "dev.kennel:source", "value": "glibc"} in components["libc6"]["properties"]
    bundled = {each["purl"] for each in components["model-server"]["components"]}
    assert bundled == {"pkg:maven/com.g/a@1.2", "pkg:maven/io.netty/netty-common@4.1.91.Final"}
    assert "vulnerabilities" not in bill


def test_the_bill_names_the_image(root: Path) -> None:
    bill = json.loads(sbom.to_json(image(), inventory(str(root))))
    subject = bill["metadata"]["component"]
    assert (subject["type"], subject["name"], subject["version"]) == (
        "container",
        "127.0.0.1:5000/kennel-train",
        "0.1.0",
    )
    assert subject["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert bill["metadata"]["timestamp"] == "2026-11-21T04:32:33+00:00"
    values = {each["name"]: each["value"] for each in subject["properties"]}
    assert values["dev.kennel:image:label:org.opencontainers.image.revision"] == "47f1797"
    assert values["dev.kennel:image:created"] == "2026-11-21T04:32:33.406278979Z"
    assert values["dev.kennel:image:digest:0"].endswith("cd" * 32)


def test_the_same_image_gives_the_same_bill(root: Path) -> None:
    found = inventory(str(root))
    assert sbom.to_json(image(), found) == sbom.to_json(image(), found)
    other = sbom.to_json(image(image_id=f"sha256:{'ba' * 32}"), found)
    assert json.loads(other)["serialNumber"] != json.loads(sbom.to_json(image(), found))["serialNumber"]


@pytest.mark.parametrize("created", ["", "0001-01-01T00:00:00Z", "yesterday"])
def test_an_image_without_a_time_is_no_error(created: str, root: Path) -> None:
    text = sbom.to_json(image(created=created), inventory(str(root)))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kennel-train", ("kennel-train", IMAGE_ID)),
        ("127.0.0.1:5000/kennel-train", ("127.0.0.1:5000/kennel-train", IMAGE_ID)),
        (f"kennel-train@{IMAGE_ID}", ("kennel-train", IMAGE_ID)),
        ("team/kennel-train:1", ("team/kennel-train", "1")),
    ],
)
def test_a_name_is_split_at_its_tag(name: str, expected: tuple[str, str], root: Path) -> None:
    subject = json.loads(sbom.to_json(image(name=name), inventory(str(root))))["metadata"]["component"]
    assert (subject["name"], subject["version"]) == expected


@pytest.mark.parametrize(
    ("expression", "classifiers", "field", "expected"),
    [
        ("MIT", ["License :: OSI Approved :: BSD License"], "x", [{"expression": "MIT"}]),
        ("", ["License :: OSI Approved :: BSD License"], "x", [{"license": {"name": "BSD License"}}]),
        ("", [], "MIT", [{"license": {"id": "MIT"}}]),
        ("", [], "Copyright (c) 2005\nRedistribution and use", None),
        ("", [], "x" * 200, None),
        ("", [], "", None),
        (
            "",
            ["License :: OSI Approved :: A", "License :: OSI Approved :: B"],
            "",
            [{"license": {"name": "A"}}, {"license": {"name": "B"}}],
        ),
    ],
)
def test_a_licence_is_what_the_package_says_of_itself(
    root: Path, expression: str, classifiers: list[str], field: str, expected: list[dict[str, Any]] | None
) -> None:
    found = inventory(str(root))
    package = {"license_expression": expression, "license_classifiers": classifiers, "license": field}
    found["python"] = [found["python"][0] | package]
    text = sbom.to_json(image(), found)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = {each["name"]: each for each in json.loads(text)["components"]}
    assert components["multi-model-server"].get("licenses") == expected


class FakeContainer:
    def __init__(self, printed: str, status: int, *, starts: bool) -> None:
        self.printed, self.status, self.starts, self.removed = printed, status, starts, False

    def start(self) -> None:
        if not self.starts:
            raise APIError('exec: "python3": executable file not found in $PATH')

    def wait(self) -> dict[str, int]:
        return {"StatusCode": self.status}

    def logs(self, *, stdout: bool = True, stderr: bool = True) -> bytes:
        return self.printed.encode() if stdout else b"a complaint"

    def remove(self, *, force: bool) -> None:
        self.removed = force


class FakeEngine:
    """The little of a DockerClient that is asked; it stands for its collections too."""

    def __init__(self, printed: str = "{}", status: int = 0, *, starts: bool = True) -> None:
        self.containers = self.images = self
        self.container = FakeContainer(printed, status, starts=starts)
        self.asked: dict[str, Any] = {}

    def get(self, name: str) -> "FakeEngine":
        if name == "gone":
            raise ImageNotFound(name)
        self.attrs = {
            "Id": IMAGE_ID,
            "Created": "2026-11-21T04:32:33Z",
            "Architecture": "amd64",
            "Config": {"Labels": None},
            "RepoDigests": [],
            "RootFS": {"Layers": []},
        }
        return self

    def create(self, image_id: str, command: list[str], **options: Any) -> FakeContainer:  # noqa: ANN401
        self.asked = {"image": image_id, "command": command, **options}
        return self.container

    def close(self) -> None: ...


def test_the_image_is_read_without_network_and_without_a_writable_file() -> None:
    engine = FakeEngine('{"python": []}')
    assert sbom.list_files(engine, IMAGE_ID) == {"python": []}
    asked = engine.asked
    assert (asked["image"], asked["entrypoint"], asked["command"][:3]) == (IMAGE_ID, "python3", ["-I", "-S", "-c"])
    assert (asked["network_mode"], asked["read_only"], asked["cap_drop"]) == ("none", True, ["ALL"])
    assert engine.container.removed


@pytest.mark.parametrize(
    ("engine", "message"),
    [(FakeEngine(status=2), "ended with 2: a complaint"), (FakeEngine(starts=False), "it has no python3 to do it")],
)
def test_an_image_that_cannot_be_read_is_an_error_and_leaves_no_container(engine: FakeEngine, message: str) -> None:
    with pytest.raises(KennelError, match=message):
        sbom.list_files(engine, IMAGE_ID)
    assert engine.container.removed


def test_an_image_that_is_not_here_is_named() -> None:
    with pytest.raises(UserError, match="no image 'gone' on this machine"):
        sbom.read_image(FakeEngine(), "gone")


def test_the_command_writes_the_file_and_says_what_is_in_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = FakeEngine(json.dumps(inventory(str(root))))
    monkeypatch.setattr("docker.from_env", lambda **_: engine)
    output = tmp_path / "train.cdx.json"
    assert cli.main(["sbom", "kennel-train:0.1.0", "--output", str(output)]) == 0
    assert "2 Python packages, 1 packages of the distribution, 2 jars" in capsys.readouterr().out
    assert json.loads(output.read_text())["bomFormat"] == "CycloneDX"
