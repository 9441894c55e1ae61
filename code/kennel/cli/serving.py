"""The verbs on endpoints: deploy and invoke."""

import argparse
import sys
from pathlib import Path
from typing import Any

from kennel.cli.options import add_place, add_verb, settings_of
from kennel.errors import KennelError


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """deploy and invoke."""
    verb = add_verb(verbs, "deploy", deploy, "puts a run's model behind an endpoint")
    verb.add_argument("name", metavar="NAME", help="the training job")
    verb.add_argument("--endpoint-name", metavar="E", help="(the job's name)")
    add_place(verb, image="that serves")
    verb = add_verb(verbs, "invoke", invoke, "asks an endpoint for labels and probabilities")
    verb.add_argument("endpoint_name", metavar="E")
    verb.add_argument("photos", type=Path, nargs="+", metavar="PHOTO")
    verb.add_argument("--json", action="store_true", help="one JSON line a photo, instead of a table")
    add_place(verb)


def deploy(arguments: argparse.Namespace) -> int:
    from kennel.launch import cleanup, follow, jobs
    from kennel.launch.places import open_place

    endpoint = jobs.check_name(arguments.endpoint_name or arguments.name, "Endpoint")
    place = open_place(arguments.on, image=arguments.image, settings=settings_of(arguments))
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
    place = open_place(arguments.on, settings=settings_of(arguments))
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
