"""What `kennel build` asks docker for; docker itself is a stub here, and real in tests/images/test_build.py."""

import json
import stat
import subprocess
from pathlib import Path

import pytest

from kennel.delivery.build import (
    CHECKOUT,
    CPU_BASE,
    LIMIT_GB,
    BuildRequest,
    Image,
    Source,
    build,
    build_command,
    check_size,
    find_client,
    images_of,
    read_source,
)
from kennel.errors import KennelError, UserError
from kennel.metrics import metric_definitions

SOURCE = Source("1.2.3", "c0ffee", "false", "https://example.org/kennel", "2026-11-21T04:00:00+00:00")


def make_docker(folder: Path, *, version: str = "20.10.24", has_buildx: bool = False, answers: bool = True) -> Path:
    """A stub docker that writes each call to calls.txt beside it."""
    folder.mkdir(exist_ok=True)
    docker = folder / "docker"
    docker.write_text(
        f"""#!/bin/sh
printf '%s\\037' "$@" >> {folder}/calls.txt; echo >> {folder}/calls.txt
case "$1" in
--version) echo "Docker version {version}, build 1" ;;
buildx) exit {0 if has_buildx else 1} ;;
info) exit {0 if answers else 1} ;;
image) echo '[{{"Size": 5000000000}}]' ;;
esac
"""
    )
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    return docker


def build_calls(folder: Path) -> list[list[str]]:
    lines = (folder / "calls.txt").read_text().splitlines()
    return [words for line in lines if (words := line.split("\037")[:-1])[0] == "build"]


def build_arguments(command: list[str]) -> dict[str, str]:
    pairs = [command[i + 1] for i, word in enumerate(command) if word == "--build-arg"]
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (BuildRequest(), ["kennel-train:1.2.3", "kennel-serve:1.2.3"]),
        (BuildRequest(which="serve", tag="mine"), ["kennel-serve:mine"]),
        (BuildRequest(which="serve", is_cpu=True), ["kennel-serve:1.2.3-cpu"]),
        (BuildRequest(is_cpu=True, tag="mine"), ["kennel-serve:mine-cpu"]),
    ],
)
def test_images_are_named_for_their_variant_and_tag(request_: BuildRequest, names: list[str]) -> None:
    assert [image.name for image in images_of(request_, SOURCE)] == names


def test_a_training_image_without_cuda_is_refused() -> None:
    with pytest.raises(UserError, match="--cpu is for the serving image"):
        images_of(BuildRequest(which="train", is_cpu=True), SOURCE)


def test_the_client_is_the_first_with_buildkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_docker(tmp_path / "new-without-plugin", version="28.2.2")
    old = make_docker(tmp_path / "old")
    monkeypatch.setenv("PATH", f"{tmp_path}/new-without-plugin:{tmp_path}/old:/usr/bin:/bin")
    monkeypatch.delenv("DOCKER", raising=False)
    assert find_client() == str(old)
    monkeypatch.setenv("DOCKER", str(make_docker(tmp_path / "new", version="28.2.2", has_buildx=True)))
    assert find_client() == str(tmp_path / "new" / "docker")


def test_no_buildkit_and_no_engine_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER", str(make_docker(tmp_path / "a", version="28.2.2")))
    with pytest.raises(UserError, match="buildx plugin"):
        find_client()
    monkeypatch.setenv("DOCKER", str(make_docker(tmp_path / "b", answers=False)))
    with pytest.raises(UserError, match="Docker Engine does not answer"):
        find_client()


def test_with_buildx_the_image_is_no_index(tmp_path: Path) -> None:
    client = str(make_docker(tmp_path / "bin", version="28.2.2", has_buildx=True))
    command = build_command(client, Image("serve", "kennel-serve:1"), BuildRequest(), SOURCE, CHECKOUT)
    assert {"--provenance=false", "--sbom=false"} <= set(command)
    assert command[command.index("--platform") + 1] == "linux/amd64"


def test_the_cpu_image_is_built_without_torch_on_a_base_without_cuda(tmp_path: Path) -> None:
    client = str(make_docker(tmp_path / "bin"))
    image = Image("serve-cpu", "kennel-serve:1-cpu")
    arguments = build_arguments(build_command(client, image, BuildRequest(is_cpu=True), SOURCE, CHECKOUT))
    assert arguments["COMMON"] == "common-cpu"
    assert arguments["BASE_IMAGE"] == CPU_BASE
    given = BuildRequest(is_cpu=True, base_image="debian:bookworm")
    assert build_arguments(build_command(client, image, given, SOURCE, CHECKOUT))["BASE_IMAGE"] == "debian:bookworm"


def test_the_label_that_exercises_the_trainer_has_the_metrics_that_it_prints(tmp_path: Path) -> None:
    client = str(make_docker(tmp_path / "bin"))
    command = build_command(client, Image("train", "kennel-train:1"), BuildRequest(), SOURCE, CHECKOUT)
    assert json.loads(build_arguments(command)["CONFORMANCE"])["metric_definitions"] == metric_definitions()


def test_weights_go_into_a_copy_of_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER", str(make_docker(tmp_path / "bin")))
    weights = tmp_path / "resnet18-12345678.pth"
    weights.write_bytes(b"weights")
    before = sorted((CHECKOUT / "docker" / "weights").iterdir())
    build(BuildRequest(which="train", weights=(weights,), cache_from=("registry/kennel-train:cache",)))
    (call,) = build_calls(tmp_path / "bin")
    assert call[-1] != str(CHECKOUT) and not Path(call[-1]).exists()  # removed again
    assert len(build_arguments(call)["WEIGHTS_SHA256"]) == 64
    assert call[call.index("--cache-from") + 1] == "registry/kennel-train:cache"
    assert sorted((CHECKOUT / "docker" / "weights").iterdir()) == before


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (BuildRequest(weights=(Path("absent.pth"),)), "absent.pth: there is no such file"),
        (BuildRequest(weights=(Path(__file__),)), "test_build.py: expected .pth"),
    ],
)
def test_wrong_weights_are_refused_before_docker_is_asked(
    request_: BuildRequest, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER", str(make_docker(tmp_path / "bin")))
    with pytest.raises(UserError, match=message):
        build(request_)
    assert not (tmp_path / "bin" / "calls.txt").exists()


def test_an_image_above_its_limit_fails_the_build() -> None:
    assert check_size(Image("serve", "kennel-serve:1"), 5 * 10**9) == 5.0
    with pytest.raises(KennelError, match=rf"kennel-serve:1 has 9.00 GB, and {LIMIT_GB['serve']} GB is its limit"):
        check_size(Image("serve", "kennel-serve:1"), 9 * 10**9)


def test_a_failed_build_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = make_docker(tmp_path / "bin")
    docker.write_text(docker.read_text().replace("--version)", "build) exit 3 ;;\n--version)"))
    monkeypatch.setenv("DOCKER", str(docker))
    with pytest.raises(KennelError, match="failed with status 3"):
        build(BuildRequest(which="serve"))


def test_source_says_what_was_not_committed_and_no_password(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True)

    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "9"\n')
    assert read_source(tmp_path) == Source("9", "unknown", "unknown", "unknown", "unknown")
    git("init")
    git("add", "pyproject.toml")
    git("commit", "-m", "first")
    git("remote", "add", "origin", "https://me:secret@example.org/kennel.git")
    source = read_source(tmp_path)
    assert (source.dirty, source.origin, len(source.commit)) == ("false", "https://example.org/kennel.git", 40)
    assert source.created.startswith("20")
    assert read_source(tmp_path) == source
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "10"\n')
    assert read_source(tmp_path).dirty == "true"
