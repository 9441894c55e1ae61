"""Where a run to report on is found: by its name in the runs folder, in a folder, or in a SageMaker job's S3 output.

    with open_run("s3://bucket/prefix/job-name", runs=Path("runs")) as record: ...

What lies in S3, or in archives, is put into a temporary folder that is gone when the block ends. From archives only
the few files a report reads are taken, each within a bound, none outside the folder.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from kennel.errors import UserError
from kennel.job_output import download, unpack
from kennel.report.record import RunRecord, read_run

_PREFIXES: Final = ("debug-output", "profiler-output", "rule-output", "output")
# Members of the two archives that are read; the rest, the weights above all, stays packed.
_RESULTS: Final = ("*.json", "*.jsonl", "debug-output/**", "profiler-output/**")
_MODEL: Final = ("model.json",)


@contextmanager
def open_run(
    source: str, *, runs: Path, local_s3: Mapping[str, str] | None = None, job: Mapping[str, Any] | None = None
) -> Iterator[RunRecord]:
    """The run that `source` names. runs: where names are looked up. local_s3: as `download` takes it.

    job: what SageMaker says of what is in S3; it is asked where that is not given.

    Raises UserError for a name, folder or address without a run, and ContractError for an archive that cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="kennel-report-") as temporary:
        unpacked = Path(temporary) / "unpacked"
        if source.startswith("s3://"):
            folder = Path(temporary) / "job"
            _download(source, folder, local_s3)
            _unpack_results(folder, unpacked)
            name = source.rstrip("/").rsplit("/", 1)[-1]
            yield read_run(folder, name=name, source=source, unpacked=unpacked, job=job or _describe(source, name))
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


def _download(address: str, folder: Path, local_s3: Mapping[str, str] | None) -> None:
    """The parts of a job's output that a report reads. Raises UserError where there is none, or no access to it."""
    job = address.rstrip("/")
    if job.count("/") < 3:  # s3://bucket
        raise UserError(f"'{address}' names no job. Expected s3://bucket/prefix/job-name, as S3OutputPath has it.")
    if not any([download(f"{job}/{part}", folder / part, local_s3) for part in _PREFIXES]):
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
