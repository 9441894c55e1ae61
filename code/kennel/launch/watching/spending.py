"""What something that runs on AWS has cost so far, from its description and the price list.

    spending = Spending(RegionPrices(place.region))
    str(spending.of_training(description))      # "$0.12 so far", "cost not known"

List prices of the machines, without tax, discounts, storage and transfer. What runs elsewhere costs nothing.
Exercise it: pytest tests/unit/launch/test_spending.py
"""

import dataclasses
import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from kennel.aws.estimate import dollars
from kennel.aws.prices import ASYNC, HOSTING, TRAINING, TRANSFORM, RegionPrices
from kennel.launch.places import Place

Json = dict[str, Any]
UNKNOWN: Final = "cost not known"
_HOUR_S: Final = 3600


@dataclass(frozen=True)
class Spent:
    """usd: None where the price is not known. is_at_most: a spot job's machines cost less than their list price.

    billed_s: of whole_s, which a spot job is not billed all of.
    """

    usd: Decimal | None
    billed_s: float = 0.0
    whole_s: float = 0.0
    is_at_most: bool = False
    is_final: bool = False

    def __str__(self) -> str:
        if self.usd is None:
            return UNKNOWN
        most = "at most " if self.is_at_most else ""
        saved = f", {self.billed_s:.0f} of {self.whole_s:.0f} s billed" if self.whole_s > self.billed_s else ""
        return f"{most}{dollars(self.usd)}" + (f"{saved}, list price" if self.is_final else " so far")


@dataclass
class Spending:
    """By the prices of a region. now: in UTC."""

    pricing: RegionPrices
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)

    def of_training(self, description: Json) -> Spent:
        """Of DescribeTrainingJob's answer. A spot job's end is by what AWS says it bills."""
        machines = description.get("ResourceConfig") or {}
        billed = description.get("BillableTimeInSeconds")
        is_final = description.get("TrainingEndTime") is not None
        is_spot = bool(description.get("EnableManagedSpotTraining"))
        whole = self._seconds(description, "Training")
        seconds = float(billed) if is_final and billed is not None else whole
        at_most = is_spot and not (is_final and billed is not None)
        spent = self._spent(machines, TRAINING, seconds, is_at_most=at_most, is_final=is_final)
        return dataclasses.replace(spent, whole_s=whole if is_spot else seconds)

    def of_transform(self, description: Json) -> Spent:
        """Of DescribeTransformJob's answer."""
        is_final = description.get("TransformEndTime") is not None
        machines = description.get("TransformResources") or {}
        return self._spent(machines, TRANSFORM, self._seconds(description, "Transform"), is_final=is_final)

    def of_trials(self, description: Json, trials: Iterable[Json]) -> Spent:
        """Of a tuning job's trainings, by their summaries; trainings of several kinds are not known."""
        definition = description.get("TrainingJobDefinition") or {}
        machines = definition.get("ResourceConfig") or definition.get("HyperParameterTuningResourceConfig") or {}
        seconds = sum(self._seconds(each, "Training") for each in trials)
        is_final = description.get("HyperParameterTuningEndTime") is not None
        at_most = bool(definition.get("EnableManagedSpotTraining"))
        return self._spent(machines, TRAINING, seconds, is_at_most=at_most, is_final=is_final)

    def endpoint_words(self, config: Json) -> str:
        """`$0.23 an hour while it exists`, of DescribeEndpointConfig's answer. Asynchronous ones have another price."""
        component = ASYNC if "AsyncInferenceConfig" in config else HOSTING
        usd = Decimal(0)
        for variant in config["ProductionVariants"]:
            hour = self._hour(str(variant.get("InstanceType", "")), component)
            if hour is None:
                return UNKNOWN
            usd += hour * int(variant.get("InitialInstanceCount") or 1)
        return f"{dollars(usd)} an hour while it exists"

    def _spent(
        self, machines: Json, component: str, seconds: float, *, is_at_most: bool = False, is_final: bool = False
    ) -> Spent:
        hour = self._hour(str(machines.get("InstanceType") or ""), component)
        if hour is None:
            return Spent(None, seconds, seconds, is_final=is_final)
        usd = hour * int(machines.get("InstanceCount") or 1) * Decimal(str(seconds)) / _HOUR_S
        return Spent(usd, seconds, seconds, is_at_most=is_at_most, is_final=is_final)

    def _hour(self, instance_type: str, component: str) -> Decimal | None:
        if not instance_type:  # several groups of machines, or none at all
            return None
        price = self.pricing.of(instance_type, component)
        return price.usd if price else None

    def _seconds(self, description: Json, what: str) -> float:
        """From the start of what is billed to its end, or to now; 0 before it."""
        began = description.get(f"{what}StartTime")
        if began is None:
            return 0.0
        return max(0.0, float(((description.get(f"{what}EndTime") or self.now()) - began).total_seconds()))


def spending_of(place: Place) -> Spending | None:
    """None where nothing costs anything."""
    return Spending(RegionPrices(place.region)) if place.is_aws else None
