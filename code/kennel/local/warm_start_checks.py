"""The rules between a tuning job that is warm started and its parents."""

from collections.abc import Callable

from kennel.local.faults import invalid
from kennel.local.validation import Json


def check_warm_start(request: Json, *, find_parent: Callable[[str], Json | None]) -> None:
    """Raises ApiError for parents that a new tuning job cannot learn from."""
    for parent in request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", []):
        name = parent.get("HyperParameterTuningJobName")
        if not name or find_parent(name) is None:
            raise invalid(f"The parent tuning job '{name}' of WarmStartConfig is not there. Name one that has ended.")
