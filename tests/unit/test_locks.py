"""The locks in docker/requirements/ hold what pyproject.toml asks for, once, with hashes."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = sorted((REPOSITORY / "docker" / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
# Lock files that are installed together -> what they hold.
EXTRAS_OF = {
    ("dev",): tuple(PROJECT["optional-dependencies"]),
    ("local",): ("torch", "train", "serve", "launch"),
    ("common", "train"): ("torch", "train"),
    ("common", "serve"): ("torch", "serve", "java"),
    ("common-cpu", "serve"): ("onnx", "serve", "java"),
    ("java",): ("java",),
}


def pins(lock: Path) -> dict[str, set[str]]:
    """Package name -> versions (more than one where Python 3.11 and 3.12 differ)."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", lock.read_text(), flags=re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def wanted(extras: tuple[str, ...]) -> list[Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize(("locks", "extras"), EXTRAS_OF.items(), ids=str)
def test_locks_satisfy_what_pyproject_asks_for(locks: tuple[str, ...], extras: tuple[str, ...]) -> None:
    held: dict[str, set[str]] = {}
    for lock in locks:
        held |= pins(REPOSITORY / "docker" / "requirements" / f"{lock}.txt")
    for requirement in (
        wanted(extras) if locks != ("java",) else [Requirement(PROJECT["optional-dependencies"]["java"][0])]
    ):
        versions = held.get(requirement.name.lower(), set())
        assert versions, f"{requirement} is not in {locks}; run scripts/lock.sh"
        assert all(requirement.specifier.contains(version) for version in versions), requirement


@pytest.mark.parametrize("added", ["train", "serve"])
def test_what_an_image_adds_is_not_in_the_layers_the_images_share(added: str) -> None:
    for shared in ("common", "common-cpu") if added == "serve" else ("common",):
        both = pins(REPOSITORY / "docker" / "requirements" / f"{added}.txt").keys() & pins(
            REPOSITORY / "docker" / "requirements" / f"{shared}.txt"
        )
        assert not both


def test_the_cpu_image_has_no_torch_and_nothing_of_cuda() -> None:
    names = pins(REPOSITORY / "docker" / "requirements" / "common-cpu.txt")
    assert "onnxruntime" in names
    assert not [name for name in names if name.startswith(("torch", "nvidia", "cuda", "triton"))]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_locked_version_has_a_hash_and_is_the_one_of_dev(lock: Path) -> None:
    everything = pins(REPOSITORY / "docker" / "requirements" / "dev.txt")
    for name, versions in pins(lock).items():
        assert versions == everything[name], f"{name} in {lock.name}"
    blocks = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    assert blocks and all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_names_no_index(lock: Path) -> None:
    assert "://" not in lock.read_text()
