"""Changes an endpoint that is in service: another model, all at once or a canary first; it answers all the while.

Exercise it: pytest tests/aws/test_deploy_on_aws.py
"""

import datetime
from dataclasses import dataclass
from typing import Any

from kennel.aws.scaling import Limits
from kennel.aws.words import in_words
from kennel.errors import KennelError, UserError
from kennel.launch.endpoint import endpoint_steps as steps
from kennel.launch.endpoint.deployed import Deployed
from kennel.launch.endpoint.endpoint_plan import EndpointPlan
from kennel.launch.endpoint.endpoint_requests import canary_deployment, canary_size
from kennel.launch.endpoint.standing_endpoint import StandingEndpoint
from kennel.launch.jobs import legal_name
from kennel.launch.made import Made
from kennel.launch.places import Place

Json = dict[str, Any]


@dataclass(frozen=True)
class _Change:
    """What an update is to do. count: machines to begin with. before, after: limits of scaling; None: none."""

    plan: EndpointPlan
    place: Place
    standing: StandingEndpoint
    count: int
    before: Limits | None
    after: Limits | None

    @property
    def must_forget(self) -> bool:
        """SageMaker takes no other instance type while the machines follow the load."""
        is_other = self.standing.instance_type != self.plan.instance_type or self.standing.is_async != (
            self.plan.async_uri is not None
        )
        return self.before is not None and (self.after is None or is_other)

    @property
    def must_follow(self) -> bool:
        return self.after is not None and (self.after != self.before or self.must_forget)


def update(
    plan: EndpointPlan, place: Place, standing: StandingEndpoint, *, inference_ami: str | None, is_dry: bool
) -> Deployed:
    """The endpoint with its new model; KennelError where it could not be, and the old one goes on."""
    change = _planned(plan, place, standing)
    made = Made()
    with made.taken_back_on_failure():
        name = _begin(change, made, inference_ami, is_dry=is_dry)
    description = steps.wait_for(plan, place, config=name, is_dry=is_dry)
    status = description["EndpointStatus"]
    if status not in ("InService", "Failed", "UpdateRollbackFailed"):
        print(f"left too, for when it is over: {standing.config} and what else endpoint {plan.name} used", flush=True)
        return Deployed(status, due=_due(plan, place))
    with made.taken_back_on_failure():
        _check_taken_over(change, description, name, made)
    made.keep()
    if not is_dry:
        print(f"endpoint {plan.name} has its new model", flush=True)
    with in_words():
        _tidy(change)
        if change.must_follow and change.after:
            steps.follow_load(plan.name, change.after, place, is_async=plan.async_uri is not None)
        return Deployed("InService", due=_due(plan, place), limits=change.after)


def _planned(plan: EndpointPlan, place: Place, standing: StandingEndpoint) -> _Change:
    """Raises UserError for what SageMaker would refuse, or do worse than it says."""
    standing.check_ready(place)
    if plan.serverless_mb and not standing.is_serverless:
        raise UserError(
            f"Endpoint '{plan.name}' has machines, and SageMaker does not make it serverless. Deploy under another "
            "--endpoint-name, and delete the old one."
        )
    with in_words():
        before = steps.scaling_of(place).limits(plan.name) if place.is_aws else None
    after = _limits(plan, before, is_async=standing.is_async)
    count = _count(plan, standing, after)
    if plan.canary_percent and count < 2:
        raise UserError(
            f"--canary needs 2 machines or more, and endpoint '{plan.name}' has {standing.count}. Give --min 2."
        )
    return _Change(plan, place, standing, count, before, after)


def _count(plan: EndpointPlan, standing: StandingEndpoint, limits: Limits | None) -> int:
    """Machines to begin with: those there are, as far as the limits allow."""
    if limits is None:
        return plan.least or plan.most or max(standing.count, 1)
    return max(min(standing.count, limits.most), limits.least, 1)


def _limits(plan: EndpointPlan, before: Limits | None, *, is_async: bool) -> Limits | None:
    """Those asked for; else those there are."""
    is_kept = plan.least is None and plan.most is None and is_async == (plan.async_uri is not None)
    if before is not None and is_kept and not plan.serverless_mb:
        return before
    return Limits(plan.fewest, plan.at_most) if plan.is_scaled else None


def _begin(change: _Change, made: Made, inference_ami: str | None, *, is_dry: bool) -> str:
    """The new configuration's name, once SageMaker has begun with it."""
    plan, place = change.plan, change.place
    name = steps.make_parts(plan, place, made, count=change.count, inference_ami=inference_ami)
    if change.must_forget:
        made.add("the end of scaling", lambda: _scale_as_before(change), "kennel deploy with --min and --max")
        steps.stop_following(plan.name, place)
    how: Json = {}
    if plan.canary_percent:
        size = canary_size(plan.canary_percent, change.count)
        print(f"canary: {size} of {change.count} machines get the new model first, for 10 minutes", flush=True)
        how = {"DeploymentConfig": canary_deployment(size, _put_alarms(change, made, name))}
    else:
        print(f"endpoint {plan.name} is there already: its model is replaced, and it answers meanwhile", flush=True)
    _set_time(change, made, name)
    if not is_dry:
        place.sagemaker.describe_endpoint_config(EndpointConfigName=name)
    place.sagemaker.update_endpoint(EndpointName=plan.name, EndpointConfigName=name, **how)
    return name


def _put_alarms(change: _Change, made: Made, config: str) -> tuple[str, ...]:
    name, place = change.plan.name, change.place
    alarms = steps.canary_alarms(place)
    made.add(f"the canary's alarms of {name}", lambda: alarms.remove(name), f"aws cloudwatch delete-alarms of {name}")
    return alarms.put(name, config=config, tags={each["Key"]: each["Value"] for each in place.tags_for(name)})


def _set_time(change: _Change, made: Made, name: str) -> None:
    """A new time to live, or the old one for what is new; both models, because either may be there then."""
    plan, place, standing = change.plan, change.place, change.standing
    due = _due(plan, place)
    if due is None and plan.ttl_s is None:
        return
    ttl = steps.time_to_live(place)

    def as_before() -> bool:
        if due is None:
            return bool(ttl.cancel(plan.name))
        ttl.set(plan.name, in_s=steps.seconds_until(due), configs=(standing.config,), models=standing.models)
        return True

    made.add("the change of --ttl", as_before, steps.schedule_command(plan.name))
    ttl.set(
        plan.name,
        in_s=plan.ttl_s or steps.seconds_until(due or datetime.datetime.now(datetime.UTC)),
        configs=(name, standing.config),
        models=(name, *standing.models),
    )


def _due(plan: EndpointPlan, place: Place) -> datetime.datetime | None:
    """When the endpoint is deleted. Whoever has no role for the scheduler is not asked to know."""
    return steps.time_to_live(place).due(plan.name) if place.profile.scheduler_role else None


def _check_taken_over(change: _Change, description: Json, name: str, made: Made) -> None:
    """Raises KennelError unless the new model is what answers now."""
    plan, reason = change.plan, description.get("FailureReason") or "SageMaker gives no reason"
    if description["EndpointStatus"] == "UpdateRollbackFailed":
        made.keep()  # some machines may have the new model, others the old one
        raise KennelError(
            f"Endpoint '{plan.name}' could neither be changed nor go back: {reason}. Deploy to it again, or delete it."
        )
    if description["EndpointConfigName"] != name:
        what = "The canary failed" if plan.canary_percent else "The update failed"
        raise KennelError(f"{what}, and endpoint '{plan.name}' still serves the old model: {reason}")


def _tidy(change: _Change) -> None:
    """What the endpoint used before goes, where Kennel named it; what others named may be used elsewhere."""
    plan, place, standing = change.plan, change.place, change.standing
    if plan.canary_percent:
        steps.canary_alarms(place).remove(plan.name)
    for what, names, delete in (
        ("endpoint configuration", (standing.config,), steps.delete_config),
        ("model", standing.models, steps.delete_model),
    ):
        for name in names:
            if _is_ours(name, plan.name):
                delete(name, place)
            else:
                print(f"left: {what} {name}, which Kennel has not made")


def _is_ours(name: str, endpoint: str) -> bool:
    return name == endpoint or name.startswith(f"{legal_name(endpoint)[:40].strip('-')}-")


def _scale_as_before(change: _Change) -> bool:
    if change.before is not None:
        steps.follow_load(change.plan.name, change.before, change.place, is_async=change.standing.is_async)
    return change.before is not None
