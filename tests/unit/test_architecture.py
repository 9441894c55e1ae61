"""The directions of the arrows in README's architecture section, read from the imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CODE = Path(__file__).resolve().parents[2] / "code"
FOUNDATION = {
    "kennel",
    "errors",
    "paths",
    "metrics",
    "hyperparameters",
    "orphans",
    "job_output",
    "rule_files",
    "requirements_file",
    "script_mode",
    "stand_in",
    "opt_ml",
}
ALLOWED = {
    "images": set(),
    "dataset": {"images"},
    "model": {"images"},
    "debug": set(),
    "profile": set(),
    "training": {"images", "dataset", "model", "debug", "profile"},
    "serving": {"images", "model"},
    "report": {"debug", "profile", "images"},
    "local": set(),
    "aws": {"local", "delivery"},
    "launch": {"local", "aws"},
    "delivery": set(),
    "conformance": {"dataset", "delivery"},
    "cli": {"launch", "local", "dataset", "delivery", "conformance", "debug", "report"},
}
WITHOUT_TORCH = ("dataset", "report", "local", "launch", "delivery", "conformance", "aws", "cli")


def imports_of(path: Path) -> Iterator[str]:
    """Dotted names of all imports of a file, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(room: str) -> list[Path]:
    return sorted((CODE / "kennel" / room).rglob("*.py"))


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_the_rooms_it_stands_on(room: str) -> None:
    for path in files_of(room):
        for name in imports_of(path):
            if name.split(".")[0] == "kennel":
                target = name.split(".")[1] if "." in name else "kennel"
                assert target in ALLOWED[room] | FOUNDATION | {room, "__version__"}, f"{path} imports {name}"


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_a_room_that_only_starts_processes_does_not_import_torch(room: str) -> None:
    for path in files_of(room):
        assert not [name for name in imports_of(path) if name.split(".")[0] in ("torch", "torchvision")], path


def test_every_room_is_in_the_table() -> None:
    rooms = {path.name for path in (CODE / "kennel").iterdir() if (path / "__init__.py").exists()}
    assert rooms == set(ALLOWED)


def test_code_is_an_import_root_and_no_package() -> None:
    assert not (CODE / "__init__.py").exists()
