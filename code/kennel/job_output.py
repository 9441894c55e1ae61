"""What a SageMaker job left in S3, brought to this machine: objects below a prefix, and members of its archives.

    download("s3://bucket/first-1/debug-output", folder)
    unpack(folder / "output.tar.gz", target, ("*.json", "debug-output/**"))

Nothing is written outside the folder that is named, whatever keys and archives say.
"""

import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Final

from kennel.errors import ContractError, UserError

MAX_FILE_BYTES: Final = 512 * 2**20
MAX_BYTES: Final = 4 * 2**30  # of one archive
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_DOWNLOADS: Final = 8


def download(address: str, target: Path, local_s3: Mapping[str, str] | None = None) -> int:
    """Copies what lies under s3://bucket/prefix into a folder, with the times it was written at; returns how many.

    local_s3: the local SageMaker's environment, where it runs; a bucket that it has is read there.

    Raises UserError for a bucket or credentials that are not there, and for more than the disk has room for.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    if not bucket or not prefix.strip("/"):
        raise UserError(f"'{address}' names no folder in S3. Expected s3://bucket/job-name/debug-output.")
    try:
        client = _client(bucket, local_s3)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = list(_below(prefix.rstrip("/"), [item for page in pages for item in page.get("Contents", ())]))
        _check_room(sum(int(item["Size"]) for _, item in found), target)
        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            list(pool.map(lambda each: _fetch(client, bucket, each[1], target / each[0]), found))
    except (ClientError, BotoCoreError) as error:
        raise UserError(
            f"{address} cannot be read: {error}. Check the address and the AWS credentials; for the local SageMaker's "
            'S3, which forgets when it stops: eval "$(kennel local env)".'
        ) from error
    return len(found)


def _client(bucket: str, local_s3: Mapping[str, str] | None) -> Any:  # noqa: ANN401  boto3 makes its classes as it runs
    """Where the environment's endpoint is; else the local SageMaker if it has the bucket; else AWS."""
    import boto3
    from botocore.exceptions import ClientError

    if local_s3 and not any(os.environ.get(key) for key in _ENDPOINTS):
        session = boto3.Session(
            local_s3["AWS_ACCESS_KEY_ID"], local_s3["AWS_SECRET_ACCESS_KEY"], region_name=local_s3["AWS_DEFAULT_REGION"]
        )
        local = session.client("s3", endpoint_url=local_s3["AWS_ENDPOINT_URL_S3"], config=_loopback())
        try:
            local.head_bucket(Bucket=bucket)
            return local
        except ClientError:
            local.close()
    return boto3.Session().client("s3")


def _loopback() -> Any:  # noqa: ANN401  a botocore Config
    from botocore.config import Config

    return Config(proxies={}, s3={"addressing_style": "path"})


def _below(prefix: str, items: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name below the prefix, object) of everything in the folder `prefix`; refuses names that would leave it."""
    for item in items:
        key = str(item["Key"])
        if not key.startswith(f"{prefix}/") or key.endswith("/"):
            continue
        name = key[len(prefix) + 1 :]
        if ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise ContractError(f"The key '{key}' would be written outside its folder. No hook writes such.")
        yield name, item


def _check_room(size_bytes: int, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target).free
    if size_bytes > free:
        raise UserError(
            f"{size_bytes:,} bytes do not fit into {target}, which has {free:,}. Set TMPDIR to a larger disk."
        )


def _fetch(client: Any, bucket: str, item: dict[str, Any], path: Path) -> None:  # noqa: ANN401  boto3's class
    """One object, with its time: a rule may ask how long nothing was saved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    client.download_file(bucket, item["Key"], str(path))
    written = item["LastModified"].timestamp()
    os.utime(path, (written, written))


def unpack(archive: Path, folder: Path, patterns: Sequence[str]) -> None:
    """The members that match, into `folder`. Raises ContractError for an archive that is none, or not to be trusted."""
    total = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                _check_member(archive, member)
                if not member.isfile() or not _is_wanted(path, patterns):
                    continue
                total += member.size
                if member.size > MAX_FILE_BYTES or total > MAX_BYTES:
                    raise ContractError(
                        f"{archive} unpacks to more than {MAX_BYTES:,} bytes, or a file over {MAX_FILE_BYTES:,}."
                    )
                _extract(tar, member, folder / path)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ContractError(f"{archive} cannot be unpacked as a .tar.gz ({error}). Download it again.") from error


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
        raise ContractError(
            f"{archive} holds '{member.name}', a link or a name outside its folder. No training of ours packs that."
        )


def _is_wanted(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    """`*.json` is of the archive's own folder, `debug-output/**` everything below that one."""
    for pattern in patterns:
        head, _, rest = pattern.partition("/")
        if rest and path.parts[:1] == (head,):
            return True
        if not rest and len(path.parts) == 1 and path.match(pattern):
            return True
    return False


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    stream = tar.extractfile(member)
    if stream is None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with stream, target.open("wb") as file:
        shutil.copyfileobj(stream, file)
