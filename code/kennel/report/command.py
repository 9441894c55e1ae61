"""What `kennel report` does: reads a run, judges it, writes the page, and says where it is."""

import traceback
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kennel import __version__
from kennel.errors import ContractError, UserError
from kennel.report.page import write_report
from kennel.report.record import RunRecord
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
) -> Path:
    """Writes the page of the run and prints its path; returns it.

    runs: the runs folder. output: the page, else report.html in the run's own folder; what is in S3 gets one by its
    name in the runs folder. local_s3: the environment of the local SageMaker, where it runs.
    Raises UserError, and ContractError for archives that cannot be read.
    """
    if data is not None and not data.is_dir():
        raise UserError(
            f"--data {data} is no folder. Name the one with train/, valid/ and test/, or with class folders."
        )
    try:
        with open_run(source, runs=runs, local_s3=local_s3) as record:
            content, page = _write(record, runs=runs, output=output, data=data)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error}, at {Path(where.filename).name}:{where.lineno}"
        raise ContractError(
            f"'{source}' holds files of another form than kennel {__version__} writes ({said}). "
            f"Report on it with the version that made it."
        ) from error
    for number, advice in enumerate(content["verdict"][:3], start=1):
        print(f"{number}. {advice['title']}: {advice['change']}")
    for problem in record.problems:
        print(f"note: {problem}")
    print(f"report: {page.absolute()}\n  its numbers: {page.absolute().with_suffix('.json')}")
    if is_opened and not webbrowser.open(page.absolute().as_uri()):
        print("no browser was found to open it with")
    return page


def _write(record: RunRecord, *, runs: Path, output: Path | None, data: Path | None) -> tuple[dict[str, Any], Path]:
    """What the page says, and where it is."""
    page = output or _folder(record.source, record.name, runs) / "report.html"
    if page.suffix != ".html":
        raise UserError(f"--output {page} is no .html file. The numbers go beside it, as .json.")
    try:
        return write_report(record, verdict(record), output=page, data=data), page
    except OSError as error:
        raise UserError(f"{page} cannot be written ({error}). Name another file: --output FILE.html") from error


def _folder(source: str, name: str, runs: Path) -> Path:
    return runs / name if source.startswith("s3://") else Path(source)
