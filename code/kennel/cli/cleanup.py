"""The verbs on what there is: list, cost and delete."""

import argparse
import json
import sys
from typing import Any

from kennel.cli.options import add_place, add_verb, settings_of
from kennel.errors import UserError


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """list, cost and delete."""
    add_place(
        add_verb(verbs, "list", list_all, "jobs of every kind and endpoints, with their states and what they cost")
    )
    verb = add_verb(verbs, "cost", cost, "what was and is being paid on AWS for what Kennel made, at list prices")
    verb.add_argument("name", metavar="NAME", nargs="?", help="of one job or endpoint (of everything)")
    verb.add_argument("--json", action="store_true", help="as JSON; amounts are [least, most] in US dollars")
    add_place(verb)
    _add_delete(verbs)


def _add_delete(verbs: Any) -> None:  # noqa: ANN401
    verb = add_verb(
        verbs, "delete", delete, "deletes endpoints with all that was made for them, and on AWS jobs; runs stay on disk"
    )
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--endpoint-name", metavar="E")
    which.add_argument("--name", metavar="JOB", help="with --on aws: a training, tuning or transform job")
    which.add_argument("--all", action="store_true", help="every endpoint; on AWS all that Kennel made, jobs too")
    group = verb.add_argument_group("more, with --on aws")
    group.add_argument("--data", action="store_true", help="with --all: everything below our prefix in the bucket, too")
    group.add_argument("--dry-run", action="store_true", help="say what would go")
    group.add_argument("--yes", action="store_true", help="do not ask")
    add_place(verb)


def list_all(arguments: argparse.Namespace) -> None:
    from kennel.launch.account import cleanup
    from kennel.launch.places import open_place

    print(cleanup.table(open_place(arguments.on, settings=settings_of(arguments))))


def cost(arguments: argparse.Namespace) -> None:
    from kennel.launch.account.bill import read_bill
    from kennel.launch.places import open_place

    if arguments.on != "aws":
        raise UserError(f"--on {arguments.on} costs nothing: what runs there runs on this machine. Give --on aws.")
    bill = read_bill(open_place(arguments.on, settings=settings_of(arguments)), arguments.name)
    print(json.dumps(bill.as_json(), indent=2) if arguments.json else "\n".join(bill.lines()))


def delete(arguments: argparse.Namespace) -> None:
    from kennel.launch.account import cleanup
    from kennel.launch.account.clearance import Which
    from kennel.launch.places import open_place

    which = Which(arguments.endpoint_name, arguments.name, arguments.all, arguments.data, arguments.dry_run)
    if arguments.on == "aws" and not (arguments.yes or arguments.dry_run or sys.stdin.isatty()):
        raise UserError("delete --on aws asks first, and there is no terminal to ask at. Give --yes, or --dry-run.")
    place = open_place(arguments.on, settings=settings_of(arguments))
    cleanup.delete(place, which, say=_say, ask=lambda question: arguments.yes or _is_yes(question))


def _say(line: str) -> None:
    print(line, flush=True)  # a pipe too sees what is gone while the rest is waited for


def _is_yes(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
