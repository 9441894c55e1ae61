"""What a job may cost, said before it is paid for: a range, and what it rests on.

    estimate = estimate_job(price, instances=2, most_s=3600, is_spot=True)
    print(estimate.lines())
    estimate.check(Decimal(5))                  # --max-cost: UserError if it may be more

Exercise it: pytest tests/unit/aws/test_estimate.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Final

from kennel.aws.prices import Price
from kennel.errors import UserError

# From the start of the download to the first epoch: what a job costs that fails at once. (AWS says no smallest charge.)
_START_S: Final = 180
_HOUR_S: Final = 3600
# Spot has been billed at 10 to 60 % of the seconds, in public reports; AWS promises "up to 90 %" off.
_SPOT_LEAST: Final = Decimal("0.1")


@dataclass(frozen=True)
class Estimate:
    """In US dollars. least: if it ends soon. most: if it runs for as long as it may. None: no price is known."""

    least_usd: Decimal | None
    most_usd: Decimal | None
    assumptions: Sequence[str]
    hourly_usd: Decimal | None = None

    def lines(self) -> list[str]:
        """For a person: the range, then what it rests on."""
        if self.most_usd is None or self.least_usd is None:
            return ["cost: not known", *(f"  {each}" for each in self.assumptions)]
        return [
            f"cost: {dollars(self.least_usd)} to {dollars(self.most_usd)}",
            *(f"  {each}" for each in self.assumptions),
        ]

    def check(self, limit_usd: Decimal) -> None:
        """Raises UserError if it may cost more than that, with the time that would not."""
        if self.most_usd is None or self.hourly_usd is None:
            raise UserError(
                f"--max-cost {limit_usd}: no price is known, so nothing can be promised. Leave --max-cost out to go on."
            )
        if self.most_usd <= limit_usd:
            return
        most_s = int(limit_usd / self.hourly_usd * _HOUR_S)
        remedy = f"Give --max-run {most_s} or less" if most_s >= 60 else "Give more, or a cheaper --instance"
        raise UserError(f"The job may cost {dollars(self.most_usd)}, more than --max-cost {limit_usd}. {remedy}.")


def estimate_job(
    price: Price | None,
    *,
    instances: int,
    most_s: int,
    jobs: int = 1,
    is_spot: bool = False,
    keep_warm_s: int = 0,
    expected_s: float | None = None,
) -> Estimate:
    """Of a training, a transform, or `jobs` trainings of a search.

    most_s: what each may run (MaxRuntimeInSeconds). expected_s: what one is expected to, where that is known.
    """
    if price is None:
        return Estimate(
            None, None, ["no price known: AWS's Price List has none, or pricing:GetProducts is not allowed"]
        )
    hourly = price.usd * instances * jobs
    least_s = min(expected_s or _START_S, most_s)
    least = hourly * Decimal(math.ceil(least_s)) / _HOUR_S * (_SPOT_LEAST if is_spot else 1)
    most = hourly * Decimal(most_s + keep_warm_s) / _HOUR_S
    number = f"{jobs} jobs of {instances}" if jobs > 1 else str(instances)
    assumptions = [f"{number} x {price}, billed by the second"]
    assumptions.append(
        f"at most {_hours(most_s)} (--max-run)" + (f" and {_hours(keep_warm_s)} warm" * bool(keep_warm_s))
    )
    if expected_s:
        assumptions.append(f"at least {_hours(expected_s)}, as measured")
    if is_spot:
        assumptions.append("spot is billed at 10 to 100 % of that; its price is known only afterwards")
    assumptions.append("without volumes, S3, logs, savings plans, credits and tax")
    return Estimate(least, most, assumptions, hourly)


def estimate_endpoint(price: Price | None, *, least: int, most: int, ttl_s: int | None) -> Estimate:
    """Of an endpoint with `least` to `most` instances: for its time to live, or for 30 days where it has none."""
    if price is None:
        return Estimate(
            None, None, ["no price known: AWS's Price List has none, or pricing:GetProducts is not allowed"]
        )
    time_s = ttl_s or 30 * 24 * _HOUR_S
    what = f"for {_hours(time_s)} (--ttl)" if ttl_s else "for 30 days: it runs until it is deleted, used or not (--ttl)"
    hours = Decimal(time_s) / _HOUR_S
    assumptions = [f"{least} to {most} x {price}", what, "without data, S3, logs, savings plans, credits and tax"]
    return Estimate(price.usd * least * hours, price.usd * most * hours, assumptions, price.usd * most)


def dollars(amount: Decimal) -> str:
    """`$1.27`, up to the next cent."""
    return f"${amount.quantize(Decimal('0.01'), rounding=ROUND_CEILING)}"


def _hours(seconds: float) -> str:
    if seconds < 2 * 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * _HOUR_S else f"{seconds / _HOUR_S:.1f} h"
