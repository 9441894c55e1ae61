"""The steps that making and changing an endpoint have in common; each is remembered, so that it can be taken back."""

import datetime
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import ClientError

from kennel.aws.alarms import CanaryAlarms
from kennel.aws.scaling import Limits, Scaling, wake_alarm
from kennel.aws.schedule import TimeToLive
from kennel.launch.endpoint.endpoint_plan import EndpointPlan
from kennel.launch.endpoint.endpoint_requests import config_request, make_model
from kennel.launch.jobs import new_name
from kennel.launch.made import Made
from kennel.launch.places import Place
from kennel.launch.watching import follow
from kennel.launch.watching.attend import Detached
from kennel.launch.watching.watch import watch

Json = dict[str, Any]
# Of an endpoint that nobody waits for any longer.
LEFT: Final = "left to itself"
# SageMaker is asked once a second here, and every five on AWS, for ten minutes.
_GONE: Final = {False: (1, 300), True: (5, 120)}


def make_parts(
    plan: EndpointPlan, place: Place, made: Made, *, count: int = 1, inference_ami: str | None = None
) -> str:
    """A model and a configuration, both of one new name, which is returned."""
    name = new_name(plan.name)
    command = f"aws sagemaker delete-model --model-name {name}"
    with made.making(f"model {name}", lambda: delete_model(name, place), command):
        make_model(plan, place, name)
    request = config_request(plan, place, name, count=count, inference_ami=inference_ami)
    command = f"aws sagemaker delete-endpoint-config --endpoint-config-name {name}"
    with made.making(f"endpoint configuration {name}", lambda: delete_config(name, place), command):
        create_once(lambda: place.sagemaker.create_endpoint_config(**request))
    return name


def create_once(create: Callable[[], object], is_ours: Callable[[], bool] = lambda: True) -> None:
    """botocore asks again where no answer came; then what the first request made is there already, and that is fine."""
    try:
        create()
    except ClientError as error:
        was_repeated = error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
        is_there = "already existing" in error.response["Error"].get("Message", "")
        if not (was_repeated and is_there and is_ours()):
            raise


def wait_for(plan: EndpointPlan, place: Place, *, config: str, is_dry: bool) -> Json:
    """The endpoint's description once it has settled; less than that where whoever watches it leaves it.

    is_dry: nothing was sent; as if it were in service.
    """
    if is_dry:
        return {"EndpointStatus": "InService", "EndpointConfigName": config}
    if not place.is_aws:
        return follow.wait_for_endpoint(plan.name, place)
    try:
        return watch("endpoint", plan.name, place)
    except Detached:
        return {"EndpointStatus": LEFT}


def time_to_live(place: Place) -> TimeToLive:
    """Of the endpoints at a place. Its role must be in the profile (see `endpoints.check`)."""
    partition = "aws-cn" if place.region.startswith("cn-") else "aws"
    return TimeToLive(place.client("scheduler"), place.profile.scheduler_role or "", partition)


def cancel_schedules(name: str, place: Place) -> bool:
    return bool(time_to_live(place).cancel(name))


def schedule_command(name: str) -> str:
    """What shows a person the schedules of an endpoint."""
    return f"aws scheduler list-schedules --group-name kennel --name-prefix {name[:42]}, then delete-schedule each"


def seconds_until(due: datetime.datetime) -> float:
    return (due - datetime.datetime.now(datetime.UTC)).total_seconds()


def follow_load(name: str, limits: Limits, place: Place, *, is_async: bool) -> None:
    """The endpoint's machines follow what it is asked, between these limits."""
    scaling, tags = scaling_of(place), {each["Key"]: each["Value"] for each in place.tags_for(name)}
    if is_async:
        cloudwatch = place.client("cloudwatch")
        scaling.follow_backlog(name, cloudwatch, least=limits.least, most=limits.most, tags=tags)
    else:
        scaling.follow_invocations(name, least=limits.least, most=limits.most, tags=tags)


def stop_following(name: str, place: Place) -> bool:
    """Whether the endpoint scaled; the alarm that wakes it goes too."""
    was_followed = scaling_of(place).forget(name)
    cloudwatch = place.client("cloudwatch")
    if cloudwatch.describe_alarms(AlarmNames=[wake_alarm(name)])["MetricAlarms"]:
        cloudwatch.delete_alarms(AlarmNames=[wake_alarm(name)])
        return True
    return was_followed


def scaling_of(place: Place) -> Scaling:
    return Scaling(place.client("application-autoscaling"))


def scaling_command(name: str) -> str:
    """What a person types to stop an endpoint's scaling."""
    return (
        "aws application-autoscaling deregister-scalable-target --service-namespace sagemaker --resource-id "
        f"endpoint/{name}/variant/AllTraffic --scalable-dimension sagemaker:variant:DesiredInstanceCount"
    )


def canary_alarms(place: Place) -> CanaryAlarms:
    return CanaryAlarms(place.client("cloudwatch"))


def serves(name: str, config: str, place: Place) -> bool:
    """Whether the endpoint is there and has this configuration."""
    try:
        return bool(place.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"] == config)
    except ClientError as error:
        if "Could not find" in error.response["Error"].get("Message", ""):
            return False
        raise


def delete_endpoint(name: str, place: Place, *, config: str) -> bool:
    """Whether there was one of this configuration; it is gone then, so that what it used may go.

    Somebody else's of the same name, made a moment before ours, stays.
    """
    client = place.sagemaker
    if not serves(name, config, place):
        return False
    if not was_there(lambda: client.delete_endpoint(EndpointName=name)):
        return False
    delay_s, times = _GONE[place.is_aws]
    waiter = client.get_waiter("endpoint_deleted")
    waiter.wait(EndpointName=name, WaiterConfig={"Delay": delay_s, "MaxAttempts": times})
    return True


def delete_config(name: str, place: Place) -> bool:
    return was_there(lambda: place.sagemaker.delete_endpoint_config(EndpointConfigName=name))


def delete_model(name: str, place: Place) -> bool:
    return was_there(lambda: place.sagemaker.delete_model(ModelName=name))


def was_there(delete: Callable[[], object]) -> bool:
    """Whether there was something to delete."""
    try:
        delete()
    except ClientError as error:
        if "Could not find" in error.response["Error"].get("Message", ""):
            return False
        raise
    return True
