"""Brings SageMaker's SDK to the local STS: botocore calls this for every client, by BOTOCORE_EXPERIMENTAL__PLUGINS.

The SDK asks STS at AWS's address written out in full, past AWS_ENDPOINT_URL_STS; so `sagemaker.get_execution_role()`
would leave this machine. Botocore calls plugins experimental: one that does not know of them still goes there.
"""

import os
from typing import Any
from urllib.parse import urlsplit

_VARIABLE = "AWS_ENDPOINT_URL_STS"


def initialize_client_plugin(client: Any) -> None:  # noqa: ANN401  a botocore client
    """Called by botocore with each client it has made."""
    if client.meta.service_model.service_name == "sts" and _is_local(os.environ.get(_VARIABLE, "")):
        client.meta.events.register("before-sign.sts", _redirect)


def _redirect(request: Any, **_: Any) -> None:  # noqa: ANN401  a botocore AWSRequest
    local = os.environ.get(_VARIABLE, "")
    if _is_local(local):
        request.url = local + (urlsplit(request.url).path or "/")


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname == "127.0.0.1"
