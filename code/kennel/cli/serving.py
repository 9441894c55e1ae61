"""The verbs on trained models: deploy, invoke, transform, list, delete."""

import argparse
import sys
from pathlib import Path
from typing import Any

from kennel.cli.options import add_place, add_verb
from kennel.errors import KennelError


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """deploy, invoke, list, delete and transform."""
    _add_endpoint_verbs(verbs)
    _add_transform_verb(verbs)


def _add_endpoint_verbs(verbs: Any) -> None:  # noqa: ANN401
    verb = add_verb(verbs, "deploy", deploy, "puts a run's model behind an endpoint")
    verb.add_argument("name", metavar="NAME", help="the training job")
    verb.add_argument("--endpoint-name", metavar="E", help="(the job's name)")
    add_place(verb, image="that serves")
    verb = add_verb(verbs, "invoke", invoke, "asks an endpoint for labels and probabilities")
    verb.add_argument("endpoint_name", metavar="E")
    verb.add_argument("photos", type=Path, nargs="+", metavar="PHOTO")
    verb.add_argument("--json", action="store_true", help="one JSON line a photo, instead of a table")
    add_place(verb)
    add_place(add_verb(verbs, "list", list_all, "jobs of every kind and endpoints, with their states"))
    verb = add_verb(
        verbs, "delete", delete, "deletes endpoints with their configurations and models; runs stay on disk"
    )
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--endpoint-name", metavar="E")
    which.add_argument("--all", action="store_true", help="every endpoint")
    add_place(verb)


def _add_transform_verb(verbs: Any) -> None:  # noqa: ANN401
    verb = add_verb(verbs, "transform", transform, "predictions of a run's model for every file of a folder")
    verb.add_argument("name", metavar="NAME", help="the training job")
    verb.add_argument(
        "--input", type=Path, required=True, metavar="DIR", help="pictures, or files of JSON or CSV lines"
    )
    verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="gets one FILE.out for each file")
    verb.add_argument("--job-name", help="the transform job's name, unique (made from NAME and the time)")
    verb.add_argument("--content-type", metavar="TYPE", help="of every file (by the first file's name)")
    verb.add_argument("--accept", metavar="TYPE", help="of the answers (application/jsonlines; text/csv for CSV)")
    verb.add_argument(
        "--split-type", choices=("None", "Line"), help="one record a file, or a line (by the file's name)"
    )
    verb.add_argument("--strategy", choices=("SingleRecord", "MultiRecord"), help="records in a request")
    verb.add_argument("--max-payload", type=int, metavar="MB", help="of a request (6)")
    verb.add_argument("--max-concurrent", type=int, metavar="N", help="requests under way at once (the cores)")
    verb.add_argument("--join", action="store_true", help="each record beside its answer, for JSON and CSV lines")
    add_place(verb, image="that serves")


def deploy(arguments: argparse.Namespace) -> int:
    from kennel.launch import cleanup, follow, jobs
    from kennel.launch.places import open_place

    endpoint = jobs.check_name(arguments.endpoint_name or arguments.name, "Endpoint")
    place = open_place(arguments.on, image=arguments.image)
    jobs.create_endpoint(arguments.name, place, endpoint_name=endpoint)
    description = follow.wait_for_endpoint(endpoint, place)
    if description["EndpointStatus"] != "InService":
        cleanup.delete_endpoint(endpoint, place)
        raise KennelError(f"Endpoint '{endpoint}' failed and was deleted: {description.get('FailureReason')}")
    print(f"ask it:    kennel invoke {endpoint} PHOTO...\ndelete it: kennel delete --endpoint-name {endpoint}")
    return 0


def invoke(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from kennel.launch import predict
    from kennel.launch.places import open_place

    predict.check_photos(arguments.photos)
    place = open_place(arguments.on)
    answers = []
    hide = not sys.stderr.isatty() or len(arguments.photos) < 10
    for answer in tqdm(
        predict.ask(arguments.endpoint_name, arguments.photos, place),
        total=len(arguments.photos),
        unit="photo",
        disable=hide,
        leave=False,
    ):
        answers.append(answer)
        if arguments.json:
            print(answer.to_json(), flush=True)
    if not arguments.json:
        print(predict.table(answers))


def list_all(arguments: argparse.Namespace) -> None:
    from kennel.launch import cleanup
    from kennel.launch.places import open_place

    print(cleanup.list_all(open_place(arguments.on)).table())


def delete(arguments: argparse.Namespace) -> None:
    from kennel.launch import cleanup
    from kennel.launch.places import open_place

    place = open_place(arguments.on)
    deleted = cleanup.delete_all(place) if arguments.all else cleanup.delete_endpoint(arguments.endpoint_name, place)
    print("\n".join(deleted) or "nothing to delete")


def transform(arguments: argparse.Namespace) -> int:
    """Predictions for a folder of files; status 0 only if the transform job is Completed."""
    from kennel.launch import transform_command

    return transform_command.run(arguments)
