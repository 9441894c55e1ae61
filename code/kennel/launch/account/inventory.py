"""What of ours is in the account: by the tagging API and SageMaker's own lists, each looked at before it is shown.

    inventory = find(open_place("aws"))
    inventory.of(ENDPOINT)

The tagging API tells of deleted things for hours, and of new ones only after minutes. So what it names is described,
and what is new (of the last day) or runs is asked for in SageMaker's own lists too, with its tags. Nothing counts as
ours without the tag kennel:created-by.
Exercise it: pytest tests/aws/test_cleanup_on_aws.py
"""

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.aws.tags import MAKER, NAME, Tagged, find_tagged
from kennel.aws.words import CredentialsError, explained
from kennel.launch.account import companions
from kennel.launch.account.things import (
    CONFIG,
    ENDPOINT,
    MODEL,
    OTHER,
    TRAINING,
    TRANSFORM,
    TUNING,
    Inventory,
    Thing,
)
from kennel.launch.places import Place
from kennel.launch.watching.kinds import is_missing

# For so long the tagging API may not know a thing yet; it is minutes, and a day is safe.
_NEW: Final = datetime.timedelta(days=1)
_AT_ONCE: Final = 8
# Of an account, made once by hand: kept, and not shown.
_KEPT: Final = ("s3:bucket", "ecr:repository", "iam:role", "iam:policy")


@dataclass(frozen=True)
class Kind:
    """How SageMaker calls a kind of thing. prefix: of members, as in `TrainingJob` + `Name`. arn: its word in ARNs."""

    title: str
    prefix: str
    arn: str
    list_operation: str
    list_key: str
    describe_operation: str
    has_status: bool = True


KINDS: Final = (
    Kind(ENDPOINT, "Endpoint", "endpoint", "list_endpoints", "Endpoints", "describe_endpoint"),
    Kind(
        CONFIG,
        "EndpointConfig",
        "endpoint-config",
        "list_endpoint_configs",
        "EndpointConfigs",
        "describe_endpoint_config",
        has_status=False,
    ),
    Kind(MODEL, "Model", "model", "list_models", "Models", "describe_model", has_status=False),
    Kind(
        TRAINING, "TrainingJob", "training-job", "list_training_jobs", "TrainingJobSummaries", "describe_training_job"
    ),
    Kind(
        TUNING,
        "HyperParameterTuningJob",
        "hyper-parameter-tuning-job",
        "list_hyper_parameter_tuning_jobs",
        "HyperParameterTuningJobSummaries",
        "describe_hyper_parameter_tuning_job",
    ),
    Kind(
        TRANSFORM,
        "TransformJob",
        "transform-job",
        "list_transform_jobs",
        "TransformJobSummaries",
        "describe_transform_job",
    ),
)


@dataclass
class Looking:
    """One look at an account. What is refused is remembered in `unasked`; expired credentials end it."""

    place: Place
    unasked: list[str] = field(default_factory=list)

    def ask(self, what: str, question: Callable[[], Any], otherwise: Any = None) -> Any:  # noqa: ANN401  the answer
        """The answer; `otherwise` where AWS refuses."""
        try:
            return question()
        except ClientError as error:
            if is_gone(error):
                return otherwise
            refusal = explained(error)
            if isinstance(refusal, CredentialsError):
                raise refusal from error
            self.unasked.append(f"{what}: {refusal}")
            return otherwise


def is_gone(error: ClientError) -> bool:
    """Whether AWS says that what was asked about is not there; scaling has a code of its own for it."""
    return is_missing(error) or error.response["Error"].get("Code") == "ObjectNotFoundException"


def find(place: Place) -> Inventory:
    """All of ours in the place's region. Raises CredentialsError when nobody is signed in (any longer)."""
    looking = Looking(place)
    tagged = looking.ask("the tagging API", lambda: list(find_tagged(place.client("resourcegroupstaggingapi"))))
    names = {kind: _candidates(kind, tagged, looking) for kind in KINDS}
    asked = [(kind, name, owner) for kind, owners in names.items() for name, owner in owners.items()]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        described = threads.map(lambda each: _describe(each[0], each[1], each[2], looking), asked)
        things = [thing for thing in described if thing]
    around = companions.find(looking, tagged or (), [each for each in things if each.kind == ENDPOINT])
    return Inventory(
        (*things, *around.things, *_others(tagged or ())), tuple(dict.fromkeys(looking.unasked)), around.due
    )


def _candidates(kind: Kind, tagged: Sequence[Tagged] | None, looking: Looking) -> dict[str, str]:
    """What may be there of a kind and is ours: the owner by name."""
    known = [each for each in tagged or () if each.kind == f"sagemaker:{kind.arn}"]
    found = {_cased(each.name, each.tags.get(NAME, "")): each.tags.get(NAME, "") for each in known}
    arns = {each.arn.lower() for each in known}
    for summary in _listed(kind, looking, is_all=tagged is None):
        arn, name = summary[f"{kind.prefix}Arn"], summary[f"{kind.prefix}Name"]
        if arn.lower() in arns or name in found:
            continue
        tags = _tags(arn, looking)
        if tags.get(MAKER) == "kennel":
            found[name] = tags.get(NAME, "")
    return found


def _listed(kind: Kind, looking: Looking, *, is_all: bool) -> Iterator[Mapping[str, Any]]:
    """What SageMaker lists itself: new things, what runs, and all endpoints; with `is_all` everything."""
    since = datetime.datetime.now(datetime.UTC) - _NEW
    questions: list[dict[str, Any]] = [{}]
    if kind.title != ENDPOINT and not is_all:
        questions = [{"CreationTimeAfter": since}]
        questions += [{"StatusEquals": state} for state in ("InProgress", "Stopping") if kind.has_status]
    seen = set()
    for question in questions:
        for each in looking.ask(f"{kind.title}s", lambda q=question: _pages(kind, looking.place, q), otherwise=[]):  # type: ignore[misc]
            if each[f"{kind.prefix}Arn"] not in seen:
                seen.add(each[f"{kind.prefix}Arn"])
                yield each


def _pages(kind: Kind, place: Place, question: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    pages = place.sagemaker.get_paginator(kind.list_operation).paginate(**question)
    return [each for page in pages for each in page[kind.list_key]]


def _tags(arn: str, looking: Looking) -> dict[str, str]:
    """The tags of a SageMaker resource; none of one that has gone meanwhile."""
    answer = looking.ask("tags", lambda: looking.place.sagemaker.list_tags(ResourceArn=arn), otherwise={"Tags": []})
    return {tag["Key"]: tag["Value"] for tag in answer["Tags"]}


def _describe(kind: Kind, name: str, owner: str, looking: Looking) -> Thing | None:
    """The thing as it is; None if it is not (any longer). One that may not be looked at is there in a state `?`."""
    describe = getattr(looking.place.sagemaker, kind.describe_operation)
    try:
        found = describe(**{f"{kind.prefix}Name": name})
    except ClientError as error:
        if is_gone(error):
            return None
        refusal = explained(error)
        if isinstance(refusal, CredentialsError):
            raise refusal from error
        looking.unasked.append(f"{kind.title}s: {refusal}")
        return Thing(kind.title, name, owner, state="?")
    return Thing(
        kind.title,
        found[f"{kind.prefix}Name"],
        owner,
        found[f"{kind.prefix}Status"] if kind.has_status else "",
        found["CreationTime"],
        found[f"{kind.prefix}Arn"],
        found,
    )


def _others(tagged: Sequence[Tagged]) -> Iterator[Thing]:
    """What carries our tag and is of a kind that Kennel does not make."""
    ours = {f"sagemaker:{kind.arn}" for kind in KINDS} | set(companions.TAGGED_KINDS) | set(_KEPT)
    for each in tagged:
        if each.kind not in ours:
            yield Thing(OTHER, each.arn, each.tags.get(NAME, ""), arn=each.arn)


def _cased(name: str, owner: str) -> str:
    """ARNs may have a name in lower case. What it has in common with its owner's name is cased as that."""
    same = 0
    while same < min(len(name), len(owner)) and name[same].lower() == owner[same].lower():
        same += 1
    return owner[:same] + name[same:]
