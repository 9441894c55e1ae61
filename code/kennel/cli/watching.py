"""The verbs on what was started: report."""

import argparse
from pathlib import Path
from typing import Any

from kennel.cli.options import add_verb


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """report."""
    verb = add_verb(verbs, "report", report, "writes one page on a run: what to change first, and all the numbers")
    verb.add_argument(
        "run_name", metavar="NAME", help="a run, its folder, or a SageMaker job's output: s3://bucket/prefix/job-name"
    )
    verb.add_argument("--open", action="store_true", help="open the page in a browser")
    verb.add_argument("--output", type=Path, metavar="FILE", help="the page (runs/NAME/report.html)")
    verb.add_argument(
        "--data", type=Path, metavar="DIR", help="the pictures, if they are not where training found them"
    )


def report(arguments: argparse.Namespace) -> None:
    from kennel.launch.places import runs_folder
    from kennel.report import command

    command.run(
        arguments.run_name,
        runs=runs_folder(),
        output=arguments.output,
        data=arguments.data,
        is_opened=arguments.open,
        local_s3=local_s3(arguments.run_name),
    )


def local_s3(source: str) -> dict[str, str] | None:
    """For an s3:// address: the environment of the local SageMaker, if it runs."""
    from kennel.launch.places import runs_folder
    from kennel.local import daemon

    service = daemon.status(runs_folder()) if source.startswith("s3://") else None
    return daemon.environment(service) if service else None
