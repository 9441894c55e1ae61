"""Alarms that end a canary: the new model answers with errors, or late.

    names = CanaryAlarms(cloudwatch).put("dogs", config="dogs-20261121-2200-1f2e", tags=tags)
    CanaryAlarms(cloudwatch).remove("dogs")

SageMaker looks at them while a part of the requests goes to the new model, and goes back to the old one when one fires.
The execution role needs cloudwatch:DescribeAlarms. An alarm must be able to fire within the wait: 2 periods, a minute
each.
Exercise it: pytest tests/aws/test_alarms.py
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kennel.aws.scaling import VARIANT
from kennel.aws.tags import as_list

_PERIOD_S: Final = 60
_PERIODS: Final = 2
# Of the requests, that may fail with a fault of the server's.
MOST_FAILED: Final = 0.05
# Between the server's having a request and its answer, on average.
SLOWEST_S: Final = 2.0


@dataclass(frozen=True)
class CanaryAlarms:
    """Of one account and region. client: boto3's `cloudwatch`."""

    client: Any

    def put(self, endpoint: str, *, config: str, tags: Mapping[str, str]) -> tuple[str, ...]:
        """Their names. config: of the new model; requests to the old one do not make it late."""
        for alarm in _alarms(endpoint, config):
            self.client.put_metric_alarm(
                **alarm,
                Namespace="AWS/SageMaker",
                Statistic="Average",
                Period=_PERIOD_S,
                EvaluationPeriods=_PERIODS,
                ComparisonOperator="GreaterThanThreshold",
                TreatMissingData="notBreaching",
                Tags=as_list(tags),
            )
        return names(endpoint)

    def remove(self, endpoint: str) -> bool:
        """Whether there were any; AWS takes the deletion of an alarm that is not there for a mistake."""
        found = self.client.describe_alarms(AlarmNames=list(names(endpoint)))["MetricAlarms"]
        if found:
            self.client.delete_alarms(AlarmNames=[each["AlarmName"] for each in found])
        return bool(found)


def names(endpoint: str) -> tuple[str, str]:
    """Of the alarms on errors and on time."""
    return f"kennel-{endpoint}-errors", f"kennel-{endpoint}-latency"


def _alarms(endpoint: str, config: str) -> Iterator[dict[str, Any]]:
    errors, latency = names(endpoint)
    variant = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": VARIANT}]
    yield {
        "AlarmName": errors,
        "AlarmDescription": f"Kennel: more than {MOST_FAILED:.0%} of the requests to {endpoint} fail",
        "MetricName": "Invocation5XXErrors",
        "Dimensions": variant,
        "Threshold": MOST_FAILED,
    }
    yield {
        "AlarmName": latency,
        "AlarmDescription": f"Kennel: the new model of {endpoint} takes more than {SLOWEST_S:g} s",
        "MetricName": "ModelLatency",  # in microseconds
        "Dimensions": [*variant, {"Name": "EndpointConfigName", "Value": config}],
        "Threshold": SLOWEST_S * 1e6,
    }
