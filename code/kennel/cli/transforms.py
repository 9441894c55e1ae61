"""The verb transform."""

import argparse
from pathlib import Path
from typing import Any

from kennel.cli.options import add_machines, add_place, add_verb, settings_of


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """transform."""
    verb = add_verb(
        verbs,
        "transform",
        transform,
        "predictions of a run's model for every file of a folder",
        epilog="SageMaker has no time limit for transforms: --max-run holds as long as this command watches the job.",
    )
    verb.add_argument("name", metavar="NAME", help="the training job")
    where = "; with --on aws an s3:// address"
    verb.add_argument(
        "--input",
        type=_folder_or_address,
        required=True,
        metavar="DIR",
        help=f"pictures, or files of JSON or CSV lines{where}",
    )
    verb.add_argument(
        "--output",
        type=_folder_or_address,
        required=True,
        metavar="DIR",
        help=f"gets one FILE.out for each file{where}",
    )
    verb.add_argument("--job-name", help="the transform job's name, unique (made from NAME and the time)")
    verb.add_argument("--content-type", metavar="TYPE", help="of every file (by the first file's name)")
    verb.add_argument("--accept", metavar="TYPE", help="of the answers (application/jsonlines; text/csv for CSV)")
    verb.add_argument(
        "--split-type", choices=("None", "Line"), help="one record a file, or a line (by the file's name)"
    )
    verb.add_argument("--strategy", choices=("SingleRecord", "MultiRecord"), help="records in a request")
    verb.add_argument("--max-payload", type=int, metavar="MB", help="of a request (6)")
    verb.add_argument("--max-concurrent", type=int, metavar="N", help="requests under way at once (a machine's cores)")
    verb.add_argument("--join", action="store_true", help="each record beside its answer, for JSON and CSV lines")
    add_place(verb, image="that serves")
    add_machines(verb, instance="ml.c7i.xlarge")


def transform(arguments: argparse.Namespace) -> int:
    """Predictions for a folder of files; status 0 only if the transform job is Completed."""
    from kennel.launch import transform_command

    return transform_command.run(arguments, settings_of(arguments))


def _folder_or_address(text: str) -> Path | str:
    return text if text.startswith("s3://") else Path(text)
