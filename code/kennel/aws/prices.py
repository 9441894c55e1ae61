"""What an instance costs an hour, by the AWS Price List; kept for a day.

    price = PriceList().hourly("ml.g5.xlarge", TRAINING, region="eu-west-1")
    price.usd, price.published                  # Decimal("1.5754"), "2026-11-20"

List prices: without savings plans, credits, free tier and tax. Spot has no price in advance; what a spot job costs is
known from its BillableTimeInSeconds afterwards, at the on-demand price.
Exercise it: pytest tests/aws/test_prices.py
"""

import datetime
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """usd: for one instance, or a serverless endpoint's memory, and a unit: hour or second.

    published: when AWS last changed its list, as it says.
    """

    usd: Decimal
    published: str
    unit: str = "hour"

    def __str__(self) -> str:
        article = "an" if self.unit == "hour" else "a"
        return f"${self.usd.normalize():f} {article} {self.unit} (list price of {self.published[:10]})"


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
        wanted = {"regionCode": region, "instanceName": instance_type, "component": component}
        path = self.folder / f"{region}-{component}-{instance_type}.json"
        return self._find(f"{component} on {instance_type}", path, lambda: _hourly(_products(wanted)))

    def serverless(self, memory_mb: int, *, region: str) -> Price | None:
        """Of a second in which a serverless endpoint of that memory answers; as `hourly`."""
        gb = memory_mb // 1024
        wanted = {"regionCode": region, "productFamily": "ML Serverless"}
        path = self.folder / f"{region}-serverless-{gb}.json"
        return self._find(f"a serverless endpoint of {gb} GB", path, lambda: _by_second(_products(wanted), gb))

    def _find(self, what: str, path: Path, ask: Callable[[], Iterator[Price]]) -> Price | None:
        if (kept := self._kept(path)) is not None:
            return kept
        try:
            prices = sorted(set(ask()), key=lambda each: each.usd)
        except _ERRORS:
            return None
        if len({each.usd for each in prices}) > 1:
            several = ", ".join(f"${each.usd}" for each in prices)
            raise AmbiguousPriceError(f"The price list has several prices for {what}: {several}")
        if prices:
            self._keep(path, prices[0])
        return prices[0] if prices else None

    def _kept(self, path: Path) -> Price | None:
        try:
            if self.now() - path.stat().st_mtime > _KEPT_S:
                return None
            content = json.loads(path.read_text())
            return Price(Decimal(content["usd"]), content["published"], content["unit"])
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


@dataclass(frozen=True)
class RegionPrices:
    """Prices of one region, each looked up once."""

    region: str
    prices: PriceList = field(default_factory=PriceList)
    known: dict[tuple[str, str], Price | None] = field(default_factory=dict)

    def of(self, instance_type: str, component: str) -> Price | None:
        """For an hour; None where the list has none, or several."""
        key = (instance_type, component)
        if key not in self.known:
            try:
                self.known[key] = self.prices.hourly(instance_type, component, region=self.region)
            except AmbiguousPriceError:
                self.known[key] = None
        return self.known[key]


def cache_folder() -> Path:
    """XDG_CACHE_HOME/kennel, or ~/.cache/kennel."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kennel"


def _products(wanted: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """By instanceName, which is the plain type; instanceType carries the component behind it."""
    client = boto3.client("pricing", region_name=_ANSWERING)
    filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in wanted.items()]
    for page in client.get_paginator("get_products").paginate(ServiceCode="AmazonSageMaker", Filters=filters):
        yield from (json.loads(each) for each in page["PriceList"])


def _hourly(products: Iterator[dict[str, Any]]) -> Iterator[Price]:
    """Of an instance; rows of other places (Outposts) are left out."""
    for product in products:
        if product["product"]["attributes"].get("locationType") == "AWS Region":
            yield from _on_demand(product, ("hrs", "hours"), "hour")


def _by_second(products: Iterator[dict[str, Any]], gb: int) -> Iterator[Price]:
    """Each size of memory is a product of its own, known by its usage type: USE1-ServerlessInf:Mem-3GB."""
    for product in products:
        usage = product["product"]["attributes"].get("usagetype", "")
        if re.fullmatch(rf"(.+-)?ServerlessInf:Mem-{gb}GB", usage):
            yield from _on_demand(product, ("seconds", "second"), "second")


def _on_demand(product: dict[str, Any], units: Sequence[str], unit: str) -> Iterator[Price]:
    """Rows of other units (upfront fees) and free ones are left out."""
    published = product.get("publicationDate") or datetime.date.today().isoformat()
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            usd = Decimal(dimension["pricePerUnit"].get("USD", "0"))
            if dimension["unit"].lower() in units and usd > 0:
                yield Price(usd, published, unit)
