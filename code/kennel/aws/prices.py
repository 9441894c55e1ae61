"""What an instance costs an hour, by the AWS Price List; kept for a day.

    price = hourly_price("ml.g5.xlarge", TRAINING, region="eu-west-1", prices=PriceList())
    price.usd, price.published                  # Decimal("1.5754"), "2026-11-20"

List prices: without savings plans, credits, free tier and tax. Spot has no price in advance; what a spot job costs is
known from its BillableTimeInSeconds afterwards, at the on-demand price.
Exercise it: pytest tests/unit/aws/test_prices.py
"""

import datetime
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

# The price list's words for what an instance does; each has prices of its own.
TRAINING: Final = "Training"
HOSTING: Final = "Hosting"
ASYNC: Final = "AsyncInf"
TRANSFORM: Final = "BatchTransform"
# Where the Price List API is answered, whatever region is asked about.
_ANSWERING: Final = "us-east-1"
_KEPT_S: Final = 24 * 3600
_ERRORS: Final = (BotoCoreError, ClientError)


@dataclass(frozen=True)
class Price:
    """usd: for an hour of one instance. published: when AWS last changed its list, as it says."""

    usd: Decimal
    published: str

    def __str__(self) -> str:
        return f"${self.usd.normalize():f} an hour (list price of {self.published[:10]})"


class AmbiguousPriceError(ValueError):
    """The list has several prices for one thing; none of them is chosen."""


@dataclass
class PriceList:
    """AWS's Price List, asked once a day for each thing. folder: where answers are kept."""

    folder: Path = field(default_factory=lambda: cache_folder() / "prices")
    now: Any = time.time

    def hourly(self, instance_type: str, component: str, *, region: str) -> Price | None:
        """The on-demand price; None where the list has none, or nobody answers (no permission, no network).

        Raises AmbiguousPriceError where the list has several.
        """
        path = self.folder / f"{region}-{component}-{instance_type}.json"
        if (kept := self._kept(path)) is not None:
            return kept
        try:
            prices = sorted(set(_prices(_products(instance_type, component, region))), key=lambda each: each.usd)
        except _ERRORS:
            return None
        if len({each.usd for each in prices}) > 1:
            several = ", ".join(f"${each.usd}" for each in prices)
            raise AmbiguousPriceError(
                f"The price list has several prices for {component} on {instance_type}: {several}"
            )
        if prices:
            self._keep(path, prices[0])
        return prices[0] if prices else None

    def _kept(self, path: Path) -> Price | None:
        try:
            if self.now() - path.stat().st_mtime > _KEPT_S:
                return None
            content = json.loads(path.read_text())
            return Price(Decimal(content["usd"]), content["published"])
        except (OSError, ValueError, KeyError, InvalidOperation):
            return None

    def _keep(self, path: Path, price: Price) -> None:
        """For a day; a folder that cannot be written is no reason to fail."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps({**asdict(price), "usd": str(price.usd)}))
            part.replace(path)
        except OSError:
            return


def cache_folder() -> Path:
    """XDG_CACHE_HOME/kennel, or ~/.cache/kennel."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kennel"


def _products(instance_type: str, component: str, region: str) -> Iterator[dict[str, Any]]:
    """By instanceName, which is the plain type; instanceType carries the component behind it."""
    client = boto3.client("pricing", region_name=_ANSWERING)
    wanted = {"regionCode": region, "instanceName": instance_type, "component": component}
    filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in wanted.items()]
    for page in client.get_paginator("get_products").paginate(ServiceCode="AmazonSageMaker", Filters=filters):
        yield from (json.loads(each) for each in page["PriceList"])


def _prices(products: Iterator[dict[str, Any]]) -> Iterator[Price]:
    """The hourly on-demand prices; rows of other units (upfront fees) and free ones are left out."""
    for product in products:
        if product["product"]["attributes"].get("locationType") != "AWS Region":
            continue
        published = product.get("publicationDate") or datetime.date.today().isoformat()
        for term in product.get("terms", {}).get("OnDemand", {}).values():
            for dimension in term["priceDimensions"].values():
                usd = Decimal(dimension["pricePerUnit"].get("USD", "0"))
                if dimension["unit"].lower() in ("hrs", "hours") and usd > 0:
                    yield Price(usd, published)
