"""Plain SageMaker scripts, as somebody else wrote them, run against the local SageMaker."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from kennel.local import daemon

_SCRIPTS = Path(__file__).parent / "aws" / "scripts"
_IMPATIENT = Path(__file__).parent / "aws" / "impatient"


@contextmanager
def own_service(runs: Path) -> Iterator[Path]:
    """A runs folder; its service is ended afterwards, and nothing that names the folder may run then."""
    try:
        yield runs
    finally:
        daemon.stop(runs)
    left = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in left if str(runs) in command]


def run_script(runs: Path, name: str, *arguments: Path | str) -> dict[str, Any]:
    """What a script prints as JSON in its last line that begins with {"answer", and under `output` all that it prints.

    It is given the endpoint variables only, and an SDK that asks more often whether something is ready.
    """
    outcome = subprocess.run(
        [sys.executable, _SCRIPTS / name, *arguments],
        env={**os.environ, **daemon.environment(daemon.ensure(runs)), "PYTHONPATH": str(_IMPATIENT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    said = [line for line in outcome.stdout.splitlines() if line.startswith('{"answer"')]
    return {"output": outcome.stdout + outcome.stderr, **json.loads(said[-1])}
