"""Being rid of what Kennel made on AWS: what was meant, whether that is really wanted, and what is left.

    clear(open_place("aws"), Which(is_all=True), say=print, ask=input)

Exercise it: pytest tests/aws/test_cleanup_on_aws.py
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from kennel.aws.estimate import dollars
from kennel.errors import KennelError, UserError
from kennel.launch.account import things as kinds
from kennel.launch.account.cost import Costs, amount, costs_of
from kennel.launch.account.inventory import find
from kennel.launch.account.inventory_table import hourly_now
from kennel.launch.account.removal import Removal
from kennel.launch.account.storage import Stored, check_prefix, stored_in
from kennel.launch.account.things import Inventory, Thing
from kennel.launch.places import Place

# As they are deleted.
_ORDER = (
    kinds.SCALING,
    kinds.ALARM,
    kinds.ENDPOINT,
    kinds.CONFIG,
    kinds.MODEL,
    kinds.SCHEDULE,
    kinds.SCHEDULE_GROUP,
    kinds.TUNING,
    kinds.TRANSFORM,
    kinds.TRAINING,
    kinds.LOG_GROUP,
)


@dataclass(frozen=True)
class Which:
    """What is to go: an endpoint with what was made for it, a job, or all. with_data: and our part of the bucket."""

    endpoint: str | None = None
    job: str | None = None
    is_all: bool = False
    with_data: bool = False
    is_dry: bool = False

    def of(self, inventory: Inventory) -> Inventory:
        """Those. UserError for a name that nothing has."""
        if self.is_all:
            return inventory
        chosen = inventory.for_endpoint(self.endpoint) if self.endpoint else inventory.for_job(self.job or "")
        if not chosen.things:
            what, flag = ("endpoint", "--endpoint-name") if self.endpoint else ("job", "--name")
            raise UserError(
                f"{flag} {self.endpoint or self.job}: there is no such {what} of Kennel's, and nothing that was made "
                "for one. See what there is with: scripts/list.sh --on aws"
            )
        return chosen


def clear(place: Place, which: Which, *, say: Callable[[str], None], ask: Callable[[str], bool]) -> None:
    """Deletes what was meant. ask: whether a question is answered yes; it is asked once, before anything goes.

    Raises UserError if there is no such thing or the answer is no, and KennelError with what is left.
    """
    if which.with_data:
        _check_data(place, which)
    inventory = which.of(find(place))
    costs = costs_of(inventory, place)
    stored = _stored(place) if which.with_data else None
    if not inventory.things and not (stored and (stored.objects or stored.uploads)):
        say("nothing to delete")
        return _report(dict(_unseen(inventory)))
    if which.is_dry:
        return _show(inventory, costs, stored, say)
    if not ask(_question(inventory, costs, stored)):
        raise UserError("Nothing was deleted.")
    removal = Removal(inventory, place, costs, say)
    removal.run(stored)
    _report(removal.left | _unseen(inventory))


def _check_data(place: Place, which: Which) -> None:
    if not which.is_all:
        raise UserError("--data is all below our prefix in the bucket, whatever it is of: give it with --all.")
    check_prefix(place)


def _stored(place: Place) -> Stored:
    stored = stored_in(place)
    if stored is None:
        raise UserError(
            f"--data: {place.uri()} may not be listed (s3:ListBucketVersions, s3:ListBucketMultipartUploads). "
            "Ask for that, or leave --data out."
        )
    return stored


def _question(inventory: Inventory, costs: Costs, stored: Stored | None) -> str:
    """`Delete 1 endpoint, 2 models (now $0.12 an hour)?`"""
    counts = Counter(each.kind for each in inventory.things if each.kind != kinds.OTHER)
    words = [f"{counts[kind]} {kind}{'s' * (counts[kind] > 1)}" for kind in _ORDER if counts[kind]]
    words += [f"all {stored}"] if stored else []
    return f"Delete {', '.join(words)} (now {dollars(hourly_now(inventory, costs))} an hour)?"


def _show(inventory: Inventory, costs: Costs, stored: Stored | None, say: Callable[[str], None]) -> None:
    """A tuning job's trainings are in its own line."""
    alone = inventory.alone
    for thing in (thing for kind in _ORDER for thing in inventory.of(kind)):
        if thing.kind not in kinds.JOBS or thing in alone:
            say(_would(thing, costs))
    if stored:
        say(f"would delete {stored}")


def _would(thing: Thing, costs: Costs) -> str:
    verb = "would untag" if thing.kind == kinds.TRANSFORM else "would delete"
    cost = costs.of(thing)
    return f"{verb} {thing} ({amount(cost.spent)}: {cost.words})" if cost.words else f"{verb} {thing}"


def _unseen(inventory: Inventory) -> dict[str, str]:
    """What may be there too, because AWS did not let us look."""
    parted = (each.partition(": ") for each in inventory.unasked)
    return {f"perhaps more ({what})": why for what, _, why in parted}


def _report(left: dict[str, str]) -> None:
    """Raises KennelError if something is left."""
    if left:
        lines = "\n".join(f"  {thing}: {why}" for thing, why in left.items())
        raise KennelError(f"{len(left)} left; say it again when the reason is gone:\n{lines}")
