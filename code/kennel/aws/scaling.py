"""How many machines an endpoint has, by its load: target tracking of Application Auto Scaling.

    Scaling(client).follow_invocations("dogs", least=1, most=4, per_minute=70)
    Scaling(client).follow_backlog("dogs", cloudwatch, most=2)         # asynchronous: down to none
    Scaling(client).forget("dogs")                                     # before the endpoint is deleted

Exercise it: pytest tests/aws/test_scaling.py
"""

from dataclasses import dataclass
from typing import Any, Final

from kennel.errors import UserError

VARIANT: Final = "AllTraffic"  # the SDK's name for the only one
_SPACE: Final = "sagemaker"
_DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"
_COOLDOWN_S: Final = 300
# What AWS's own guide begins with: requests a minute that one machine is to have.
PER_MINUTE: Final = 70
# Requests waiting for one machine of an asynchronous endpoint.
_BACKLOG: Final = 5


@dataclass(frozen=True)
class Limits:
    """Machines, at least and at most."""

    least: int
    most: int


@dataclass(frozen=True)
class Scaling:
    """Of one account and region. client: boto3's `application-autoscaling`."""

    client: Any

    def follow_invocations(
        self, endpoint: str, *, least: int, most: int, per_minute: int = PER_MINUTE, tags: dict[str, str] | None = None
    ) -> None:
        """From `least` to `most` machines, so many that each has `per_minute` requests a minute."""
        if not 1 <= least <= most:
            raise UserError(f"--min {least} and --max {most}: at least 1, and not more than --max.")
        self._register(endpoint, least=least, most=most, tags=tags)
        target = {
            "TargetValue": float(per_minute),
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        }
        self._put(endpoint, "invocations", "TargetTrackingScaling", {**target, **_cooldowns()})

    def follow_backlog(
        self,
        endpoint: str,
        cloudwatch: Any,  # noqa: ANN401  boto3's
        *,
        most: int,
        least: int = 0,
        tags: dict[str, str] | None = None,
    ) -> None:
        """An asynchronous endpoint: `least` while nothing waits, one for the first request, then by what waits.

        The first from none needs an alarm of its own, because the tracking begins above its target only.
        """
        if not 0 <= least <= most:
            raise UserError(f"--min {least} and --max {most}: at least 0, and not more than --max.")
        self._register(endpoint, least=least, most=most, tags=tags)
        metric = {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
            "Statistic": "Average",
        }
        tracking = {"TargetValue": float(_BACKLOG), "CustomizedMetricSpecification": metric, **_cooldowns()}
        self._put(endpoint, "backlog", "TargetTrackingScaling", tracking)
        steps = {
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Average",
            "Cooldown": _COOLDOWN_S,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
        }
        policy = self._put(endpoint, "from-none", "StepScaling", steps)
        cloudwatch.put_metric_alarm(
            AlarmName=wake_alarm(endpoint),
            AlarmDescription=f"Kennel: requests wait for endpoint {endpoint}, which has no machine",
            MetricName="HasBacklogWithoutCapacity",
            Namespace="AWS/SageMaker",
            Statistic="Average",
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}],
            Period=60,
            EvaluationPeriods=2,
            DatapointsToAlarm=2,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="missing",
            AlarmActions=[policy],
            Tags=[{"Key": key, "Value": value} for key, value in (tags or {}).items()],
        )

    def forget(self, endpoint: str) -> bool:
        """Whether there was scaling; its policies go with it, an alarm of `follow_backlog` does not."""
        if not self.is_followed(endpoint):
            return False
        self.client.deregister_scalable_target(**_target(endpoint))
        return True

    def is_followed(self, endpoint: str) -> bool:
        """Whether the endpoint scales."""
        return self.limits(endpoint) is not None

    def limits(self, endpoint: str) -> Limits | None:
        """Between which the endpoint scales; None where it does not."""
        answer = self.client.describe_scalable_targets(
            ServiceNamespace=_SPACE, ResourceIds=[_target(endpoint)["ResourceId"]], ScalableDimension=_DIMENSION
        )
        found = answer["ScalableTargets"]
        return Limits(found[0]["MinCapacity"], found[0]["MaxCapacity"]) if found else None

    def _register(self, endpoint: str, *, least: int, most: int, tags: dict[str, str] | None) -> None:
        more = {"Tags": tags} if tags else {}
        self.client.register_scalable_target(**_target(endpoint), MinCapacity=least, MaxCapacity=most, **more)

    def _put(self, endpoint: str, name: str, kind: str, configuration: dict[str, Any]) -> str:
        """The policy's ARN."""
        answer = self.client.put_scaling_policy(
            **_target(endpoint),
            PolicyName=f"kennel-{endpoint}-{name}",
            PolicyType=kind,
            **{f"{kind}PolicyConfiguration": configuration},
        )
        return str(answer["PolicyARN"])


def wake_alarm(endpoint: str) -> str:
    """The name of the alarm that wakes an asynchronous endpoint."""
    return f"kennel-{endpoint}-waiting"


def _target(endpoint: str) -> dict[str, str]:
    resource = f"endpoint/{endpoint}/variant/{VARIANT}"
    return {"ServiceNamespace": _SPACE, "ResourceId": resource, "ScalableDimension": _DIMENSION}


def _cooldowns() -> dict[str, int]:
    return {"ScaleInCooldown": _COOLDOWN_S, "ScaleOutCooldown": _COOLDOWN_S}
