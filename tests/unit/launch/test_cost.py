"""What things cost, by their descriptions and made-up prices."""

import datetime
from decimal import Decimal
from typing import Any

import pytest

from kennel.aws.prices import ASYNC, HOSTING, TRAINING, TRANSFORM, Price, RegionPrices
from kennel.launch.account import things as kinds
from kennel.launch.account.bill import Bill
from kennel.launch.account.cost import Cost, Costs, amount, duration
from kennel.launch.account.inventory_table import table
from kennel.launch.account.things import Inventory, Thing

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
TYPE = "ml.g5.xlarge"
PRICES = {
    (TYPE, TRAINING): Price(Decimal("1.5"), "2026-11-20T00:00:00Z"),
    (TYPE, HOSTING): Price(Decimal("2"), "2026-11-19T00:00:00Z"),
    (TYPE, ASYNC): Price(Decimal("3"), "2026-11-19T00:00:00Z"),
    (TYPE, TRANSFORM): Price(Decimal("1"), "2026-11-19T00:00:00Z"),
    ("ml.new.large", TRAINING): None,
}


def training(name: str = "dogs", state: str = "Completed", **details: Any) -> Thing:  # noqa: ANN401
    machines = {"InstanceType": TYPE, "InstanceCount": 2}
    return Thing(kinds.TRAINING, name, name, state, NOW, "arn", {"ResourceConfig": machines, **details})


def endpoint(state: str = "InService", *, count: int = 1, config: dict[str, Any], **more: Thing) -> Inventory:
    running = {"VariantName": "AllTraffic", "CurrentInstanceCount": count}
    details = {"EndpointConfigName": "up-1", "CreationTime": NOW - 10 * HOUR, "ProductionVariants": [running]}
    up = Thing(kinds.ENDPOINT, "up", "up", state, NOW - 10 * HOUR, "arn", details)
    return Inventory((up, Thing(kinds.CONFIG, "up-1", "up", details=config), *more.values()))


def variants(**variant: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"ProductionVariants": [{"VariantName": "AllTraffic", **variant}]}


def costs(inventory: Inventory) -> Costs:
    return Costs(inventory, RegionPrices("eu-west-1", known=dict(PRICES)), NOW)


def cost(thing: Thing, inventory: Inventory | None = None) -> Cost:
    return costs(inventory or Inventory((thing,))).of(thing)


def first(inventory: Inventory) -> Cost:
    return costs(inventory).of(inventory.things[0])


def test_a_finished_training_is_billed_by_the_second_for_each_machine() -> None:
    found = cost(training(BillableTimeInSeconds=1200, TrainingTimeInSeconds=1200))
    assert (found.spent, found.hourly) == ((Decimal(1), Decimal(1)), (0, 0))
    assert found.words == f"2 x {TYPE}, 20 min" and found.published.startswith("2026-11-20")


def test_a_running_training_costs_since_its_machines_started_and_not_before() -> None:
    running = cost(training(state="InProgress", TrainingStartTime=NOW - 2 * HOUR))
    assert running.hourly == (Decimal(3), Decimal(3)) and running.spent == (Decimal(6), Decimal(6))
    assert cost(training(state="InProgress")).spent == (0, 0)


def test_a_spot_job_is_a_range_until_aws_says_what_it_bills() -> None:
    spot = {"EnableManagedSpotTraining": True, "TrainingStartTime": NOW - 2 * HOUR}
    running = cost(training(state="InProgress", **spot))
    assert running.spent == (Decimal("0.6"), Decimal(6)) and "spot" in running.note
    assert cost(training(**spot, BillableTimeInSeconds=1200)).spent == (Decimal(1), Decimal(1))


def test_a_warm_pool_is_paid_while_it_waits() -> None:
    ended = {"BillableTimeInSeconds": 1200, "TrainingEndTime": NOW - HOUR / 2}
    waits = training(**ended, WarmPoolStatus={"Status": "Available"})
    assert waits.is_running and waits.is_warm
    found = cost(waits)
    assert found.hourly == (Decimal(3), Decimal(3)) and found.spent == (Decimal("2.5"), Decimal("2.5"))
    assert found.note == "its warm pool waits for the next job, and is billed (30 min)"
    over = {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 600}
    found = cost(training(**ended, WarmPoolStatus=over))
    assert found.hourly == (0, 0) and found.spent == (Decimal("1.5"), Decimal("1.5")) and "is over" in found.note


def test_a_search_costs_what_its_trainings_do_and_its_other_machines_nothing() -> None:
    arn = {"TuningJobArn": "arn:aws:sagemaker:eu-west-1:1:hyper-parameter-tuning-job/search"}
    trials = (
        training("search-001-0a1b2c3d", BillableTimeInSeconds=1200, **arn),
        training("search-002-0a1b2c3d", "InProgress", TrainingStartTime=NOW - HOUR, **arn),
    )
    search = Thing(kinds.TUNING, "Search", "Search", "InProgress", NOW, "arn", {"TrainingJobStatusCounters": {}})
    inventory = Inventory((search, *trials, training("alone", BillableTimeInSeconds=1200)))
    found = cost(search, inventory)
    assert found.spent == (Decimal(4), Decimal(4)) and found.hourly == (Decimal(3), Decimal(3))
    assert [each.thing.name for each in costs(inventory).all()] == ["Search", "alone"]


def test_a_transform_costs_from_start_to_end() -> None:
    details = {"TransformResources": {"InstanceType": TYPE, "InstanceCount": 4}}
    details |= {"TransformStartTime": NOW - 2 * HOUR, "TransformEndTime": NOW - HOUR}
    assert cost(Thing(kinds.TRANSFORM, "t", "t", "Completed", NOW, "arn", details)).spent == (Decimal(4), Decimal(4))


def test_an_endpoint_costs_while_it_exists_and_one_that_scales_is_a_range() -> None:
    plain = endpoint(config=variants(InstanceType=TYPE, InitialInstanceCount=1))
    assert first(plain).spent == (Decimal(20), Decimal(20)) and first(plain).hourly == (Decimal(2), Decimal(2))
    scaling = Thing(kinds.SCALING, "endpoint/up", "up", details={"MinCapacity": 1, "MaxCapacity": 4})
    scaled = endpoint(count=3, config=variants(InstanceType=TYPE, InitialInstanceCount=1), scaling=scaling)
    assert first(scaled).spent == (Decimal(20), Decimal(80)) and first(scaled).hourly == (Decimal(6), Decimal(6))
    assert first(scaled).words.startswith("1 to 4 x")
    config = {**variants(InstanceType=TYPE, InitialInstanceCount=1), "AsyncInferenceConfig": {}}
    asleep = endpoint(count=0, config=config, scaling=scaling)
    assert first(asleep).spent == (0, Decimal(120)) and first(asleep).hourly == (0, 0)
    failed = endpoint("Failed", count=0, config=variants(InstanceType=TYPE, InitialInstanceCount=1))
    assert first(failed).hourly == (0, 0) and first(failed).spent is not None


def test_what_is_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kennel.aws.prices.PriceList.serverless", lambda *given, **more: None)
    serverless = endpoint(config=variants(ServerlessConfig={"MemorySizeInMB": 3072, "MaxConcurrency": 5}))
    assert first(serverless).spent is None and first(serverless).hourly == (0, 0)
    assert first(serverless).note == "billed for the time that it answers"
    held = {"MemorySizeInMB": 3072, "MaxConcurrency": 5, "ProvisionedConcurrency": 2}
    assert first(endpoint(config=variants(ServerlessConfig=held))).hourly is None
    up = serverless.things[0]
    assert "its configuration is gone" in cost(up).note
    machines = {"ResourceConfig": {"InstanceType": "ml.new.large", "InstanceCount": 1}}
    unknown = cost(Thing(kinds.TRAINING, "new", "new", "InProgress", NOW, "arn", machines))
    assert unknown.spent is None and unknown.hourly is None and unknown.note == "no price is known"
    bill = Bill((unknown, cost(training(BillableTimeInSeconds=1200))), Inventory((), ("alarms: AWS refused",)))
    lines = bill.lines()
    assert lines[0] == "runs now: $0.00 an hour and what is not known" and "not known an hour" in lines[1]
    assert "spent: $1.00" in lines and "not in the sum: 1 whose cost is not known" in lines
    assert "could not be looked at: alarms: AWS refused" in lines
    assert lines[-1].startswith("(price list of 2026-11-20; list prices, without data, S3")
    assert [Decimal(each) for each in bill.as_json()["spent_usd"]] == [1, 1]


def test_the_table_shows_first_what_costs_and_when_it_goes() -> None:
    inventory = endpoint(config=variants(InstanceType=TYPE, InitialInstanceCount=1))
    warm = training("warm", BillableTimeInSeconds=60, WarmPoolStatus={"Status": "Available"}, TrainingEndTime=NOW)
    things = (*inventory.things, warm, training("done", BillableTimeInSeconds=60))
    due = {"up": NOW + 3 * HOUR}
    lines = table(Inventory(things, due=due), costs(Inventory(things))).splitlines()
    assert lines[1].split()[:3] == ["endpoint", "up", "InService"]
    assert lines[1].endswith("10.0 h    $2.00      in 3.0 h (--ttl)")
    assert "training job warm" in lines[2] and "warm pool" in lines[2] and "$3.00" in lines[2]
    assert lines[3] == "together $5.00 an hour"
    assert [line.split("  ")[0] for line in lines[6:]] == ["training job done", "endpoint configuration up-1"]
    never = table(inventory, costs(inventory))
    assert "never (no --ttl)" in never
    assert table(Inventory(()), costs(Inventory(()))) == "nothing runs that costs"


@pytest.mark.parametrize(("seconds", "words"), [(119, "119 s"), (120, "2 min"), (7200, "2.0 h"), (172_800, "2.0 days")])
def test_durations_have_the_unit_that_fits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_amounts_are_in_cents_upwards() -> None:
    assert amount(None) == "not known"
    assert amount((Decimal("0.001"), Decimal("0.001"))) == "$0.01"
    assert amount((Decimal(1), Decimal("2.345"))) == "$1.00 to $2.35"
