"""What a channel of a training job holds, object by object: manifests, and shares of several hosts.

A whole folder needs none of this (kennel.local.ml_folder): it is downloaded, linked or mounted as it is.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from kennel.errors import ContractError
from kennel.local.storage import LocalS3, S3Address, link_or_copy, read_address, relative_names
from kennel.local.validation import Json

MANIFEST: Final = "ManifestFile"
SHARDED: Final = "ShardedByS3Key"


@dataclass(frozen=True)
class Item:
    """An object of a channel. name: its path below the channel's folder."""

    name: str
    address: S3Address | Path


def source_of_channel(channel: Json) -> Json:
    """A channel's S3DataSource."""
    return dict(channel["DataSource"]["S3DataSource"])


def is_manifest(channel: Json) -> bool:
    """Whether a channel names a manifest in place of a folder."""
    return bool(source_of_channel(channel)["S3DataType"] == MANIFEST)


def is_sharded(channel: Json) -> bool:
    """Whether each host gets a share of a channel's objects."""
    return source_of_channel(channel).get("S3DataDistributionType") == SHARDED


def items_of(channel: Json, s3: LocalS3) -> list[Item]:
    """A channel's objects by their keys' order. Raises ContractError for a manifest that cannot be read."""
    uri = source_of_channel(channel)["S3Uri"]
    if is_manifest(channel):
        return _items_of_manifest(uri, _text(uri, s3))
    address = read_address(uri)
    if isinstance(address, S3Address):
        found = relative_names(address.key, s3.keys(address))
        return [Item(name, S3Address(address.bucket, key)) for key, name in found]
    if not address.is_dir():
        return [Item(address.name, address)]
    files = sorted(Path(parent, name) for parent, _, names in os.walk(address, followlinks=True) for name in names)
    return [Item(str(file.relative_to(address)), file) for file in files]


def check_manifest(channel: Json, s3: LocalS3) -> None:
    """Raises ContractError for a manifest that cannot be read, or that names what is not there."""
    items = items_of(channel, s3)
    in_s3 = [item.address for item in items if isinstance(item.address, S3Address)]
    there = {S3Address(each.bucket, key) for each in _beginnings(in_s3) for key in s3.keys(each)}
    missing = [
        item.name
        for item in items
        if (item.address not in there if isinstance(item.address, S3Address) else not item.address.is_file())
    ]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ContractError(
            f"Channel '{channel['ChannelName']}': the manifest '{source_of_channel(channel)['S3Uri']}' names what is "
            f"not there: {', '.join(missing[:3])}{more}. Upload it, or take it out of the manifest."
        )


def bring_items(items: list[Item], folder: Path, s3: LocalS3) -> None:
    """Fills `folder`: objects are downloaded, files of this machine linked. Raises ContractError."""
    folder.mkdir(parents=True, exist_ok=True)
    for item in items:
        if ".." in PurePosixPath(item.name).parts or item.name.startswith("/"):
            raise ContractError(f"'{item.name}' would be written outside {folder}.")
        if isinstance(item.address, S3Address):
            s3.download(item.address, folder / item.name)
        else:
            link_or_copy(item.address.resolve(), folder / item.name)


def share_of(items: list[Item], host: int, hosts: int) -> list[Item]:
    """What host number `host` (from 0) of `hosts` gets: about as many objects as each other."""
    return items[host::hosts]


def _items_of_manifest(uri: str, text: str) -> list[Item]:
    """[{"prefix": "s3://bucket/folder/"}, "1.jpg", ...]"""
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise _no_manifest(uri, str(error)) from error
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict) or "prefix" not in entries[0]:
        raise _no_manifest(uri, "its first entry has no 'prefix'")
    names = entries[1:]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise _no_manifest(uri, "it names no objects after the prefix" if not names else "its names must be strings")
    prefix = str(entries[0]["prefix"])
    return [Item(name, read_address(prefix + name)) for name in names]


def _no_manifest(uri: str, reason: str) -> ContractError:
    return ContractError(
        f"'{uri}' is no manifest: {reason}. Expected a JSON array such as "
        '[{"prefix": "s3://bucket/folder/"}, "train/1.jpg", "train/2.jpg"].'
    )


def _text(uri: str, s3: LocalS3) -> str:
    address = read_address(uri)
    try:
        if isinstance(address, Path):
            return address.read_text()
        with s3.open(address) as content:
            return str(content.read().decode())
    except (OSError, UnicodeDecodeError, ClientError, BotoCoreError) as error:
        raise ContractError(f"The manifest '{uri}' cannot be read: {error}.") from error


def _beginnings(addresses: list[S3Address]) -> list[S3Address]:
    """One beginning of all keys for each bucket: a listing costs less than a question for each."""
    buckets = {address.bucket for address in addresses}
    keys = {bucket: [address.key for address in addresses if address.bucket == bucket] for bucket in buckets}
    return [S3Address(bucket, os.path.commonprefix(keys[bucket])) for bucket in buckets]
