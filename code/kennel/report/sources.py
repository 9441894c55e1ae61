"""Where a run to report on is found: by its name in the runs folder, in a folder, or in a SageMaker job's S3 output.

    with open_run("s3://bucket/prefix/job-name", runs=Path("runs")) as record: ...

What lies in S3, or in archives, is put into a temporary folder that is gone when the block ends. From archives only
the few files a report reads are taken, each within a bound, none outside the folder.
"""

import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final

from kennel.errors import ContractError, UserError
from kennel.report.record import RunRecord, read_run

MAX_FILE_BYTES: Final = 512 * 2**20
MAX_BYTES: Final = 4 * 2**30  # of one archive, or of one job in S3
_PREFIXES: Final = ("debug-output", "profiler-output", "rule-output", "output")
# Members of the two archives that are read; the rest, the weights above all, stays packed.
_RESULTS: Final = ("*.json", "*.jsonl", "debug-output/**", "profiler-output/**")
_MODEL: Final = ("model.json",)


@contextmanager
def open_run(source: str, *, runs: Path) -> Iterator[RunRecord]:
    """The run that `source` names. runs: where names are looked up.

    Raises UserError for a name, folder or address without a run, and ContractError for an archive that cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="kennel-report-") as temporary:
        unpacked = Path(temporary) / "unpacked"
        if source.startswith("s3://"):
            folder = Path(temporary) / "job"
            _download(source, folder)
            _unpack_results(folder, unpacked)
            name = source.rstrip("/").rsplit("/", 1)[-1]
            yield read_run(folder, name=name, source=source, unpacked=unpacked, job=_describe(source, name))
        else:
            folder = _local_folder(source, runs)
            _unpack_results(folder, unpacked)
            yield read_run(folder, unpacked=unpacked)


def _local_folder(source: str, runs: Path) -> Path:
    """A name in the runs folder, else a folder."""
    if "/" not in source and (runs / source).is_dir():
        return runs / source
    folder = Path(source.removeprefix("file://"))
    if folder.is_dir():
        return folder.resolve()
    raise UserError(
        f"There is no run '{source}' in {runs}, and no such folder. `kennel list` shows the runs there are."
    )


def _unpack_results(folder: Path, target: Path) -> None:
    """What the archives hold, where it does not lie beside them already."""
    for name, part, patterns, plain in (
        ("output.tar.gz", "results", _RESULTS, folder / "ml" / "output" / "data"),
        ("model.tar.gz", "model", _MODEL, folder / "ml" / "model"),
    ):
        if plain.is_dir() and any(plain.iterdir()):
            continue
        archive = next((path for path in (folder / "output" / name, folder / name) if path.is_file()), None)
        if archive:
            unpack(archive, target / part, patterns)


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


def _download(address: str, folder: Path) -> None:
    """The parts of a job's output that a report reads. Raises UserError where there is none, or no access to it."""
    import boto3  # takes a while, and only addresses need it
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if not bucket or not prefix:
        raise UserError(f"'{address}' names no job. Expected s3://bucket/prefix/job-name, as S3OutputPath has it.")
    folder.mkdir(parents=True)
    client = boto3.client("s3")
    try:
        found = list(_objects(client, bucket, prefix))
        for key, name in found:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, key, str(path))
    except (ClientError, BotoCoreError) as error:
        raise UserError(
            f"{address} cannot be read ({error}). Check the address and the credentials; for the local SageMaker's "
            f'S3 first: eval "$(kennel local env)"'
        ) from error
    if not found:
        raise UserError(f"{address} holds no job's output: nothing lies under {', '.join(_PREFIXES)} there.")


def _describe(address: str, name: str) -> dict[str, Any]:
    """What SageMaker says of the job whose output that is; {} where it does not know it or may not be asked.

    The output is enough for a report, without the job's status and times: so nothing that fails here is an error.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
    try:
        found = boto3.client("sagemaker", config=config).describe_training_job(TrainingJobName=name)
    except (ClientError, BotoCoreError):
        return {}
    path = str((found.get("OutputDataConfig") or {}).get("S3OutputPath", "")).rstrip("/")
    return dict(found) if f"{path}/{name}" == address.rstrip("/") else {}


def _objects(client: Any, bucket: str, prefix: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401  boto3's own class
    """(key, name below the job's folder) of every object to download. Raises UserError for more than the bound."""
    total = 0
    for part in _PREFIXES:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/{part}/")
        for item in (item for page in pages for item in page.get("Contents", ())):
            key = str(item["Key"])
            name = key[len(prefix) + 1 :]
            if key.endswith("/") or ".." in PurePosixPath(name).parts:
                continue
            total += int(item["Size"])
            if total > MAX_BYTES:
                raise UserError(
                    f"s3://{bucket}/{prefix} has more than {MAX_BYTES:,} bytes of output. Copy what is needed."
                )
            yield key, name
