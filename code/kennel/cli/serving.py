"""The verbs on endpoints: deploy and invoke."""

import argparse
import sys
from pathlib import Path
from typing import Any

from kennel.cli.options import add_limits, add_place, add_verb, settings_of


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """deploy and invoke."""
    verb = add_verb(verbs, "deploy", deploy, "puts a run's model behind an endpoint, new or there already")
    verb.add_argument("name", metavar="NAME", help="the training job, or the address of its model.tar.gz")
    verb.add_argument("--endpoint-name", metavar="E", help="(the job's name)")
    add_place(verb, image="that serves")
    _add_kinds(verb)
    _add_care(verb)
    verb = add_verb(verbs, "invoke", invoke, "asks an endpoint for labels and probabilities")
    verb.add_argument("endpoint_name", metavar="E")
    verb.add_argument("photos", type=Path, nargs="+", metavar="PHOTO")
    verb.add_argument("--json", action="store_true", help="one JSON line a photo, instead of a table")
    verb.add_argument("--target-model", metavar="JOB.tar.gz", help="which of many models that the endpoint serves")
    add_place(verb)


def _add_kinds(verb: argparse.ArgumentParser) -> None:
    """What it runs on."""
    group = verb.add_argument_group("kinds of endpoints, with --on aws")
    group.add_argument("--instance", metavar="TYPE", help="(ml.c7i.large)")
    group.add_argument("--min", type=int, metavar="N", help="machines at least (1; with --async 0)")
    group.add_argument("--max", type=int, metavar="N", help="machines at most: they follow the load (--min)")
    group.add_argument("--serverless", type=int, metavar="MB", help="no machines: billed by the request; 1024 to 6144")
    group.add_argument("--concurrency", type=int, metavar="N", help="of --serverless: requests at a time (5)")
    group.add_argument(
        "--async",
        dest="asynchronous",
        nargs="?",
        const="",
        metavar="S3",
        help="requests wait in a queue, answers come to S3 (below the bucket's prefix); no machine while nobody asks",
    )
    group.add_argument(
        "--multi-model", action="store_true", help="one endpoint for many models, to which this is added"
    )


def _add_care(verb: argparse.ArgumentParser) -> None:
    """What else is done for it."""
    group = verb.add_argument_group("care and money, with --on aws")
    group.add_argument("--ttl", metavar="TIME", help="AWS deletes it then, such as 90m or 2h")
    group.add_argument("--canary", type=int, metavar="PERCENT", help="of the machines get the new model first; 1 to 50")
    group.add_argument(
        "--capture", type=int, metavar="PERCENT", help="of requests and answers are kept in S3; 0: none any longer"
    )
    group.add_argument("--isolated", action="store_true", help="the container has no network")
    add_limits(group)


def deploy(arguments: argparse.Namespace) -> int:
    from kennel.launch.endpoint import deploy_command

    return deploy_command.run(arguments, settings_of(arguments))


def invoke(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from kennel.launch.endpoint import predict
    from kennel.launch.places import open_place

    predict.check_there(arguments.photos)
    place = open_place(arguments.on, settings=settings_of(arguments))
    asking = predict.Asking.of(arguments.endpoint_name, place, target_model=arguments.target_model)
    asking.check(arguments.photos)
    answers = []
    hide = not sys.stderr.isatty() or len(arguments.photos) < 10
    for answer in tqdm(
        asking.answers(arguments.photos), total=len(arguments.photos), unit="photo", disable=hide, leave=False
    ):
        answers.append(answer)
        if arguments.json:
            print(answer.to_json(), flush=True)
    if not arguments.json:
        print(predict.table(answers))
