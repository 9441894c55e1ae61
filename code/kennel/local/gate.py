"""Keeps strangers out of a service that runs programs: web pages in a browser, and other users of this machine.

The service needs no credentials, so whoever reaches it may use it. It listens on loopback only; this closes what is
left of it.
"""

import os
from pathlib import Path
from typing import Any, Final

_OWN_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOOPBACK: Final = "0100007F"
_ESTABLISHED: Final = "01"


def refusal(environ: dict[str, Any]) -> str | None:
    """Why a request may not come in, or None."""
    host = str(environ.get("HTTP_HOST", "")).rpartition(":")[0] or str(environ.get("HTTP_HOST", ""))
    if host not in _OWN_NAMES:  # a name that was made to point here (DNS rebinding)
        return f"The local SageMaker does not answer to the host name '{host}'."
    if "HTTP_ORIGIN" in environ:
        return "The local SageMaker does not answer web pages."
    if not is_own_user(int(environ["REMOTE_PORT"]), int(environ["SERVER_PORT"])):
        return "The local SageMaker answers only the user who started it."
    return None


def is_own_user(client_port: int, server_port: int) -> bool:
    """Whether this user, or root, holds the client's end of a loopback connection. True where that cannot be seen.

    The end must be open: of one that was closed the kernel no longer tells the user.
    """
    rows = _rows()
    if rows is None:
        return True
    for row in rows:
        local, remote, state, uid = row[1], row[2], row[3], int(row[7])
        is_it = local.endswith(f"{_LOOPBACK}:{client_port:04X}") and remote.endswith(f"{_LOOPBACK}:{server_port:04X}")
        if is_it and state == _ESTABLISHED:
            return uid in (os.getuid(), 0)
    return False


def _rows() -> list[list[str]] | None:
    try:
        tables = [table.read_text().splitlines()[1:] for table in _TABLES if table.exists()]
    except OSError:  # hidden by the machine's settings
        return None
    return [line.split() for table in tables for line in table] if tables else None
