"""Somebody's requirements.txt against what is installed here, and pip into a folder of its own."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from kennel.requirements_file import (
    RequirementsError,
    install_requirements,
    missing_requirements,
    provide_requirements,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "requirements.txt"


def make_wheel(folder: Path, name: str, *, needs: str = "") -> None:
    """A package of one module that says `name`."""
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + (f"Requires-Dist: {needs}\n" if needs else "")
    contents = {
        f"{name}.py": f"NAME = {name!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in contents.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n\n  # at all\n",
        "numpy\nPillow>=9  # pictures\n",
        "numpy>=1.0,<99 --hash=sha256:0123\n",
        "numpy \\\n  >=1.0\n",
        "--index-url https://example.com/simple\n-f wheels\nnumpy\n",
        'pywin32; sys_platform == "win32"\nnumpy; python_version >= "3.8"\n',
        "NumPy\r\npillow\r\n",
        "\ufeffnumpy\n",
        "requests[socks2]\n",
    ],
)
def test_what_is_installed_is_not_missing(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    assert missing_requirements(file) == []


def test_a_file_of_an_old_powershell_is_read(file: Path) -> None:
    file.write_text("numpy\nno-such-thing==1\n", encoding="utf-16")
    assert missing_requirements(file) == ["no-such-thing==1"]


def test_missing_lines_are_named_with_the_version_that_is_installed(file: Path) -> None:
    file.write_text(
        "no-such-thing>=2\nnumpy==0.1\nPillow\ngit+https://example.com/a.git\n./folder\nb @ https://c/d.whl\n"
    )
    assert missing_requirements(file) == [
        "no-such-thing>=2",
        f"numpy==0.1 ({version('numpy')} is installed)",
        "git+https://example.com/a.git",
        "./folder",
        "b @ https://c/d.whl",
    ]


def test_nested_files_and_editable_lines_are_read(file: Path) -> None:
    (file.parent / "more").mkdir()
    file.write_text("-r more/other.txt\n-e .\n-c bounds.txt\n")
    (file.parent / "more" / "other.txt").write_text("no-such-thing\n")
    assert missing_requirements(file) == ["no-such-thing", "."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("numpy=1.0\n", "'numpy=1.0'"),
        ("-r absent.txt\n", "absent.txt cannot be read: No such file"),
        ("-r requirements.txt\n", "includes itself"),
    ],
)
def test_a_line_pip_would_not_read_is_named(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(RequirementsError, match=words):
        missing_requirements(file)


def test_an_extra_counts_with_what_it_brings(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site" / "fancy-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: fancy\nVersion: 1.0\nProvides-Extra: plots\nProvides-Extra: arrays\n"
        "Requires-Dist: no-such-thing; extra == 'plots'\nRequires-Dist: numpy; extra == 'arrays'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    file.write_text("fancy\nfancy[arrays]\nfancy[plots]\n")
    assert missing_requirements(file) == ["fancy[plots] (1.0 is installed)"]


def test_missing_ones_are_refused_with_the_remedy(file: Path, tmp_path: Path) -> None:
    file.write_text("no-such-thing\n")
    with pytest.raises(RequirementsError, match="not installed: no-such-thing. Set KENNEL_REQUIREMENTS=install"):
        provide_requirements(file, tmp_path / "packages", {})


def test_the_switch_takes_one_value(file: Path, tmp_path: Path) -> None:
    file.write_text("numpy\n")
    with pytest.raises(RequirementsError, match="KENNEL_REQUIREMENTS has value 'yes'. Expected 'install'"):
        provide_requirements(file, tmp_path / "packages", {"KENNEL_REQUIREMENTS": "yes"})


def test_what_is_missing_is_installed_for_one_job_alone(file: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path, "kenneltest_one", needs="kenneltest_two")
    make_wheel(tmp_path, "kenneltest_two", needs="numpy")
    file.write_text("--no-index\n--find-links .\nkenneltest_one>=1.0\nnumpy\n")
    environ = {"KENNEL_REQUIREMENTS": "install", "PYTHONPATH": "/before", "PATH": os.environ["PATH"]}
    target = tmp_path / "packages"
    assert "kenneltest_one>=1.0" in provide_requirements(file, target, environ)
    assert environ["PYTHONPATH"] == f"{target}{os.pathsep}/before"
    assert sorted(path.name for path in target.glob("*.py")) == ["kenneltest_one.py", "kenneltest_two.py"]
    assert not (target / "numpy").exists()  # it is here already
    command = [sys.executable, "-c", "import kenneltest_one, kenneltest_two; print(kenneltest_one.NAME)"]
    seen = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert seen.stdout == "kenneltest_one\n"
    assert missing_requirements(file)  # the environment itself is as it was


def test_a_failure_of_pip_is_told_with_its_last_line(file: Path, tmp_path: Path) -> None:
    file.write_text("--no-index\nno-such-thing-at-all\n")
    with pytest.raises(RequirementsError, match="pip could not install requirements.txt: ERROR: .*no-such-thing"):
        install_requirements(file, tmp_path / "packages")
