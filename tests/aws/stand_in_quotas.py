"""A stand-in for Service Quotas: the documented members, made-up values; moto knows no quotas of SageMaker's."""

import json
from collections.abc import Iterable
from typing import Any

from werkzeug.wrappers import Request, Response


class Quotas:
    """A WSGI app. applied, defaults: value by name; two a page. asked: the operations, as they came."""

    def __init__(self, applied: dict[str, float], defaults: dict[str, float]) -> None:
        self.values = {"ListServiceQuotas": applied, "ListAWSDefaultServiceQuotas": defaults}
        self.names = sorted({*applied, *defaults})
        self.asked: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        request = Request(environ)
        operation, wanted = request.headers["X-Amz-Target"].rpartition(".")[2], json.loads(request.get_data())
        self.asked.append(operation)
        if operation.startswith("List"):
            return self._answer(self._page(operation, wanted))(environ, start_response)
        values = self.values["ListServiceQuotas" if operation == "GetServiceQuota" else "ListAWSDefaultServiceQuotas"]
        found = [each for each in values if self._quota(each, values)["QuotaCode"] == wanted["QuotaCode"]]
        if found:
            return self._answer({"Quota": self._quota(found[0], values)})(environ, start_response)
        fault = {"__type": "NoSuchResourceException", "message": "The request failed because the quota does not exist."}
        return self._answer(fault, status=400)(environ, start_response)

    def _page(self, operation: str, wanted: dict[str, Any]) -> dict[str, Any]:
        values = self.values[operation]
        names, start = sorted(values), int(wanted.get("NextToken", 0))
        more = {"NextToken": str(start + 2)} if len(names) > start + 2 else {}
        return {"Quotas": [self._quota(name, values) for name in names[start : start + 2]], **more}

    def _quota(self, name: str, values: dict[str, float]) -> dict[str, Any]:
        return {
            "ServiceCode": "sagemaker",
            "QuotaName": name,
            "QuotaCode": f"L-{self.names.index(name):08X}",
            "Value": values[name],
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }

    @staticmethod
    def _answer(content: dict[str, Any], status: int = 200) -> Response:
        return Response(json.dumps(content), status=status, content_type="application/x-amz-json-1.1")
