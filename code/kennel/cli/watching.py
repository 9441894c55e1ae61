"""The verbs on what was started: attach and report."""

import argparse
from pathlib import Path
from typing import Any

from kennel.cli.options import add_place, add_verb, settings_of


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """attach and report."""
    verb = add_verb(
        verbs,
        "attach",
        attach,
        "follows a job or an endpoint that was left running, and ends as its own verb does",
        epilog="With --on aws Ctrl-C asks whether to detach (status 130), stop or go on; elsewhere it stops the job. "
        "Status 5: the credentials have expired, and what was followed goes on.",
    )
    verb.add_argument("name", metavar="NAME", help="of a training, tuning or transform job, or an endpoint")
    verb.add_argument(
        "--kind",
        choices=("training", "tuning", "transform", "endpoint"),
        help="which, where several have the name (what still goes on, else the newest)",
    )
    verb.add_argument("--stop", action="store_true", help="ask the job to stop first; it keeps what it has")
    add_place(verb)
    _add_report_verb(verbs)


def _add_report_verb(verbs: Any) -> None:  # noqa: ANN401
    verb = add_verb(verbs, "report", report, "writes one page on a run: what to change first, and all the numbers")
    verb.add_argument(
        "run_name",
        metavar="NAME",
        help="a run, its folder, or a SageMaker job's output: s3://bucket/prefix/job-name; with --on aws a training or "
        "tuning job's name",
    )
    verb.add_argument("--open", action="store_true", help="open the page in a browser")
    verb.add_argument("--output", type=Path, metavar="FILE", help="the page (runs/NAME/report.html)")
    verb.add_argument(
        "--data", type=Path, metavar="DIR", help="the pictures, if they are not where training found them"
    )
    add_place(verb)


def attach(arguments: argparse.Namespace) -> int:
    """The exit status as that of the verb that started it."""
    from kennel.launch.places import open_place
    from kennel.launch.watching import attach

    place = open_place(arguments.on, settings=settings_of(arguments))
    return attach.attach(arguments.name, place, kind=arguments.kind, is_stopped=arguments.stop)


def report(arguments: argparse.Namespace) -> None:
    from kennel.launch.places import AWS, runs_folder
    from kennel.report import command

    run_name, page, job = arguments.run_name, arguments.output, None
    if arguments.on == AWS:
        fetched = _fetched(arguments)
        run_name, page, job = fetched.source, page or fetched.page, fetched.job
    command.run(
        run_name,
        runs=runs_folder(),
        output=page,
        data=arguments.data,
        is_opened=arguments.open,
        local_s3=None if arguments.on == AWS else local_s3(run_name),
        job=job,
    )


def _fetched(arguments: argparse.Namespace) -> Any:  # noqa: ANN401  kennel.launch.watching.fetched_run.Fetched, imported late
    from kennel.launch.places import open_place, runs_folder
    from kennel.launch.watching import fetched_run

    place = open_place(arguments.on, settings=settings_of(arguments))
    return fetched_run.fetch(arguments.run_name, place, runs=runs_folder())


def local_s3(source: str) -> dict[str, str] | None:
    """For an s3:// address: the environment of the local SageMaker, if it runs."""
    from kennel.launch.places import runs_folder
    from kennel.local import daemon

    service = daemon.status(runs_folder()) if source.startswith("s3://") else None
    return daemon.environment(service) if service else None
