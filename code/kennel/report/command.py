"""What `kennel report` does: reads a run, judges it, writes the page, and says where it is."""

import traceback
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kennel import __version__
from kennel.errors import ContractError, UserError
from kennel.report.page import write_report
from kennel.report.record import RunRecord
from kennel.report.search_page import write_search_report
from kennel.report.search_record import is_search, read_search
from kennel.report.sources import open_run
from kennel.report.verdict import verdict


def run(
    source: str,
    *,
    runs: Path,
    output: Path | None,
    data: Path | None,
    is_opened: bool,
    local_s3: Mapping[str, str] | None = None,
    job: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the page of the run, or of the tuning job, and prints its path; returns it.

    runs: the runs folder. output: the page, else report.html in the run's own folder; what is in S3 gets one by its
    name in the runs folder. local_s3: the environment of the local SageMaker, where it runs. job: what SageMaker says
    of the run, where that is known.
    Raises UserError, and ContractError for archives that cannot be read.
    """
    if data is not None and not data.is_dir():
        raise UserError(
            f"--data {data} is no folder. Name the one with train/, valid/ and test/, or with class folders."
        )
    folder = _search_folder(source, runs)
    if folder and data is not None:
        raise UserError(f"--data {data} is for the report of a training; '{source}' is a tuning job. Leave it out.")
    try:
        if folder:
            content, page, problems = _write_search(folder, output)
        else:
            with open_run(source, runs=runs, local_s3=local_s3, job=job) as record:
                content, page = _write(record, runs=runs, output=output, data=data)
                problems = record.problems
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error}, at {Path(where.filename).name}:{where.lineno}"
        raise ContractError(
            f"'{source}' holds files of another form than kennel {__version__} writes ({said}). "
            f"Report on it with the version that made it."
        ) from error
    for number, advice in enumerate(content["advice" if folder else "verdict"][:3], start=1):
        print(f"{number}. {advice['title']}: {advice['change']}")
    for problem in problems:
        print(f"note: {problem}")
    print(f"report: {page.absolute()}\n  its numbers: {page.absolute().with_suffix('.json')}")
    if is_opened and not webbrowser.open(page.absolute().as_uri()):
        print("no browser was found to open it with")
    return page


def _search_folder(source: str, runs: Path) -> Path | None:
    """The folder of the tuning job that `source` names, by its name or path; None for anything else."""
    if source.startswith("s3://"):
        return None
    candidates = [runs / source] if "/" not in source else []
    candidates.append(Path(source.removeprefix("file://")))
    return next((folder.resolve() for folder in candidates if is_search(folder)), None)


def _write_search(folder: Path, output: Path | None) -> tuple[dict[str, Any], Path, list[str]]:
    """What the page says, where it is, and what could not be read."""
    page = output or folder / "report.html"
    record = read_search(folder)
    with _writing(page):
        return write_search_report(record, output=page), page, record.problems


def _write(record: RunRecord, *, runs: Path, output: Path | None, data: Path | None) -> tuple[dict[str, Any], Path]:
    """What the page says, and where it is."""
    page = output or _folder(record.source, record.name, runs) / "report.html"
    with _writing(page):
        return write_report(record, verdict(record), output=page, data=data), page


@contextmanager
def _writing(page: Path) -> Iterator[None]:
    """UserError for a page of another name, or one that cannot be written."""
    if page.suffix != ".html":
        raise UserError(f"--output {page} is no .html file. The numbers go beside it, as .json.")
    try:
        yield
    except OSError as error:
        raise UserError(f"{page} cannot be written ({error}). Name another file: --output FILE.html") from error


def _folder(source: str, name: str, runs: Path) -> Path:
    return runs / name if source.startswith("s3://") else Path(source)
