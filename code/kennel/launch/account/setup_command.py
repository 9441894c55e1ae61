"""`kennel setup`: what an AWS account has and lacks, the commands that make what is missing, and kennel.toml."""

import dataclasses
import json
import threading
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kennel.aws import quotas
from kennel.aws.account_rows import ADVICE, MISSING, OK, Account, Row
from kennel.aws.policies import filled
from kennel.aws.profile import FILE, Profile
from kennel.aws.setup import look, stack_command
from kennel.aws.words import in_words
from kennel.errors import UserError
from kennel.launch.places import Place
from kennel.launch.preflight.checks import commit_here

# By what they are for; a training's first.
INSTANCES: Final = {
    quotas.TRAINING: "ml.g5.xlarge",
    quotas.SPOT: "ml.g5.xlarge",
    quotas.ENDPOINT: "ml.c7i.large",
    quotas.TRANSFORM: "ml.c7i.xlarge",
}


def run(place: Place, *, is_written: bool = False) -> int:
    """Prints the table and the commands; the exit status: 0 only if all that is needed is there.

    is_written: kennel.toml in the working folder gets what was found. Raises CredentialsError, and UserError where
    there is another kennel.toml.
    """
    account, who = _account(place)
    rows = [
        Row("credentials", OK, who),
        Row("region", OK, f"{place.region}{_source(place.profile)}"),
        *look(account),
    ]
    print(table(rows))
    print(commands(rows, account), end="")
    if is_written:
        print(write_profile(account, Path.cwd() / FILE))
    return 0 if all(each.state == OK for each in rows if each.is_needed) else 1


def policy(name: str, place: Place) -> str:
    """One of iam/*.json with this account's names in it, for aws iam put-role-policy."""
    account, _ = _account(place)
    return json.dumps(filled(name, place.profile, account.number, region=place.region), indent=2)


def table(rows: Sequence[Row]) -> str:
    """A line a thing."""
    thing, state = (max(len(getattr(each, name)) for each in rows) for name in ("thing", "state"))
    return "\n".join(f"{each.thing:<{thing}}  {each.state:<{state}}  {each.said}" for each in rows)


def commands(rows: Sequence[Row], account: Account) -> str:
    """What makes what is missing, and what is advised; nothing if nothing is."""
    parts = [
        *_under(
            "what is missing, and what makes it:", [each for each in rows if each.state == MISSING and each.is_needed]
        ),
        *_under("not needed by all:", [each for each in rows if each.state == MISSING and not each.is_needed]),
        *_under("advice:", [each for each in rows if each.state == ADVICE]),
    ]
    if any(each.state == MISSING and each.thing in ("role", "train image", "serve image") for each in rows):
        parts += [
            "\nroles, repositories and a project that builds the images, all at once:\n"
            f"  {stack_command(account)}\n"
            "  aws codebuild start-build --project-name kennel-images\n"
        ]
    return "".join(parts)


def write_profile(account: Account, path: Path) -> str:
    """What was done: kennel.toml gets the settings that were found. Raises UserError where it says otherwise."""
    profile = account.profile
    wanted: dict[str, Any] = {
        "role": profile.role or account.found.get("execution-role"),
        "scheduler_role": profile.scheduler_role or account.found.get("scheduler-role"),
        "region": account.region,
        **{
            each.name: getattr(profile, each.name)
            for each in dataclasses.fields(Profile)
            if each.name not in ("role", "scheduler_role", "region", "source", "tags")
        },
        "tags": dict(profile.tags),
    }
    wanted = {key: list(value) if isinstance(value, tuple) else value for key, value in wanted.items() if value}
    if not path.exists():
        path.write_text(_toml(wanted))
        return f"written: {path}"
    there = tomllib.loads(path.read_text())
    if there == wanted:
        return f"{path} says so already"
    differing = [key for key in sorted({*there, *wanted}) if there.get(key) != wanted.get(key)]
    raise UserError(
        f"{path} is there already and says otherwise of {', '.join(differing)}. Nothing was written. It would be:\n"
        f"{_toml(wanted)}"
    )


def _account(place: Place) -> tuple[Account, str]:
    """The account, and who asks."""
    with in_words():
        identity = place.client("sts").get_caller_identity()
    account = Account(
        client=_Clients(place.client),
        profile=place.profile,
        number=str(identity["Account"]),
        region=place.region,
        images={"train": place.train_image, "serve": place.serve_image},
        commit=commit_here(),
        instances=INSTANCES,
    )
    return account, str(identity["Arn"])


class _Clients:
    """One of each service: boto3 takes long to make them, and must not be asked by several threads at once."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make, self._made, self._lock = make, dict[str, Any](), threading.Lock()

    def __call__(self, service: str) -> Any:  # noqa: ANN401  boto3's
        with self._lock:
            if service not in self._made:
                self._made[service] = self._make(service)
            return self._made[service]


def _source(profile: Profile) -> str:
    return f" ({profile.source})" if profile.source else ""


def _under(title: str, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    lines = [f"\n{title}\n"]
    for row in rows:
        lines += [f"  {row.thing}: {row.said}\n", *(f"    {command}\n" for command in row.commands)]
    return lines


def _toml(values: Mapping[str, Any]) -> str:
    """Texts, lists of texts, and tags: TOML's own writing of each is JSON's."""
    tags = ", ".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in values.get("tags", {}).items())
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if key != "tags"]
    return "\n".join([*lines, *([f"tags = {{ {tags} }}"] if tags else [])]) + "\n"
