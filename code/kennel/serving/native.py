"""The library that multi-model-server's Java needs for Unix sockets, in a place it can be loaded from.

    python -m kennel.serving.native     (once, when an image is built)

It is in multi-model-server's jar. Java unpacks it into its temporary folder at every start, and cannot load it from
there where that is mounted with noexec, as everything that `docker run --tmpfs` mounts is; in a container that can only
be read, no other place is left. Unpacked beforehand, into Python's own folder, it is found there and nothing is
unpacked at a start. Exercise it: pytest tests/unit/serving/test_native.py
"""

import platform
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from kennel.errors import ContractError

# netty's names for machines.
_MACHINES: Final = {"x86_64": "x86_64", "aarch64": "aarch_64"}


def main() -> None:
    """Unpacks the library and prints where it is."""
    print(unpack(library_folder()))


def library_folder() -> Path:
    """Where the library is, if it was unpacked."""
    return Path(sys.prefix, "lib", "kennel-native")


def is_unpacked(folder: Path | None = None) -> bool:
    """Whether Java finds the library there, by default in `library_folder`."""
    return ((folder or library_folder()) / _library()).is_file()


def unpack(folder: Path) -> Path:
    """The library, in `folder`. Raises ContractError where there is none for this machine."""
    with zipfile.ZipFile(jar()) as archive:
        try:
            content = archive.read(f"META-INF/native/{_library()}")
        except KeyError:
            raise ContractError(f"multi-model-server has no {_library()} for this machine.") from None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _library()
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def jar() -> Path:
    """multi-model-server itself. Raises ContractError where it is not installed."""
    spec = find_spec("mms")
    if spec is None or not spec.submodule_search_locations:
        raise ContractError("multi-model-server is not installed. Install it: pip install 'kennel[serve]'")
    return Path(spec.submodule_search_locations[0], "frontend", "model-server.jar")


def _library() -> str:
    machine = platform.machine()
    return f"libnetty_transport_native_epoll_{_MACHINES.get(machine, machine)}.so"


if __name__ == "__main__":
    main()
