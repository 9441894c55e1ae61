"""Shows a job's folder to somebody's script as /opt/ml, which many scripts write out in full.

As a process a job lives in runs/<job>/ml; what a script saves to /opt/ml/checkpoints would be nobody's. Linux lets a
process have mounts of its own, an ordinary user's too (unshare(2), mount(2)), and nothing outside it sees them.
For training a child gets them, for serving the process that loads a model; its workers are forks of it.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

OPT_ML: Final = Path("/opt/ml")
_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_PRIVATE: Final = 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)  # looked up at import: between fork and exec nothing should be loaded


def shown_as_opt_ml(base: Path) -> Callable[[], None] | None:
    """What a child calls between fork and exec, so that it and its children see `base` as /opt/ml.

    None where that is not needed, or this machine does not let its users do so; then a line says it.
    """
    if base == OPT_ML or base.resolve() == OPT_ML:
        return None
    with contextlib.suppress(OSError):
        OPT_ML.mkdir(parents=True, exist_ok=True)  # only root may, and nobody else has to
    mount = _mounting(base.resolve())
    try:
        words = ["/bin/sh", "-c", f"test {OPT_ML}/input -ef '{base}/input'"]
        is_shown = subprocess.run(words, preexec_fn=mount, check=False).returncode == 0
    except subprocess.SubprocessError:
        is_shown = False
    if is_shown:
        return mount
    print(
        f"{OPT_ML} cannot stand for {base} here (sudo mkdir -p {OPT_ML}, or user namespaces, are missing): a script "
        f"must take its folders from SM_MODEL_DIR, SM_CHANNEL_... and its arguments.",
        flush=True,
    )
    return None


def show_as_opt_ml(base: Path) -> bool:
    """Makes this process, and the children it will have, see `base` as /opt/ml; whether they do.

    For a process without threads, of whoever may, which a child tries first. It forgets its parent by it: ask for
    kennel.orphans.die_with_parent again.
    """
    with contextlib.suppress(OSError):
        OPT_ML.mkdir(parents=True, exist_ok=True)
    if not OPT_ML.is_dir() or base.resolve() == OPT_ML:
        return base.resolve() == OPT_ML
    mount, words = _mounting(base.resolve()), ["/bin/sh", "-c", 'test "$0" -ef "$1"', str(OPT_ML), str(base.resolve())]
    try:
        is_allowed = subprocess.run(words, preexec_fn=mount, check=False).returncode == 0
        if is_allowed:
            mount()
    except (OSError, subprocess.SubprocessError):
        return False
    return is_allowed


def _mounting(base: Path) -> Callable[[], None]:
    """The function for the child. Raises OSError there, which subprocess tells as SubprocessError."""
    user, group, is_root = os.geteuid(), os.getegid(), os.geteuid() == 0

    def mount() -> None:
        _call(_libc.unshare, _CLONE_NEWNS if is_root else _CLONE_NEWNS | _CLONE_NEWUSER)
        if not is_root:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        _call(_libc.mount, None, b"/", None, _MS_REC | _MS_PRIVATE, None)
        _call(_libc.mount, os.fsencode(base), os.fsencode(OPT_ML), None, _MS_BIND | _MS_REC, None)

    return mount


def _call(function: Callable[..., int], *arguments: object) -> None:
    if function(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
