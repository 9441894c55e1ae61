"""What is said of the cost of what runs: by AWS's times and the price list, and nothing where it is not known."""

import datetime
from decimal import Decimal
from typing import Any

import pytest

from kennel.aws.prices import ASYNC, AmbiguousPriceError, Price, PriceList, RegionPrices
from kennel.launch.places import Place
from kennel.launch.watching.spending import Spending, spending_of

BEGAN = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
TWO = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2}


class Listed(PriceList):
    """A dollar an hour for one type, two behind a queue; several prices for another."""

    asked = 0

    def hourly(self, instance_type: str, component: str, *, region: str) -> Price | None:
        self.asked += 1
        if instance_type == "ml.two":
            raise AmbiguousPriceError("several")
        usd = Decimal(2 if component == ASYNC else 1)
        return Price(usd, "2026-11-20") if instance_type == "ml.g5.xlarge" else None


def spending() -> Spending:
    return Spending(RegionPrices("eu-west-1", Listed()), now=lambda: BEGAN + datetime.timedelta(hours=3))


def ended(hours: float) -> dict[str, Any]:
    return {"TrainingStartTime": BEGAN, "TrainingEndTime": BEGAN + datetime.timedelta(hours=hours)}


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ({"ResourceConfig": TWO, "TrainingStartTime": BEGAN}, "$6.00 so far"),
        ({"ResourceConfig": TWO}, "$0.00 so far"),
        ({"ResourceConfig": TWO, **ended(1)}, "$2.00, list price"),
        (
            {"ResourceConfig": TWO, "TrainingStartTime": BEGAN, "EnableManagedSpotTraining": True},
            "at most $6.00 so far",
        ),
        (
            {"ResourceConfig": TWO, **ended(1), "EnableManagedSpotTraining": True, "BillableTimeInSeconds": 900},
            "$0.50, 900 of 3600 s billed, list price",
        ),
        ({"ResourceConfig": {"InstanceType": "ml.new"}, **ended(1)}, "cost not known"),
        ({"ResourceConfig": {"InstanceType": "ml.two"}, **ended(1)}, "cost not known"),
        ({"ResourceConfig": {"InstanceGroups": []}, **ended(1)}, "cost not known"),
    ],
)
def test_a_training_costs_its_machines_times(description: dict[str, Any], said: str) -> None:
    assert str(spending().of_training(description)) == said


def test_a_search_costs_all_its_trainings() -> None:
    description = {"TrainingJobDefinition": {"HyperParameterTuningResourceConfig": TWO}}
    trials = [ended(0.5), {"TrainingStartTime": BEGAN}, {}]
    assert str(spending().of_trials(description, trials)) == "$7.00 so far"


def test_a_transform_and_an_endpoint_cost_theirs() -> None:
    prices = spending()
    transform = {"TransformResources": TWO, "TransformStartTime": BEGAN}
    assert str(prices.of_transform(transform)) == "$6.00 so far"
    variant = {"InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 3}
    assert prices.endpoint_words({"ProductionVariants": [variant, variant]}) == "$6.00 an hour while it exists"
    queue = {"ProductionVariants": [variant], "AsyncInferenceConfig": {}}
    assert prices.endpoint_words(queue) == "$6.00 an hour while it exists"
    assert prices.endpoint_words({"ProductionVariants": [variant, {"InstanceType": "ml.new"}]}) == "cost not known"


def test_a_price_is_asked_once() -> None:
    prices = spending()
    for _ in range(3):
        prices.of_training({"ResourceConfig": {"InstanceType": "ml.new"}, "TrainingStartTime": BEGAN})
    assert isinstance(prices.pricing.prices, Listed) and prices.pricing.prices.asked == 1


def test_here_nothing_costs_anything() -> None:
    assert spending_of(Place("local", "r", "t", "s", "ml.m5.large")) is None
