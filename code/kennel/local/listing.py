"""Pages, filters and order of SageMaker's List calls."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from kennel.local.faults import invalid
from kennel.local.validation import Json

# AWS's default, named only by ListEndpoints; the others behave alike.
PAGE: Final = 10


def list_page(
    request: Json,
    descriptions: Iterable[Json],
    *,
    key: str,
    prefix: str,
    members: Sequence[str],
    descending: bool = True,
) -> Json:
    """The answer to a List call: `key` with the summaries of one page, and NextToken if there are more.

    prefix: what the members' names begin with, as in `TrainingJob` + `Name`. members: what a summary holds.
    descending: the order when the request names none.
    """
    kept = [each for each in descriptions if _is_wanted(each, request, prefix)]
    field = {"Name": f"{prefix}Name", "Status": f"{prefix}Status"}.get(request.get("SortBy", ""), "CreationTime")
    order = request.get("SortOrder", "Descending" if descending else "Ascending")
    kept.sort(key=lambda each: (each[field], each[f"{prefix}Name"]), reverse=order == "Descending")
    summaries = [{member: each[member] for member in members if member in each} for each in kept]
    return page_of(request, summaries, key=key)


def page_of(request: Json, items: Sequence[Any], *, key: str) -> Json:
    """One page of `items` under `key`, by the request's NextToken and MaxResults."""
    start = read_token(request.get("NextToken"))
    end = start + int(request.get("MaxResults", PAGE))
    more = {"NextToken": make_token(end)} if end < len(items) else {}
    return {key: list(items[start:end]), **more}


def make_token(start: int) -> str:
    """A page token for the items from `start` on."""
    return base64.urlsafe_b64encode(f"from {start}".encode()).decode()


def read_token(token: str | None) -> int:
    """Where a page token points; 0 without one. Raises ApiError for a token that is none of ours."""
    if token is None:
        return 0
    try:
        word, number = base64.urlsafe_b64decode(token.encode()).decode().split()
        if word == "from" and int(number) >= 0:
            return int(number)
    except (binascii.Error, ValueError):
        pass  # the error is the same as for a token that decodes to something else
    raise invalid(f"Invalid NextToken '{token}'. Pass the token of the previous answer as it was.")


def _is_wanted(description: Json, request: Json, prefix: str) -> bool:
    tests: dict[str, Callable[[Any], bool]] = {
        "NameContains": lambda part: part.lower() in description[f"{prefix}Name"].lower(),
        "StatusEquals": lambda status: description[f"{prefix}Status"] == status,
        "CreationTimeAfter": lambda time: description["CreationTime"] >= time,
        "CreationTimeBefore": lambda time: description["CreationTime"] < time,
        "LastModifiedTimeAfter": lambda time: description["LastModifiedTime"] >= time,
        "LastModifiedTimeBefore": lambda time: description["LastModifiedTime"] < time,
        # There are neither warm pools nor training plans here, so nothing has such a status.
        "WarmPoolStatusEquals": lambda status: False,
        "TrainingPlanArnEquals": lambda plan: False,
    }
    return all(test(request[name]) for name, test in tests.items() if name in request)
