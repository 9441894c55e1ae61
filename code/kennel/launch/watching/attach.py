"""`kennel attach`: follows again what was left running, whatever it is, and ends as its own verb does.

attach("dogs-1", open_place("aws"))         # the exit status of train, tune, transform or deploy
"""

import sys
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.aws.words import in_words
from kennel.launch import train_command, tune_command
from kennel.launch.places import Place
from kennel.launch.watching.follow import follow_training, wait_for_endpoint
from kennel.launch.watching.follow_tuning import follow_tuning
from kennel.launch.watching.kinds import ENDPOINT, KINDS, TRANSFORM, Kind, kinds_of, stop_command
from kennel.launch.watching.watch import watch_kind

Json = dict[str, Any]


def attach(name: str, place: Place, *, kind: str | None = None, is_stopped: bool = False) -> int:
    """The exit status as its own verb's. kind: where several things have the name; else what still goes on.

    is_stopped: asked to stop first. Raises UserError where there is nothing of that name, Detached, CredentialsError.
    """
    with in_words():
        found = KINDS[kind] if kind else _choose(name, place)
        if is_stopped:
            _stop(found, name, place)
    return _FOLLOW[found.name](name, place)


def _choose(name: str, place: Place) -> Kind:
    """Says which it is where several have the name."""
    kinds = [kind for kind, _ in kinds_of(name, place)]
    if len(kinds) > 1:
        others = ", ".join(f"--kind {each.name}" for each in kinds[1:])
        print(f"{name}: this is the {kinds[0].title}, and there is more of that name: {others}", file=sys.stderr)
    return kinds[0]


def _stop(kind: Kind, name: str, place: Place) -> None:
    try:
        kind.send_stop(name, place)
    except ClientError as error:
        if kind.has_ended(kind.describe(name, place)):  # what follows says how
            return
        raise error


def _follow_training(name: str, place: Place) -> int:
    description = follow_training(name, place)
    return train_command.report(description, on=place.name)


def _follow_tuning(name: str, place: Place) -> int:
    outcome = follow_tuning(name, place)
    print(tune_command.summary(outcome, _data_of(outcome.description), place.name))
    return tune_command.exit_status(outcome)


def _follow_transform(name: str, place: Place) -> int:
    description = watch_kind(TRANSFORM, name, place)
    status = description["TransformJobStatus"]
    print(f"transform job {name}: {status}\noutputs: {description['TransformOutput']['S3OutputPath']}")
    if status == "Failed":
        print(f"kennel: {description.get('FailureReason', 'no reason was left')}", file=sys.stderr)
    return 0 if status == "Completed" else 1


def _follow_endpoint(name: str, place: Place) -> int:
    description = wait_for_endpoint(name, place)
    status = description["EndpointStatus"]
    if status == "InService":
        print(f"ask it:    kennel invoke {name} PHOTO... --on {place.name}")
    else:
        reason = description.get("FailureReason", "no reason was left")
        print(f"kennel: endpoint {name} is {status}: {reason}", file=sys.stderr)
    print(f"delete it: {stop_command(ENDPOINT, name, place)}")
    return 0 if status == "InService" else 1


def _data_of(description: Mapping[str, Any]) -> str:
    """Where a search's pictures are: its `data` channel, as a folder of this machine where it is one."""
    definition = description.get("TrainingJobDefinition") or {}
    for channel in definition.get("InputDataConfig") or ():
        if channel["ChannelName"] == "data":
            return urllib.parse.unquote(str(channel["DataSource"]["S3DataSource"]["S3Uri"]).removeprefix("file://"))
    return "DIR"


_FOLLOW: Final[Mapping[str, Callable[[str, Place], int]]] = {
    "training": _follow_training,
    "tuning": _follow_tuning,
    "transform": _follow_transform,
    "endpoint": _follow_endpoint,
}
