"""Where a finished run's tensors are found: by its name, in a folder, or in S3.

    with find_run("s3://bucket/first-1/debug-output", runs=Path("runs")) as run: open_trial(run.tensors)

What is in S3 is copied into a temporary folder, which is gone when the block ends.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kennel.debug.orders import ORDERS_FILE
from kennel.debug.reports import has_tensors
from kennel.errors import ContractError, UserError

# Where a hook may have saved below a run's folder, or below a SageMaker job's.
_TENSORS: Final = ("ml/output/tensors", "ml/output/data/debug-output", "debug-output", "output/tensors")
_PROFILER: Final = ("ml/output/profiler", "ml/output/data/profiler-output", "profiler-output", "../profiler-output")
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_PARTS: Final = ("debug-output", "profiler-output")
_DOWNLOADS: Final = 8


@dataclass(frozen=True)
class FinishedRun:
    """A run's folders. orders: its own rules/rules.json, where it has one."""

    name: str
    tensors: Path
    profiler: Path | None
    orders: Path | None


@contextmanager
def find_run(source: str, *, runs: Path, local_s3: Mapping[str, str] | None = None) -> Iterator[FinishedRun]:
    """The run that `source` names: a name in `runs`, a folder, file:// or s3://.

    local_s3: the local SageMaker's environment, where it runs; a bucket that it has is read there.
    Raises UserError where nothing is, or nothing was saved.
    """
    if not source.startswith("s3://"):
        yield _in_folder(source, _folder(source, runs))
        return
    with tempfile.TemporaryDirectory(prefix="kennel-debug-") as folder:
        job = Path(folder) / "job"
        _download_job(source, job, local_s3)
        yield _in_folder(source, job)


def _folder(source: str, runs: Path) -> Path:
    named = runs / source
    if "/" not in source and source not in (".", "..") and named.is_dir():
        return named
    folder = Path(unquote(urlsplit(source).path)) if source.startswith("file://") else Path(source)
    if not folder.is_dir():
        raise UserError(
            f"There is no run '{source}' in {runs}, and no such folder. `kennel list` shows the runs there are."
        )
    return folder.resolve()


def _in_folder(source: str, folder: Path) -> FinishedRun:
    """The run whose folder, or whose tensors' folder, this is."""
    orders = folder / "rules" / ORDERS_FILE
    told = _told(orders)
    places = [folder, *(folder / place for place in (*told, *_TENSORS))]
    tensors = next((place for place in places if has_tensors(place)), None)
    if tensors is None:
        raise UserError(
            f"{source} has no tensors, nor has one of {', '.join((*told, *_TENSORS))} in it: no hook saved any. "
            "Train with --debug, or from the SDK with a DebuggerHookConfig."
        )
    name = source.rstrip("/").removesuffix("/debug-output").rsplit("/", 1)[-1]
    profiler = next((place for place in (folder / place for place in _PROFILER) if place.is_dir()), None)
    return FinishedRun(name, tensors, profiler, orders if orders.exists() else None)


def _told(orders: Path) -> list[str]:
    """Where the run's own orders say that its tensors are, which DebugHookConfig's LocalPath may have moved."""
    try:
        return [str(json.loads(orders.read_text())["tensors"])] if orders.exists() else []
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError(f"The orders in {orders} cannot be read: {error!r}. Name the tensors' folder.") from error


def _download_job(address: str, folder: Path, local_s3: Mapping[str, str] | None) -> None:
    """Of a job, named itself or by its debug-output, the two folders that rules look at; else all that is there."""
    job = address.rstrip("/").removesuffix("/debug-output")
    found = [download(f"{job}/{part}", folder / part, local_s3) for part in _PARTS]
    if not found[0]:
        download(address, folder, local_s3)


def download(address: str, target: Path, local_s3: Mapping[str, str] | None) -> int:
    """Copies what lies under s3://bucket/prefix into a folder, with the times it was written at; returns how many.

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
