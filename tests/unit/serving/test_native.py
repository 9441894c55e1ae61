import platform
from pathlib import Path

import pytest

from kennel.errors import ContractError
from kennel.serving import native


@pytest.mark.parametrize(("machine", "name"), [("x86_64", "x86_64"), ("aarch64", "aarch_64")])
def test_the_library_of_this_machine_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, name: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    folder = tmp_path / "native"
    assert not native.is_unpacked(folder)
    library = native.unpack(folder)
    assert library == folder / f"libnetty_transport_native_epoll_{name}.so"
    assert library.read_bytes()[:4] == b"\x7fELF"
    assert native.is_unpacked(folder)


def test_a_machine_that_has_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "s390x")
    with pytest.raises(ContractError, match=r"no libnetty_transport_native_epoll_s390x\.so for this machine"):
        native.unpack(tmp_path)
