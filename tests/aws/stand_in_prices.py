"""A stand-in for the Price List API: products of the documented shape, with made-up prices.

No complete product document of SageMaker's was at hand; the members are those that public code reads (July 2026).
"""

import json
from collections.abc import Iterable
from typing import Any

from werkzeug.wrappers import Request, Response


def product(instance: str, component: str, usd: str, *, region: str = "us-east-1", unit: str = "Hrs") -> dict[str, Any]:
    """One product with its on-demand term, as PriceList has it in a string."""
    sku = f"SKU{abs(hash((instance, component, usd, region, unit))) % 10**13:013d}"
    rate = f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    dimension = {
        "unit": unit,
        "beginRange": "0",
        "endRange": "Inf",
        "description": f"${usd} per {component} {instance} hour",
        "appliesTo": [],
        "rateCode": rate,
        "pricePerUnit": {"USD": usd},
    }
    term = {
        "sku": sku,
        "offerTermCode": "JRTCKXETXF",
        "effectiveDate": "2026-11-01T00:00:00Z",
        "termAttributes": {},
        "priceDimensions": {rate: dimension},
    }
    attributes = {
        "instanceName": instance,
        "instanceType": f"{instance}-{component}",
        "component": component,
        "regionCode": region,
        "locationType": "AWS Region",
        "servicecode": "AmazonSageMaker",
        "operation": "RunInstance",
    }
    return {
        "product": {"productFamily": "ML Instance", "attributes": attributes, "sku": sku},
        "serviceCode": "AmazonSageMaker",
        "terms": {"OnDemand": {f"{sku}.JRTCKXETXF": term}},
        "version": "20261120000000",
        "publicationDate": "2026-11-20T00:00:00Z",
    }


def serverless(memory_gb: int, usd: str, *, region: str = "us-east-1") -> dict[str, Any]:
    """The product of a size of serverless endpoints: no instance, priced by the second."""
    made = product(f"{memory_gb}GB", "Serverless", usd, region=region, unit="seconds")
    usage = f"USE1-ServerlessInf:Mem-{memory_gb}GB"
    made["product"] |= {"productFamily": "ML Serverless", "attributes": {"regionCode": region, "usagetype": usage}}
    return made


class Prices:
    """A WSGI app that answers GetProducts, two products a page."""

    def __init__(self, *products: dict[str, Any]) -> None:
        self.products = list(products)
        self.asked = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        self.asked += 1
        wanted = json.loads(Request(environ).get_data())
        found = [each for each in self.products if self._fits(each, wanted.get("Filters", []))]
        start = int(wanted.get("NextToken", 0))
        more = {"NextToken": str(start + 2)} if len(found) > start + 2 else {}
        answer = {
            "FormatVersion": "aws_v1",
            "PriceList": [json.dumps(each) for each in found[start : start + 2]],
            **more,
        }
        return Response(json.dumps(answer), content_type="application/x-amz-json-1.1")(environ, start_response)

    @staticmethod
    def _fits(product: dict[str, Any], filters: list[dict[str, str]]) -> bool:
        attributes = {**product["product"]["attributes"], "productFamily": product["product"]["productFamily"]}
        return all(attributes.get(each["Field"]) == each["Value"] for each in filters)
