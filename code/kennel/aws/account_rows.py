"""What `kennel setup` finds of an account: one row a thing, and the command that makes what is missing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from kennel.aws.profile import Profile
from kennel.aws.words import CredentialsError, explained
from kennel.errors import KennelError

OK: Final = "ok"
MISSING: Final = "missing"
ADVICE: Final = "advice"
UNKNOWN: Final = "not known"
_DENIED: Final = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403")


@dataclass(frozen=True)
class Row:
    """One thing. said: what was found. commands: that make it. is_needed: nothing runs without it."""

    thing: str
    state: str
    said: str
    commands: tuple[str, ...] = ()
    is_needed: bool = True


@dataclass(frozen=True)
class Account:
    """Whose account, where, and what is wanted there.

    client: makes boto3's clients, by their names. number: its 12 digits. images: addresses by `train` and `serve`.
    commit: of this checkout. instances: types by kennel.aws.quotas' uses; the needed one first.
    found: ARNs of roles, which checks leave for whoever writes kennel.toml.
    """

    client: Callable[[str], Any]
    profile: Profile
    number: str
    region: str
    images: dict[str, str]
    commit: str | None
    instances: dict[str, str]
    found: dict[str, str] = field(default_factory=dict)

    @property
    def partition(self) -> str:
        """As ARNs begin."""
        return "aws-cn" if self.region.startswith("cn-") else "aws-us-gov" if "us-gov" in self.region else "aws"


Check = Callable[[Account], Iterator[Row]]


def asking(thing: str, action: str, *, is_needed: bool = True) -> Callable[[Check], Callable[[Account], list[Row]]]:
    """A check for which a refused question is a row that says so. action: of IAM, that it needs.

    Raises CredentialsError where nobody is signed in any more.
    """

    def decorate(check: Check) -> Callable[[Account], list[Row]]:
        @wraps(check)
        def checked(account: Account) -> list[Row]:
            rows: list[Row] = []
            try:
                for row in check(account):
                    rows.append(row)
            except (ClientError, BotoCoreError, KennelError) as error:
                rows.append(Row(thing, UNKNOWN, _why(error, action), (), is_needed))
            return rows

        return checked

    return decorate


def _why(error: Exception, action: str) -> str:
    if isinstance(error, CredentialsError):
        raise error
    if not isinstance(error, ClientError):
        return str(error)
    if error.response["Error"]["Code"] in _DENIED:
        return f"not allowed to ask: {action} is needed for it"
    problem = explained(error)
    if isinstance(problem, CredentialsError):
        raise problem from error
    return str(problem)
