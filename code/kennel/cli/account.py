"""The verbs on an AWS account: upload and setup."""

import argparse
from typing import Any

from kennel.cli.data import checked_data
from kennel.cli.options import add_data, add_profile, add_verb, settings_of


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """upload and setup."""
    verb = add_verb(
        verbs,
        "upload",
        upload,
        "copies a folder of images to S3, only what changed, for trainings on AWS",
        epilog="What is there is made the same as the folder: what an earlier upload has sent and the folder no longer "
        "has is deleted, and said. Objects that it has not sent, or more than half of an earlier upload, go only with "
        "--replace. What was interrupted goes on when it is said again.",
    )
    add_data(verb)
    verb.add_argument("--name", help="it becomes s3://BUCKET/PREFIX/data/NAME/ (the folder's name)")
    verb.add_argument(
        "--anyway", action="store_true", help="also with files that the check refuses; a training has to leave them out"
    )
    verb.add_argument("--replace", action="store_true", help="whatever else is there under that name may be deleted")
    verb.add_argument("--dry-run", action="store_true", help="say what would be sent and deleted, and do nothing")
    add_profile(verb, title="the account")
    verb = add_verb(
        verbs,
        "setup",
        setup,
        "whether an AWS account is ready, and the commands that make what is missing; status 0 if it is",
    )
    verb.add_argument("--write", action="store_true", help="kennel.toml here gets what was found, unless there is one")
    verb.add_argument("--policy", metavar="NAME", help="only print iam/NAME.json with this account's names in it")
    add_profile(verb, title="the account")


def upload(arguments: argparse.Namespace) -> int:
    """Checks, compares, sends; status 0 only if all is there."""
    from kennel.launch.account import upload_command
    from kennel.launch.places import open_place

    report = checked_data(arguments.data, {"bad-data": "skip"} if arguments.anyway else {})
    place = open_place("aws", settings=settings_of(arguments))
    pictures = [example.path for _, example in report.dataset.examples()]
    data = upload_command.DataSet(
        arguments.data,
        pictures,
        digest_without(report),
        others=len(report.dataset.ignored),
        seed=report.dataset.seed,
        has_bad=bool(report.skippable),
    )
    return upload_command.run(data, place, name=arguments.name, is_replaced=arguments.replace, is_dry=arguments.dry_run)


def setup(arguments: argparse.Namespace) -> int:
    """Prints what there is and what is missing; status 0 only if all that is needed is there."""
    from kennel.launch.account import setup_command
    from kennel.launch.places import open_place

    place = open_place("aws", settings=settings_of(arguments))
    if arguments.policy:
        print(setup_command.policy(arguments.policy, place))
        return 0
    return setup_command.run(place, is_written=arguments.write)


def digest_without(report: Any) -> str:  # noqa: ANN401  kennel.dataset.check.CheckReport, imported late
    """The digest as a training computes it, which leaves out the files that the check refuses (--anyway)."""
    from kennel.dataset.folders import without

    return str(without(report.dataset, report.skippable).digest())
