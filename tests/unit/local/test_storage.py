"""Addresses, names below a prefix, archives."""

import io
import tarfile
from pathlib import Path

import pytest

from kennel.errors import ContractError
from kennel.local.archives import has_files, pack, unpack
from kennel.local.storage import S3Address, link_or_copy, read_address, relative_names


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("s3://bucket", S3Address("bucket", "")),
        ("s3://bucket/", S3Address("bucket", "")),
        ("s3://bucket/a/b#c?d.jpg", S3Address("bucket", "a/b#c?d.jpg")),
        ("file:///a/with%20space", Path("/a/with space")),
        ("file://localhost/a", Path("/a")),
    ],
)
def test_address_is_read(uri: str, address: S3Address | Path) -> None:
    assert read_address(uri) == address


@pytest.mark.parametrize("uri", ["https://bucket/key", "file://relative/path", "s3://", "bucket/key"])
def test_other_address_is_refused(uri: str) -> None:
    with pytest.raises(ContractError, match="is no address the local SageMaker reads. Expected s3://bucket/key or"):
        read_address(uri)


def test_address_below_another() -> None:
    assert str(S3Address("b", "").below("x")) == "s3://b/x"
    assert str(S3Address("b", "a").below("x/y")) == "s3://b/a/x/y"
    assert str(S3Address("b", "a/").below("x")) == "s3://b/a/x"


@pytest.mark.parametrize(
    ("prefix", "keys", "names"),
    [
        ("data", ["data/", "data/a/1.jpg", "data/2.jpg", "data2/3.jpg"], ["a/1.jpg", "2.jpg"]),
        ("data/", ["data/a/1.jpg"], ["a/1.jpg"]),
        ("data/1.jpg", ["data/1.jpg"], ["1.jpg"]),
        ("data/im", ["data/img1.jpg", "data/img2.jpg"], ["img1.jpg", "img2.jpg"]),
        ("", ["a/1.jpg", "2.jpg"], ["a/1.jpg", "2.jpg"]),
    ],
)
def test_names_are_relative_to_the_prefix_as_a_folder(prefix: str, keys: list[str], names: list[str]) -> None:
    assert [name for _, name in relative_names(prefix, keys)] == names


def test_archive_holds_names_relative_to_the_folder(tmp_path: Path) -> None:
    (tmp_path / "model" / "golden").mkdir(parents=True)
    assert not has_files(tmp_path / "model") and not has_files(tmp_path / "none")
    (tmp_path / "model" / "golden" / "0.png").write_text("x")
    pack(tmp_path / "model", tmp_path / "model.tar.gz")
    unpack(tmp_path / "model.tar.gz", tmp_path / "again")
    assert (tmp_path / "again" / "golden" / "0.png").read_text() == "x"
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize("name", ["../evil", "/evil"])
@pytest.mark.parametrize("has_filters", [True, False], ids=["filters", "before Python 3.11.4"])
def test_archive_that_reaches_outside_is_refused(
    tmp_path: Path, name: str, has_filters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_filters:
        monkeypatch.delattr(tarfile, "data_filter")
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    if name == "/evil" and has_filters:  # the filter takes the root off
        unpack(archive, tmp_path / "model")
        assert (tmp_path / "model" / "evil").exists()
        return
    with pytest.raises(ContractError, match=f"{archive} cannot be unpacked as a .tar.gz"):
        unpack(archive, tmp_path / "model")
    assert not (tmp_path / "evil").exists()


def test_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ContractError, match="SageMaker takes models as gzip-compressed tar files"):
        unpack(tmp_path / "model.tar.gz", tmp_path / "model")


def test_link_or_copy_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("new")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "target").write_text("old")
    link_or_copy(tmp_path / "source", tmp_path / "out" / "target")
    assert (tmp_path / "out" / "target").read_text() == "new"


def test_weights_are_stored_and_text_is_compressed(tmp_path: Path) -> None:
    for folder, name in (("model", "model.safetensors"), ("data", "history.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"0" * 100_000)
        pack(tmp_path / folder, tmp_path / f"{folder}.tar.gz")
        unpack(tmp_path / f"{folder}.tar.gz", tmp_path / "again" / folder)
        assert (tmp_path / "again" / folder / name).read_bytes() == b"0" * 100_000
    assert (tmp_path / "model.tar.gz").stat().st_size > 100_000
    assert (tmp_path / "data.tar.gz").stat().st_size < 2_000
