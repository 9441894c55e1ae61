"""How many machines of a type the account may have at once, by Service Quotas.

    short = shortage("ml.g5.xlarge", TRAINING, needed=2, client=boto3.client("service-quotas"))
    if short: print(short.sentence)             # "... is 0, and 2 are needed. Ask for more: aws service-quotas ..."

The value that counts is the applied one; the default lags behind increases. Names, not codes, are looked up.
Exercise it: pytest tests/aws/test_quotas.py
"""

from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

TRAINING: Final = "training job usage"
SPOT: Final = "spot training job usage"
WARM: Final = "training warm pool usage"
ENDPOINT: Final = "endpoint usage"
TRANSFORM: Final = "transform job usage"
_SERVICE: Final = "sagemaker"


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
    for operation in ("list_service_quotas", "list_aws_default_service_quotas"):
        try:
            for page in client.get_paginator(operation).paginate(ServiceCode=_SERVICE):
                for each in page["Quotas"]:
                    if each["QuotaName"] == name:
                        return Quota(name, float(each["Value"]), each.get("QuotaCode"))
        except (ClientError, BotoCoreError):
            return None
    return None


def shortage(instance_type: str, use: str, *, needed: int, client: Any) -> Shortage | None:  # noqa: ANN401
    """What is missing for `needed` machines; None where it is enough, or not known: AWS then says so itself."""
    quota = find_quota(instance_type, use, client=client)
    if quota is None or quota.value >= needed:
        return None
    return Shortage(quota, needed, client.meta.region_name)
