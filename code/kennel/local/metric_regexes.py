"""Which regexes can give a metric its numbers."""

import re
from collections.abc import Iterable

from kennel.local.faults import invalid
from kennel.local.validation import Json


def check_metrics(definitions: Iterable[Json]) -> None:
    """Raises ApiError for a definition that can never give a number."""
    for definition in definitions:
        check_metric(definition)


def check_metric(definition: Json) -> None:
    """Raises ApiError unless the regex has exactly one group."""
    name, regex = definition["Name"], definition["Regex"]
    try:
        groups = re.compile(regex).groups
    except re.error as error:
        raise invalid(f"Invalid regex '{regex}' of metric '{name}': {error}.") from error
    if groups == 0:
        raise invalid(f"Invalid regex '{regex}' of metric '{name}': it has no group. Put the number in parentheses.")
    if groups > 1:
        raise invalid(
            f"Invalid regex '{regex}' of metric '{name}': it has {groups} groups, and the number must be in the only "
            "one. Write the others as (?:...)."
        )
