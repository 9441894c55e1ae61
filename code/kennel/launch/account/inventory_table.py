"""What Kennel made on AWS as a table: first what costs, then what is only there.

Exercise it: pytest tests/unit/launch/test_cost.py
"""

import datetime
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from kennel.aws.estimate import dollars
from kennel.launch.account import things as kinds
from kennel.launch.account.cost import Costs, amount, duration, known_total
from kennel.launch.account.things import Inventory, Thing

_REST: Final = (
    kinds.CONFIG,
    kinds.MODEL,
    kinds.ALARM,
    kinds.SCALING,
    kinds.SCHEDULE,
    kinds.SCHEDULE_GROUP,
    kinds.LOG_GROUP,
    kinds.OTHER,
)
_COUNTED: Final = {
    "InProgress": "running",
    "Completed": "completed",
    "Stopped": "stopped",
    "NonRetryableError": "failed",
    "RetryableError": "interrupted",
}


def table(inventory: Inventory, costs: Costs) -> str:
    """For a person; says too what could not be looked at."""
    running = [each for each in (*inventory.of(kinds.ENDPOINT), *inventory.alone) if each.is_running]
    done = [each for each in (*inventory.of(kinds.ENDPOINT), *inventory.alone) if not each.is_running]
    rest = [*done, *(each for kind in _REST for each in inventory.of(kind))]
    return "\n".join(
        [
            *_costing(running, inventory, costs),
            *_resting(rest, costs.now),
            *(f"could not be looked at: {each}" for each in inventory.unasked),
        ]
    )


def trainings(summary: Mapping[str, Any]) -> str:
    """`  18 completed, 2 failed` of a tuning job; "" of anything else."""
    counts = summary.get("TrainingJobStatusCounters") or {}
    words = [f"{counts[key]} {word}" for key, word in _COUNTED.items() if counts.get(key)]
    return f"  {', '.join(words)}" if words else ""


def _costing(running: list[Thing], inventory: Inventory, costs: Costs) -> list[str]:
    if not running:
        return ["nothing runs that costs"]
    hourly = [costs.of(each).hourly for each in running]
    lines = [f"{'runs now':<60} {'state':<12} {'created (UTC)':<20} {'age':<9} {'an hour':<10} goes"]
    for each, usd in zip(running, hourly, strict=True):
        price = amount(usd) if usd is None or usd[1] else "by use"
        lines.append(
            f"{_row(each, costs.now)} {price:<10} {_goes(each, inventory, costs.now)}{trainings(each.details)}"
        )
    total = known_total(hourly)[1]
    unknown = " and what is not known" if None in hourly else ""
    return [*lines, f"together {dollars(total)} an hour{unknown}" if total or unknown else "together nothing an hour"]


def _resting(rest: list[Thing], now: datetime.datetime) -> list[str]:
    if not rest:
        return []
    lines = [f"{'is there':<60} {'state':<12} {'created (UTC)':<20} age"]
    return ["", *lines, *(f"{_row(each, now)}{trainings(each.details)}".rstrip() for each in rest)]


def _row(thing: Thing, now: datetime.datetime) -> str:
    created = f"{thing.created.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}" if thing.created else ""
    age = duration(max((now - thing.created).total_seconds(), 0)) if thing.created else ""
    state = "warm pool" if thing.is_warm else thing.state
    return f"{thing!s:<60} {state:<12} {created:<20} {age:<9}"


def _goes(thing: Thing, inventory: Inventory, now: datetime.datetime) -> str:
    """When it is deleted by itself; a job ends by itself in any case."""
    if thing.kind != kinds.ENDPOINT:
        return "when it ends"
    due = inventory.due.get(thing.name)
    if due is None:
        return "never (no --ttl)"
    left_s = (due - now).total_seconds()
    return f"in {duration(left_s)} (--ttl)" if left_s > 0 else f"was due {duration(-left_s)} ago (--ttl)"


def hourly_now(inventory: Inventory, costs: Costs) -> Decimal:
    """What runs, in US dollars an hour, as far as it is known."""
    running = [each for each in (*inventory.of(kinds.ENDPOINT), *inventory.alone) if each.is_running]
    return known_total([costs.of(each).hourly for each in running])[1]
