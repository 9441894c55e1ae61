"""What a channel holds, object by object: manifests, and the shares of several hosts."""

import json
from pathlib import Path
from typing import Any

import pytest

from kennel.errors import ContractError
from kennel.local.channels import Item, bring_items, check_manifest, items_of, share_of
from kennel.local.restoring import MotoApp, RestoringS3
from kennel.local.storage import LocalS3, S3Address

NO_S3 = LocalS3("http://127.0.0.1:1", RestoringS3(MotoApp("s3")))


def channel(uri: str, kind: str = "ManifestFile") -> dict[str, Any]:
    return {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": uri}}}


def manifest(folder: Path, content: object) -> str:
    file = folder / "a.manifest"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file.as_uri()


def test_manifest_names_objects_below_its_prefix(tmp_path: Path) -> None:
    uri = manifest(tmp_path, [{"prefix": "s3://bucket/pictures/"}, "a/1.jpg", "2.jpg"])
    assert items_of(channel(uri), NO_S3) == [
        Item("a/1.jpg", S3Address("bucket", "pictures/a/1.jpg")),
        Item("2.jpg", S3Address("bucket", "pictures/2.jpg")),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no manifest: Expecting property name"),
        ({"prefix": "s3://b/"}, "its first entry has no 'prefix'"),
        (["1.jpg"], "its first entry has no 'prefix'"),
        ([{"prefix": "s3://b/"}], "it names no objects after the prefix"),
        ([{"prefix": "s3://b/"}, 3], "its names must be strings"),
        ([{"prefix": "http://b/"}, "x"], "'http://b/x' is no address"),
    ],
)
def test_what_is_no_manifest_is_named(tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        items_of(channel(manifest(tmp_path, content)), NO_S3)


def test_files_of_a_manifest_are_looked_for_and_brought(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_text("one")
    named = channel(manifest(tmp_path, [{"prefix": f"{tmp_path.as_uri()}/"}, "a/1.jpg"]))
    check_manifest(named, NO_S3)
    bring_items(items_of(named, NO_S3), tmp_path / "data", NO_S3)
    assert (tmp_path / "data" / "a" / "1.jpg").read_text() == "one"
    absent = channel(manifest(tmp_path, [{"prefix": f"{tmp_path.as_uri()}/"}, "a/1.jpg", "a/2.jpg"]))
    with pytest.raises(ContractError, match=r"Channel 'train': the manifest .* names what is not there: a/2.jpg"):
        check_manifest(absent, NO_S3)


def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"'\.\./x' would be written outside"):
        bring_items([Item("../x", tmp_path / "x")], tmp_path / "data", NO_S3)


def test_every_object_is_in_one_hosts_share(tmp_path: Path) -> None:
    for name in ("b/2", "a/1", "c", "b/1"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).touch()
    items = items_of(channel((tmp_path / "d").as_uri(), "S3Prefix"), NO_S3)
    assert [item.name for item in items] == ["a/1", "b/1", "b/2", "c"]
    shares = [[item.name for item in share_of(items, host, 3)] for host in range(3)]
    assert shares == [["a/1", "c"], ["b/1"], ["b/2"]]
