"""Which source a training ran: the commit that its archive names."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


def git_commit(environ: Mapping[str, str] = os.environ) -> str | None:
    """KENNEL_GIT_COMMIT (set in the images), or the commit of the checkout this is in; None if neither is known."""
    if environ.get("KENNEL_GIT_COMMIT"):
        return environ["KENNEL_GIT_COMMIT"]
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (
        OSError,
        subprocess.SubprocessError,
    ):  # no git here, or a checkout of another user's: it is not worth a failure
        return None
    return found.stdout.strip() or None
