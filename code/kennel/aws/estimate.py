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
_MONTH_S: Final = 30 * 24 * _HOUR_S
# Spot has been billed at 10 to 60 % of the seconds, in public reports; AWS promises "up to 90 %" off.
_SPOT_LEAST: Final = Decimal("0.1")
_NO_PRICE: Final = "no price known: AWS's Price List has none, or pricing:GetProducts is not allowed"


@dataclass(frozen=True)
class Estimate:
    """In US dollars. least: if it ends soon. most: if it runs for as long as it may. None: no price is known.

    likely: where the time was measured. hourly: of all that runs at once or one after the other. option: what limits
    the time. fixed_s: what is billed beside that time.
    """

    least_usd: Decimal | None
    most_usd: Decimal | None
    assumptions: Sequence[str]
    hourly_usd: Decimal | None = None
    likely_usd: Decimal | None = None
    option: str = "--max-run"
    fixed_s: int = 0

    def lines(self) -> list[str]:
        """For a person: the range, then what it rests on."""
        if self.most_usd is None or self.least_usd is None:
            return ["cost: not known", *(f"  {each}" for each in self.assumptions)]
        likely = f", likely about {dollars(self.likely_usd)}" if self.likely_usd is not None else ""
        return [
            f"cost: {dollars(self.least_usd)} to {dollars(self.most_usd)}{likely}",
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
        most_s = int(limit_usd / self.hourly_usd * _HOUR_S) - self.fixed_s
        remedy = f"Give {self.option} {most_s // 60}m or less" if most_s >= 60 else "Give more, or a cheaper --instance"
        raise UserError(f"This may cost {dollars(self.most_usd)}, more than --max-cost {limit_usd}. {remedy}.")


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

    most_s: what each may run (MaxRuntimeInSeconds). expected_s: what one took where it was measured.
    """
    if price is None:
        return Estimate(None, None, [_NO_PRICE])
    hourly = price.usd * instances * jobs
    least_share = _SPOT_LEAST if is_spot else Decimal(1)
    least = _of(hourly, min(_START_S, most_s)) * least_share
    likely = _of(hourly, min(expected_s, most_s) + keep_warm_s) if expected_s else None
    number = f"{jobs} jobs of {instances}" if jobs > 1 else str(instances)
    assumptions = [
        f"{number} x {price}, billed by the second",
        f"at most {_words(most_s)} (--max-run)" + (f" and {_words(keep_warm_s)} warm" * bool(keep_warm_s)),
        f"at least {_words(min(_START_S, most_s))}: what a job takes that fails at once",
    ]
    if expected_s:
        assumptions.append(f"likely: {_words(expected_s)} a job, as measured; not on this machine type, so about")
    if is_spot:
        assumptions.append("spot is billed at 10 to 100 % of that; its price is known only afterwards")
    assumptions.append("without volumes, S3, logs, savings plans, credits and tax")
    most = _of(hourly, most_s + keep_warm_s)
    return Estimate(least, most, assumptions, hourly, likely, fixed_s=keep_warm_s)


def estimate_endpoint(price: Price | None, *, least: int, most: int, ttl_s: int | None) -> Estimate:
    """Of an endpoint with `least` to `most` instances: for its time to live, or for 30 days where it has none."""
    if price is None:
        return Estimate(None, None, [_NO_PRICE])
    time_s = ttl_s or _MONTH_S
    what = f"for {_words(time_s)} (--ttl)" if ttl_s else "for 30 days: it runs until it is deleted, used or not (--ttl)"
    assumptions = [f"{least} to {most} x {price}", what, "without data, S3, logs, savings plans, credits and tax"]
    hourly = price.usd * most
    return Estimate(_of(price.usd * least, time_s), _of(hourly, time_s), assumptions, hourly, option="--ttl")


def estimate_serverless(price: Price | None, *, memory_mb: int | None) -> Estimate:
    """Of a serverless endpoint, which is paid for by the second in which it answers: no range can be given."""
    if price is None or memory_mb is None:
        return Estimate(None, None, ["billed by the second in which it answers, by its memory; idle it costs nothing"])
    thousand = dollars(price.usd * 1000 / 10)
    return Estimate(
        None,
        None,
        [
            f"{price} in which it answers, with {memory_mb} MB; idle it costs nothing",
            f"1,000 answers of 0.1 s each: {thousand}",
            "without data in and out, S3, logs, savings plans, credits and tax",
        ],
    )


def dollars(amount: Decimal) -> str:
    """`$1.27`, up to the next cent."""
    return f"${amount.quantize(Decimal('0.01'), rounding=ROUND_CEILING)}"


def _of(hourly: Decimal, seconds: float) -> Decimal:
    return hourly * Decimal(math.ceil(seconds)) / _HOUR_S


def _words(seconds: float) -> str:
    if seconds < 2 * 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * _HOUR_S else f"{seconds / _HOUR_S:.1f} h"
