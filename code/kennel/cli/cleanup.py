"""The verbs on what there is: list and delete."""

import argparse
from typing import Any

from kennel.cli.options import add_place, add_verb, settings_of


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """list and delete."""
    add_place(add_verb(verbs, "list", list_all, "jobs of every kind and endpoints, with their states"))
    verb = add_verb(
        verbs, "delete", delete, "deletes endpoints with their configurations and models; runs stay on disk"
    )
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--endpoint-name", metavar="E")
    which.add_argument("--all", action="store_true", help="every endpoint")
    add_place(verb)


def list_all(arguments: argparse.Namespace) -> None:
    from kennel.launch import cleanup
    from kennel.launch.places import open_place

    print(cleanup.list_all(open_place(arguments.on, settings=settings_of(arguments))).table())


def delete(arguments: argparse.Namespace) -> None:
    from kennel.launch import cleanup
    from kennel.launch.places import open_place

    place = open_place(arguments.on, settings=settings_of(arguments))
    deleted = cleanup.delete_all(place) if arguments.all else cleanup.delete_endpoint(arguments.endpoint_name, place)
    print("\n".join(deleted) or "nothing to delete")
