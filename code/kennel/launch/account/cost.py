"""What is being paid, and what was spent, for what Kennel made on AWS: list prices times what AWS says it ran.

    bill = bill_for(inventory, place)
    print("\\n".join(bill.lines()))

Amounts are Decimal, in US dollars. A range is given where AWS does not say how many machines there were: of an endpoint
that scales, by the bounds of its scaling; of a spot job that runs, which is billed at a part of its seconds.
Exercise it: pytest tests/unit/launch/test_cost.py
"""

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from kennel.aws.estimate import dollars
from kennel.aws.prices import ASYNC, HOSTING, TRAINING, TRANSFORM, AmbiguousPriceError, RegionPrices
from kennel.launch.account import things as kinds
from kennel.launch.account.things import Inventory, Thing
from kennel.launch.places import Place

_HOUR_S: Final = 3600
_NOTHING: Final = Decimal(0)
# AWS promises "up to 90 %" off for spot.
_SPOT_LEAST: Final = Decimal("0.1")
FOOTNOTE: Final = (
    "list prices, without data, S3, logs, volumes, savings plans, credits and tax; what was deleted before is not in "
    "it (Cost Explorer has it, by the tag kennel:created-by, once that is activated for billing)"
)


@dataclass(frozen=True)
class Cost:
    """Of one thing, in US dollars. None: not known. hourly: as it is now; 0 when nothing runs.

    words: what it is the price of. note: what else is to be known.
    """

    thing: Thing
    hourly: tuple[Decimal, Decimal] | None = (_NOTHING, _NOTHING)
    spent: tuple[Decimal, Decimal] | None = (_NOTHING, _NOTHING)
    words: str = ""
    note: str = ""
    published: str = ""


@dataclass(frozen=True)
class Machines:
    """Instances that ran. least, most: how many at once. seconds: for how long; least and most."""

    instance_type: str
    least: int
    most: int
    seconds: tuple[float, float]


@dataclass(frozen=True)
class Costs:
    """Works out what each thing of an inventory costs. now: in UTC."""

    inventory: Inventory
    pricing: RegionPrices
    now: datetime.datetime

    def of(self, thing: Thing) -> Cost:
        """Of one; of what is free, or whose time AWS does not let us see, nothing."""
        if not thing.details:
            return Cost(thing, None, None, note="AWS does not let us look") if thing.state == "?" else Cost(thing)
        work_out: Mapping[str, Callable[[Thing], Cost]] = {
            kinds.ENDPOINT: self._endpoint,
            kinds.TRAINING: self._training,
            kinds.TUNING: self._tuning,
            kinds.TRANSFORM: self._transform,
        }
        return work_out[thing.kind](thing) if thing.kind in work_out else Cost(thing)

    def all(self) -> Iterator[Cost]:
        """Of endpoints and jobs; a tuning job's trainings are in its own."""
        for thing in (*self.inventory.of(kinds.ENDPOINT), *self.inventory.alone):
            yield self.of(thing)

    def _training(self, thing: Thing) -> Cost:
        details = thing.details
        instance_type, count = _cluster(details["ResourceConfig"])
        seconds, note = training_seconds(details, self.now)
        cost = self._priced(thing, Machines(instance_type, count, count, seconds), TRAINING)
        kept = details.get("WarmPoolStatus", {})
        if kept.get("Status") in ("Available", "InUse", "Reused", "Terminated"):
            warm_s = kept.get("ResourceRetainedBillableTimeInSeconds")
            cost = self._with_warm_pool(cost, instance_type, count, warm_s)
        return _noted(cost, note)

    def _with_warm_pool(self, cost: Cost, instance_type: str, count: int, warm_s: float | None) -> Cost:
        """The machines that wait for the next job, which are billed as those that train."""
        is_waiting = cost.thing.is_warm
        if warm_s is None and is_waiting:
            end = cost.thing.details.get("TrainingEndTime", self.now)
            warm_s = max((self.now - end).total_seconds(), 0)
        kept = self._priced(
            cost.thing, Machines(instance_type, count, count, (warm_s or 0, warm_s or 0)), TRAINING, is_on=is_waiting
        )
        where = "waits for the next job, and is billed" if is_waiting else "is over"
        return Cost(
            cost.thing,
            _sum(cost.hourly, kept.hourly),
            _sum(cost.spent, kept.spent),
            cost.words,
            f"its warm pool {where} ({duration(warm_s or 0)})",
            cost.published,
        )

    def _tuning(self, thing: Thing) -> Cost:
        trials = [self._training(each) for each in self.inventory.trials(thing) if each.details]
        hourly, spent = _total(each.hourly for each in trials), _total(each.spent for each in trials)
        published = max((each.published for each in trials), default="")
        return Cost(thing, hourly, spent, f"{len(trials)} trainings", published=published)

    def _transform(self, thing: Thing) -> Cost:
        resources = thing.details["TransformResources"]
        started = thing.details.get("TransformStartTime")
        ended = thing.details.get("TransformEndTime", self.now)
        seconds = max((ended - started).total_seconds(), 0) if started else 0
        count = resources["InstanceCount"]
        return self._priced(thing, Machines(resources["InstanceType"], count, count, (seconds, seconds)), TRANSFORM)

    def _endpoint(self, thing: Thing) -> Cost:
        config = self._config(thing)
        if config is None:
            return Cost(thing, None, None, note="its configuration is gone, and with it the type of its machines")
        variant = config["ProductionVariants"][0]
        if "ServerlessConfig" in variant:
            return self._serverless(thing, variant["ServerlessConfig"])
        running: Mapping[str, Any] = next(iter(thing.details.get("ProductionVariants", [])), {})
        count = running.get("CurrentInstanceCount", variant.get("InitialInstanceCount", 1))
        least, most = self._bounds(thing.name, count)
        age_s = max((self.now - thing.details["CreationTime"]).total_seconds(), 0)
        component = ASYNC if "AsyncInferenceConfig" in config else HOSTING
        # One that never came up had machines for some minutes of its age at most; AWS does not say how many.
        seconds = (0.0, age_s) if thing.state in ("Creating", "Failed") else (age_s, age_s)
        return self._priced(thing, Machines(variant["InstanceType"], least, most, seconds), component, now=count)

    def _serverless(self, thing: Thing, config: Mapping[str, Any]) -> Cost:
        """Billed for the time in which it answers, which AWS does not say here; what is held ready is billed always."""
        memory_mb, held = config["MemorySizeInMB"], config.get("ProvisionedConcurrency")
        try:
            price = self.pricing.prices.serverless(memory_mb, region=self.pricing.region)
        except AmbiguousPriceError:
            price = None
        words = f"serverless of {memory_mb} MB" + (f", {held} held ready" if held else "")
        note = "billed for the time that it answers" + (f": {price}" if price else "")
        return Cost(thing, None if held else (_NOTHING, _NOTHING), None, words, note)

    def _config(self, endpoint: Thing) -> Mapping[str, Any] | None:
        name = endpoint.details.get("EndpointConfigName")
        return next((each.details for each in self.inventory.of(kinds.CONFIG) if each.name == name), None)

    def _bounds(self, endpoint: str, count: int) -> tuple[int, int]:
        """Of the number of machines since it was made, as far as its scaling now says."""
        targets = [each.details for each in self.inventory.of(kinds.SCALING) if each.owner == endpoint]
        bounds = [each[key] for each in targets for key in ("MinCapacity", "MaxCapacity")]
        return min([count, *bounds]), max([count, *bounds])

    def _priced(
        self,
        thing: Thing,
        machines: Machines,
        component: str,
        *,
        now: int | None = None,
        is_on: bool | None = None,
    ) -> Cost:
        """now: machines there are at the moment, where that is not all. is_on: whether they are billed now."""
        is_on = thing.is_running and not thing.is_warm if is_on is None else is_on
        count = str(machines.most) if machines.least == machines.most else f"{machines.least} to {machines.most}"
        words = f"{count} x {machines.instance_type}, {duration(machines.seconds[1])}"
        price = self.pricing.of(machines.instance_type, component)
        if price is None:
            free = (_NOTHING, _NOTHING)
            return Cost(thing, None if is_on else free, None, words, "no price is known")
        hourly = price.usd * (machines.most if now is None else now) if is_on else _NOTHING
        least = price.usd * machines.least * Decimal(str(machines.seconds[0])) / _HOUR_S
        most = price.usd * machines.most * Decimal(str(machines.seconds[1])) / _HOUR_S
        return Cost(thing, (hourly, hourly), (least, most), words, published=price.published)


def training_seconds(details: Mapping[str, Any], now: datetime.datetime) -> tuple[tuple[float, float], str]:
    """What is billed of one machine, in seconds, least and most; and a word on it."""
    is_spot = details.get("EnableManagedSpotTraining", False)
    billed = details.get("BillableTimeInSeconds")
    if billed is not None:
        return (float(billed), float(billed)), "spot" if is_spot else ""
    start, end = details.get("TrainingStartTime"), details.get("TrainingEndTime", now)
    ran = max((end - start).total_seconds(), 0.0) if start else 0.0
    if is_spot:
        return (ran * float(_SPOT_LEAST), ran), "spot: billed at 10 to 100 %, known when it ends"
    return (ran, ran), ""


def costs_of(inventory: Inventory, place: Place) -> Costs:
    """By the prices of the place's region, as things are now."""
    return Costs(inventory, RegionPrices(place.region), datetime.datetime.now(datetime.UTC))


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h` or `9.1 days`."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}" if size < _HOUR_S else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} days"


def amount(usd: tuple[Decimal, Decimal] | None) -> str:
    """`$1.27`, `$0.90 to $1.27`, or `not known`."""
    if usd is None:
        return "not known"
    least, most = (dollars(each) for each in usd)
    return most if least == most else f"{least} to {most}"


def _cluster(resources: Mapping[str, Any]) -> tuple[str, int]:
    """Type and number of a training's machines; those it got, where it had named several types."""
    if groups := resources.get("InstanceGroups"):
        return groups[0]["InstanceType"], sum(each["InstanceCount"] for each in groups)
    return resources.get("InstanceType", "?"), resources.get("InstanceCount", 1)


def _noted(cost: Cost, note: str) -> Cost:
    notes = ", ".join(each for each in (note, cost.note) if each)
    return Cost(cost.thing, cost.hourly, cost.spent, cost.words, notes, cost.published)


def _sum(one: tuple[Decimal, Decimal] | None, other: tuple[Decimal, Decimal] | None) -> tuple[Decimal, Decimal] | None:
    return None if one is None or other is None else (one[0] + other[0], one[1] + other[1])


def _total(amounts: Iterator[tuple[Decimal, Decimal] | None]) -> tuple[Decimal, Decimal] | None:
    """None if one of them is not known."""
    total: tuple[Decimal, Decimal] | None = (_NOTHING, _NOTHING)
    for each in amounts:
        total = _sum(total, each)
    return total


def known_total(amounts: Sequence[tuple[Decimal, Decimal] | None]) -> tuple[Decimal, Decimal]:
    """Of those that are known."""
    known = [each for each in amounts if each is not None]
    return sum((each[0] for each in known), _NOTHING), sum((each[1] for each in known), _NOTHING)
