"""How many machines of a type the account may have at once, by Service Quotas.

    short = shortage("ml.g5.xlarge", TRAINING, needed=2, client=boto3.client("service-quotas"))
    if short: print(short.sentence)             # "... is 0, and 2 are needed. Ask for more: aws service-quotas ..."

The value that counts is the applied one; the default lags behind increases. Names, not codes, are looked up: SageMaker
has some 2,300 quotas, so the codes are kept, and the next look-up is one call in place of dozens.
Exercise it: pytest tests/aws/test_quotas.py
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from kennel.aws.prices import cache_folder

TRAINING: Final = "training job usage"
SPOT: Final = "spot training job usage"
WARM: Final = "training warm pool usage"
ENDPOINT: Final = "endpoint usage"
TRANSFORM: Final = "transform job usage"
_SERVICE: Final = "sagemaker"
_PAGE: Final = 100  # the most
_NONE: Final = "NoSuchResourceException"


@dataclass(frozen=True)
class Quota:
    """One limit of the account, in instances. code: None where only a default is known by name."""

    name: str
    value: float
    code: str | None


@dataclass(frozen=True)
class Shortage:
    """A quota that is too small. region: for the command that asks for more."""

    quota: Quota
    needed: int
    region: str

    @property
    def sentence(self) -> str:
        """What is too small, and the command that asks for more."""
        ask = (
            f"aws service-quotas request-service-quota-increase --service-code {_SERVICE} "
            f"--quota-code {self.quota.code} --desired-value {self.needed} --region {self.region}"
        )
        return (
            f"The quota '{self.quota.name}' is {self.quota.value:g} in {self.region}, and {self.needed} are needed. "
            f"Ask for more (it takes minutes to days): {ask}"
        )


def find_quota(instance_type: str, use: str, *, client: Any) -> Quota | None:  # noqa: ANN401  boto3's service-quotas
    """The account's own value, else the default; None where nobody says (no permission, no such quota)."""
    name = f"{instance_type} for {use}"
    path = cache_folder() / f"quotas-{client.meta.region_name}.json"
    code = _read_codes(path).get(name)
    try:
        return _by_code(name, code, client) if code else _by_name(name, client, path)
    except (ClientError, BotoCoreError):
        return None


def shortage(instance_type: str, use: str, *, needed: int, client: Any) -> Shortage | None:  # noqa: ANN401
    """What is missing for `needed` machines; None where it is enough, or not known: AWS then says so itself."""
    quota = find_quota(instance_type, use, client=client)
    if quota is None or quota.value >= needed:
        return None
    return Shortage(quota, needed, client.meta.region_name)


def _by_code(name: str, code: str, client: Any) -> Quota | None:  # noqa: ANN401
    """A quota that was never changed has no applied value."""
    for ask in (client.get_service_quota, client.get_aws_default_service_quota):
        try:
            found = ask(ServiceCode=_SERVICE, QuotaCode=code)["Quota"]
        except ClientError as error:
            if error.response["Error"]["Code"] != _NONE:
                raise
            continue
        return Quota(name, float(found["Value"]), code)
    return None


def _by_name(name: str, client: Any, path: Path) -> Quota | None:  # noqa: ANN401
    """All pages of both lists, until the name is there; the codes that were seen are kept."""
    codes: dict[str, str] = {}
    try:
        for operation in ("list_service_quotas", "list_aws_default_service_quotas"):
            pages = client.get_paginator(operation).paginate(ServiceCode=_SERVICE, PaginationConfig={"PageSize": _PAGE})
            for page in pages:
                codes |= {each["QuotaName"]: each["QuotaCode"] for each in page["Quotas"] if "QuotaCode" in each}
                for each in page["Quotas"]:
                    if each["QuotaName"] == name:
                        return Quota(name, float(each["Value"]), each.get("QuotaCode"))
        return None
    finally:
        _keep_codes(path, {**_read_codes(path), **codes})


def _read_codes(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _keep_codes(path: Path, codes: Mapping[str, str]) -> None:
    """A folder that cannot be written is no reason to fail."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(codes))
        part.replace(path)
    except OSError:
        return
