"""What jobs and endpoints may cost, and the limit on it."""

from decimal import Decimal

import pytest

from kennel.aws.estimate import dollars, estimate_endpoint, estimate_job, estimate_serverless
from kennel.aws.prices import Price
from kennel.errors import UserError

PRICE = Price(Decimal("1.5"), "2026-11-20T00:00:00Z")


def test_a_job_costs_between_a_start_and_its_whole_time() -> None:
    found = estimate_job(PRICE, instances=2, most_s=7200)
    assert (found.least_usd, found.most_usd) == (Decimal("0.15"), Decimal(6))
    lines = found.lines()
    assert lines[0] == "cost: $0.15 to $6.00"
    assert "2 x $1.5 an hour (list price of 2026-11-20), billed by the second" in lines[1]
    assert "at most 2.0 h (--max-run)" in lines[2]


def test_a_search_spot_and_warm_machines_count() -> None:
    assert estimate_job(PRICE, instances=1, most_s=3600, jobs=20).most_usd == 30
    spot = estimate_job(PRICE, instances=1, most_s=3600, is_spot=True, expected_s=1800)
    assert (spot.least_usd, spot.likely_usd, spot.most_usd) == (Decimal("0.0075"), Decimal("0.75"), Decimal("1.5"))
    assert spot.lines()[0] == "cost: $0.01 to $1.50, likely about $0.75"
    assert any("known only afterwards" in each for each in spot.assumptions)
    assert estimate_job(PRICE, instances=1, most_s=3600, keep_warm_s=3600).most_usd == 3


def test_an_endpoint_costs_for_as_long_as_it_is_there() -> None:
    assert estimate_endpoint(PRICE, least=1, most=4, ttl_s=7200).most_usd == 12
    found = estimate_endpoint(PRICE, least=1, most=1, ttl_s=None)
    assert found.most_usd == 1080 and "until it is deleted" in found.assumptions[1]


def test_more_than_the_limit_is_refused_with_what_fits() -> None:
    found = estimate_job(PRICE, instances=2, most_s=7200)
    found.check(Decimal(6))
    with pytest.raises(UserError, match=r"This may cost \$6.00, more than --max-cost 5. Give --max-run 100m or less"):
        found.check(Decimal(5))
    found_short = estimate_job(PRICE, instances=2, most_s=6000)
    found_short.check(Decimal(5))
    with pytest.raises(UserError, match="a cheaper --instance"):
        found.check(Decimal("0.01"))


def test_what_is_billed_beside_the_run_is_taken_off_the_time_that_fits() -> None:
    found = estimate_job(PRICE, instances=1, most_s=7200, keep_warm_s=3600)
    with pytest.raises(UserError, match="Give --max-run 60m or less"):
        found.check(Decimal(3))
    with pytest.raises(UserError, match="Give --ttl 120m or less"):
        estimate_endpoint(PRICE, least=1, most=1, ttl_s=None).check(Decimal(3))


def test_a_serverless_endpoint_has_a_price_a_second_and_no_range() -> None:
    second = Price(Decimal("0.00006"), "2026-11-20T00:00:00Z", "second")
    found = estimate_serverless(second, memory_mb=3072)
    assert "$0.00006 a second (list price of 2026-11-20) in which it answers, with 3072 MB" in found.lines()[1]
    assert "1,000 answers of 0.1 s each: $0.01" in found.lines()[2]
    with pytest.raises(UserError, match="no price is known"):
        found.check(Decimal(5))
    assert "idle it costs nothing" in estimate_serverless(None, memory_mb=3072).lines()[1]


def test_without_a_price_nothing_is_promised() -> None:
    found = estimate_job(None, instances=1, most_s=60)
    assert found.lines()[0] == "cost: not known"
    with pytest.raises(UserError, match="no price is known"):
        found.check(Decimal(5))
    assert estimate_endpoint(None, least=1, most=1, ttl_s=None).most_usd is None


def test_cents_are_rounded_up() -> None:
    assert dollars(Decimal("0.001")) == "$0.01" and dollars(Decimal("1.27")) == "$1.27"
