"""How a batch transform talks to its server: as the job says, else as the server asks for, else as SageMaker does."""

import json
from dataclasses import dataclass
from typing import Any, Final

from kennel.local.transform_records import MB
from kennel.local.validation import Json

DEFAULT_PAYLOAD_MB: Final = 6
MAX_PAYLOAD_MB: Final = 100
_STRATEGIES: Final = {"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}


@dataclass(frozen=True)
class Plan:
    """Settings of one job. payload_mb: 0 for no limit. retries: after the first try. timeout_s: of one request."""

    concurrent: int = 1
    payload_mb: int = DEFAULT_PAYLOAD_MB
    strategy: str = "MultiRecord"
    retries: int = 3
    timeout_s: int = 600

    @property
    def limit_bytes(self) -> int:
        return self.payload_mb * MB

    def __str__(self) -> str:
        return (
            f"MaxConcurrentTransforms={self.concurrent}, MaxPayloadInMB={self.payload_mb}, "
            f"BatchStrategy={_STRATEGIES[self.strategy]}"
        )


def batch_environ(request: Json) -> dict[str, str]:
    """What a server is told of the transform job it is started for; of the settings only those the job has."""
    told = {"SAGEMAKER_BATCH": "true"}
    if "MaxPayloadInMB" in request:
        told["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(request["MaxPayloadInMB"])
    if "BatchStrategy" in request:
        told["SAGEMAKER_BATCH_STRATEGY"] = _STRATEGIES[request["BatchStrategy"]]
    if request.get("MaxConcurrentTransforms"):
        told["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(request["MaxConcurrentTransforms"])
    return told


def make_plan(request: Json, parameters: Json) -> Plan:
    """The settings of a CreateTransformJob request. parameters: as `read_parameters` gives them."""
    client = request.get("ModelClientConfig", {})
    known: Json = {"MaxPayloadInMB": DEFAULT_PAYLOAD_MB, "BatchStrategy": "MultiRecord", **parameters, **request}
    return Plan(
        concurrent=request.get("MaxConcurrentTransforms") or parameters.get("MaxConcurrentTransforms", 1),
        payload_mb=known["MaxPayloadInMB"],
        strategy=known["BatchStrategy"],
        retries=client.get("InvocationsMaxRetries", 3),
        timeout_s=client.get("InvocationsTimeoutInSeconds", 600),
    )


def read_parameters(body: bytes) -> Json:
    """What of an answer to GET /execution-parameters can be used, by CreateTransformJob's names."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(content, dict):
        return {}
    known = {name: value for value, name in _STRATEGIES.items()}
    found: Json = {}
    for key, least, most in (("MaxConcurrentTransforms", 1, 1000), ("MaxPayloadInMB", 0, MAX_PAYLOAD_MB)):
        value = content.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            found[key] = value
    if strategy := known.get(str(content.get("BatchStrategy"))):
        found["BatchStrategy"] = strategy
    return found
