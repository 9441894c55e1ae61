"""The verbs on data: check, data sample, data download."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from kennel.cli.options import add_data, add_verb, bar_progress
from kennel.errors import DataError, UserError


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """check, data sample and data download."""
    verb = add_verb(
        verbs, "check", check, "what is wrong with a folder of images; status 3 if training would refuse it"
    )
    add_data(verb)
    verb.add_argument("--seed", type=int, default=0, help="of the 80:10:10 split of a folder of class folders (0)")
    verb.add_argument("--json", action="store_true", help="the report as JSON")
    data = verbs.add_parser("data", help="make or fetch a data set").add_subparsers(required=True, metavar="WHAT")
    verb = add_verb(data, "sample", data_sample, "makes a labelled set of drawn pictures: 8 coat patterns")
    verb.add_argument("folder", type=Path, metavar="DIR")
    verb.add_argument("--images-per-class", type=int, metavar="N")
    verb.add_argument("--seed", type=int, default=0)
    download = data.add_parser("download", help="fetch a public data set").add_subparsers(required=True, metavar="NAME")
    verb = add_verb(download, "dogs", data_download, "Udacity's dogImages: 133 breeds, 8,351 photos, 1.1 GB")
    verb.add_argument(
        "folder", type=Path, nargs="?", default=Path("data"), metavar="DIR", help="where it is unpacked (data)"
    )


def check(arguments: argparse.Namespace) -> int:
    """Prints the report; status 3 when a training would refuse the data."""
    report = check_with_bar(arguments.data, seed=arguments.seed)
    print(json.dumps(report.to_json()) if arguments.json else report.table())
    return 0 if report.is_fit else DataError.exit_status


def data_sample(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from kennel.dataset.sample import make_sample

    if arguments.folder.exists() and any(arguments.folder.iterdir()):
        raise UserError(f"{arguments.folder} is there already and not empty. Name another folder, or delete it first.")
    counts = {} if arguments.images_per_class is None else {"images_per_class": arguments.images_per_class}
    with tqdm(unit="picture", disable=not sys.stderr.isatty(), leave=False) as bar:
        made = make_sample(arguments.folder, seed=arguments.seed, progress=bar_progress(bar), **counts)
    print(f"sample pictures in {made}")


def data_download(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from kennel.dataset.download import download_dogs

    with tqdm(unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        folder = download_dogs(arguments.folder, progress=bar_progress(bar))
    print(f"133 breeds in {folder}\nnext: kennel check --data {folder}")


def check_with_bar(folder: Path, *, seed: int) -> Any:  # noqa: ANN401  kennel.dataset.check.CheckReport, imported late
    from tqdm import tqdm

    from kennel.dataset.check import check_folder

    with tqdm(unit="image", disable=not sys.stderr.isatty(), leave=False) as bar:
        return check_folder(folder, seed=seed, progress=bar_progress(bar))


def refuse_bad_data(folder: Path, settings: dict[str, str]) -> int:
    """As checked_data; returns how many training images there are."""
    return sum(counts.get("train", 0) for counts in checked_data(folder, settings).counts.values())


def checked_data(folder: Path, settings: dict[str, str]) -> Any:  # noqa: ANN401  kennel.dataset.check.CheckReport
    """Prints what is wrong with the data, and raises DataError where it would spoil the result.

    settings: hyperparameters, of which `seed` and `bad-data` count. The report's dataset is never None.
    """
    report = check_with_bar(folder, seed=int(settings.get("seed", 0)))
    if report.findings:
        print(report.table(), file=sys.stderr)
    if report.is_fit or (settings.get("bad-data") == "skip" and report.dataset is not None):
        return report
    remedy = "Mend the data, or train without the files named above: --anyway" if report.dataset else "Mend the data"
    first = report.errors[0].message
    raise DataError(
        f"{first} ({len(report.errors)} such in all)\n{remedy}" if len(report.errors) > 1 else f"{first}\n{remedy}"
    )
