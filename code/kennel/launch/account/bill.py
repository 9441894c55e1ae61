"""What Kennel's things on AWS cost, as lines for a person and as JSON.

    bill = read_bill(open_place("aws"))
    print("\\n".join(bill.lines()))

Exercise it: pytest tests/aws/test_cost_on_aws.py
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kennel.aws.words import in_words
from kennel.errors import UserError
from kennel.launch.account import things as kinds
from kennel.launch.account.cost import FOOTNOTE, Cost, amount, costs_of, known_total
from kennel.launch.account.inventory import find
from kennel.launch.account.storage import Stored, stored_in
from kennel.launch.account.things import Inventory
from kennel.launch.places import Place


@dataclass(frozen=True)
class Bill:
    """costs: of endpoints and jobs. stored: what is below our prefix in S3, where that may be seen."""

    costs: tuple[Cost, ...]
    inventory: Inventory
    stored: Stored | None = None

    @property
    def published(self) -> str:
        """The date of the newest price list that was used."""
        return max((each.published[:10] for each in self.costs), default="")

    def lines(self) -> list[str]:
        """What runs now, first; then what was spent; then both in total."""
        now = [each for each in self.costs if each.hourly is None or each.hourly[1]]
        hourly = known_total([each.hourly for each in now])
        more = " and what is not known" * any(each.hourly is None for each in now)
        lines = [f"runs now: {amount(hourly)} an hour{more}" if now else "runs now: nothing that costs"]
        lines += [f"  {_label(each):<56} {amount(each.hourly)} an hour  {_words(each)}" for each in now]
        spent = known_total([each.spent for each in self.costs])
        lines.append(f"spent: {amount(spent)}" if self.costs else "spent: nothing is there that was paid for")
        lines += [f"  {_label(each):<56} {amount(each.spent)}  {_words(each)}" for each in self.costs]
        if unknown := [each for each in self.costs if each.spent is None]:
            lines.append(f"not in the sum: {len(unknown)} whose cost is not known")
        lines += [f"stored: {self.stored}"] if self.stored else []
        lines += [f"could not be looked at: {each}" for each in self.inventory.unasked]
        dated = f"price list of {self.published}; " if self.published else ""
        return [*lines, f"({dated}{FOOTNOTE})"]

    def as_json(self) -> dict[str, Any]:
        """Amounts are texts, as Decimal has them; [least, most]."""
        return {
            "hourly_usd": _pair(known_total([each.hourly for each in self.costs])),
            "spent_usd": _pair(known_total([each.spent for each in self.costs])),
            "prices_published": self.published,
            "things": [
                {
                    "kind": each.thing.kind,
                    "name": each.thing.name,
                    "state": each.thing.state,
                    "hourly_usd": _pair(each.hourly),
                    "spent_usd": _pair(each.spent),
                    "of": each.words,
                    "note": each.note,
                }
                for each in self.costs
            ],
            "stored": {"objects": self.stored.objects, "bytes": self.stored.size} if self.stored else None,
            "could_not_be_looked_at": list(self.inventory.unasked),
            "without": FOOTNOTE,
        }


def read_bill(place: Place, name: str | None = None) -> Bill:
    """Of everything, or of one job or endpoint on AWS. UserError if there is none of that name."""
    with in_words():
        inventory = find(place)
        return _bill(place, inventory, name)


def _bill(place: Place, inventory: Inventory, name: str | None) -> Bill:
    costs = costs_of(inventory, place)
    if name is None:
        return Bill(tuple(costs.all()), inventory, stored_in(place) if place.profile.bucket else None)
    # A training of a search has no line of its own unless it is asked for.
    named = [each for each in inventory.of(kinds.ENDPOINT, *kinds.JOBS) if each.name == name]
    if not named:
        raise UserError(f"There is no job or endpoint '{name}'. See what there is with: scripts/list.sh --on aws")
    return Bill(tuple(costs.of(each) for each in named), inventory)


def _label(cost: Cost) -> str:
    return f"{cost.thing.kind} {cost.thing.name} ({cost.thing.state})"


def _words(cost: Cost) -> str:
    return f"{cost.words} ({cost.note})" if cost.note else cost.words


def _pair(usd: tuple[Decimal, Decimal] | None) -> list[str] | None:
    return None if usd is None else [str(each) for each in usd]
