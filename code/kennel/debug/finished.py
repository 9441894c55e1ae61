"""Where a finished run's tensors are found: by its name, in a folder, or in S3.

    with find_run("s3://bucket/first-1/debug-output", runs=Path("runs")) as run: open_trial(run.tensors)

What is in S3 is copied into a temporary folder, which is gone when the block ends.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from kennel.debug.orders import ORDERS_FILE
from kennel.debug.reports import has_tensors
from kennel.errors import ContractError, UserError
from kennel.job_output import download, unpack

# Where a hook may have saved below a run's folder, or below a SageMaker job's.
_TENSORS: Final = ("ml/output/tensors", "ml/output/data/debug-output", "debug-output", "output/tensors")
_PROFILER: Final = ("ml/output/profiler", "ml/output/data/profiler-output", "profiler-output", "../profiler-output")
_PARTS: Final = ("debug-output", "profiler-output")
_RESULTS: Final = "output/output.tar.gz"


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
    """Of a job, named itself or by its debug-output, the two folders that rules look at; else all that is there.

    A training that was its own platform (debug=on) has packed them into output.tar.gz.
    """
    job = address.rstrip("/").removesuffix("/debug-output")
    found = [download(f"{job}/{part}", folder / part, local_s3) for part in _PARTS]
    if found[0]:
        return
    if download(f"{job}/output", folder / "output", local_s3) and (folder / _RESULTS).is_file():
        unpack(folder / _RESULTS, folder, [f"{part}/**" for part in _PARTS])
    else:
        download(address, folder, local_s3)
