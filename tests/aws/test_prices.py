"""Prices by the Price List API: which row is taken, what is kept, and what is not guessed."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from account import Account, fault, open_account
from stand_in_prices import Prices, product, serverless

from kennel.aws.prices import HOSTING, TRAINING, AmbiguousPriceError, PriceList

TYPE = "ml.g5.xlarge"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with open_account(tmp_path_factory.mktemp("prices") / "runs") as opened:
        yield opened


@pytest.fixture
def prices(account: Account, monkeypatch: pytest.MonkeyPatch) -> Prices:
    for key, value in account.environ.items():
        monkeypatch.setenv(key, value)
    account.others["pricing"] = stand_in = Prices(
        product(TYPE, "Training", "1.4080000000"),
        product(TYPE, "Training", "13.5700000000", unit="Quantity"),
        product(TYPE, "Training", "0.0000000000"),
        product(TYPE, "Hosting", "1.4090000000"),
        product(TYPE, "Training", "1.5754000000", region="eu-west-1"),
        product("ml.two", "Hosting", "1.0000000000"),
        product("ml.two", "Hosting", "2.0000000000"),
        serverless(1, "0.0000200000"),
        serverless(3, "0.0000600000"),
    )
    return stand_in


def test_the_hourly_price_of_the_region_and_use_is_found(prices: Prices, tmp_path: Path) -> None:
    listed = PriceList(tmp_path)
    found = listed.hourly(TYPE, TRAINING, region="us-east-1")
    assert found is not None and found.usd == Decimal("1.408")
    assert str(found) == "$1.408 an hour (list price of 2026-11-20)"
    for component, region, usd in ((HOSTING, "us-east-1", "1.409"), (TRAINING, "eu-west-1", "1.5754")):
        other = listed.hourly(TYPE, component, region=region)
        assert other is not None and other.usd == Decimal(usd)


def test_serverless_endpoints_have_a_price_a_second_by_their_memory(prices: Prices, tmp_path: Path) -> None:
    found = PriceList(tmp_path).serverless(3072, region="us-east-1")
    assert found is not None and str(found) == "$0.00006 a second (list price of 2026-11-20)"
    asked = prices.asked
    assert PriceList(tmp_path).serverless(3072, region="us-east-1") == found and prices.asked == asked
    assert PriceList(tmp_path).serverless(2048, region="us-east-1") is None


def test_an_answer_is_kept_for_a_day(prices: Prices, tmp_path: Path) -> None:
    first = PriceList(tmp_path).hourly(TYPE, HOSTING, region="us-east-1")
    asked = prices.asked
    assert PriceList(tmp_path).hourly(TYPE, HOSTING, region="us-east-1") == first
    assert prices.asked == asked
    next(iter(tmp_path.iterdir())).write_text("{")  # cut by a full disk
    assert PriceList(tmp_path).hourly(TYPE, HOSTING, region="us-east-1") == first
    assert prices.asked == asked + 1
    later = PriceList(tmp_path, now=lambda: 4e9)
    assert later.hourly(TYPE, HOSTING, region="us-east-1") == first
    assert prices.asked == asked + 2


def test_no_price_is_not_zero_and_none_of_several_is_chosen(prices: Prices, tmp_path: Path) -> None:
    listed = PriceList(tmp_path)
    assert listed.hourly("ml.none", TRAINING, region="us-east-1") is None
    with pytest.raises(AmbiguousPriceError, match=r"several prices for Hosting on ml.two: \$1.0000000000, \$2"):
        listed.hourly("ml.two", HOSTING, region="us-east-1")


def test_without_permission_there_is_no_price(prices: Prices, account: Account, tmp_path: Path) -> None:
    account.faults["GetProducts"] = [fault("AccessDeniedException", "not authorized to perform: pricing:GetProducts")]
    assert PriceList(tmp_path).hourly(TYPE, TRAINING, region="us-east-1") is None
