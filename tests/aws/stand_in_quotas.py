"""A stand-in for Service Quotas: the documented members, made-up values; moto knows no quotas of SageMaker's."""

import json
from collections.abc import Iterable
from typing import Any

from werkzeug.wrappers import Request, Response


class Quotas:
    """A WSGI app. applied, defaults: value by name; two a page."""

    def __init__(self, applied: dict[str, float], defaults: dict[str, float]) -> None:
        self.values = {"ListServiceQuotas": applied, "ListAWSDefaultServiceQuotas": defaults}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        request = Request(environ)
        wanted = json.loads(request.get_data())
        values = self.values[request.headers["X-Amz-Target"].rpartition(".")[2]]
        names, start = sorted(values), int(wanted.get("NextToken", 0))
        quotas = [
            {
                "ServiceCode": wanted["ServiceCode"],
                "QuotaName": name,
                "QuotaCode": f"L-{names.index(name):08X}",
                "Value": values[name],
                "Unit": "None",
                "Adjustable": True,
                "GlobalQuota": False,
            }
            for name in names[start : start + 2]
        ]
        more = {"NextToken": str(start + 2)} if len(names) > start + 2 else {}
        body = json.dumps({"Quotas": quotas, **more})
        return Response(body, content_type="application/x-amz-json-1.1")(environ, start_response)
