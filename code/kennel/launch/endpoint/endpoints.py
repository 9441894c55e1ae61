"""Makes endpoints and changes them, at every place by the same road; a failure leaves nothing half-made.

    plan = EndpointPlan("dogs", find_model("dogs-1", place), instance_type="ml.c7i.large", most=4, ttl_s=7200)
    check(plan, place)
    deployed = deploy(plan, place)              # waits until it is in service

A model and a configuration of an own name are made for each deployment: the same name twice would serve the old model.
What deletes the endpoint when its time is over is there before the endpoint: none is ever without it.
Exercise it: pytest tests/aws/test_deploy_on_aws.py
"""

import datetime
import sys
from typing import Any

from kennel.aws.scaling import Limits
from kennel.aws.words import CredentialsError, in_words
from kennel.errors import KennelError, UserError
from kennel.launch.endpoint import endpoint_steps as steps
from kennel.launch.endpoint.deployed import Deployed
from kennel.launch.endpoint.endpoint_plan import EndpointPlan
from kennel.launch.endpoint.endpoint_requests import models_uri
from kennel.launch.endpoint.endpoint_updates import update
from kennel.launch.endpoint.standing_endpoint import StandingEndpoint, find_endpoint, is_multi_model
from kennel.launch.jobs import describe_training_job
from kennel.launch.made import Made
from kennel.launch.places import Place

Json = dict[str, Any]


def find_model(source: str, place: Place, *, is_dry: bool = False) -> str:
    """The address of an archive: `source` itself, or what the training job of that name has left.

    is_dry: where nobody is signed in to ask, where Kennel's trainings leave it. Raises UserError where there is none.
    """
    if "://" in source:
        return source
    try:
        with in_words():
            description = describe_training_job(source, place)
    except CredentialsError:
        if not is_dry:
            raise
        print(
            "nobody is signed in: as if there were no such endpoint, and the model where jobs put it", file=sys.stderr
        )
        return place.uri("jobs", source, "output", "model.tar.gz")
    artifacts = description.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    if not artifacts:
        raise UserError(
            f"Training job '{source}' is {description['TrainingJobStatus']} and has left no model. "
            "Wait until it is Completed, or train again."
        )
    return str(artifacts)


def check(plan: EndpointPlan, place: Place) -> None:
    """Raises UserError for what the place cannot do, or does not know enough for."""
    if not place.is_aws:
        _check_here(plan, place)
        return
    place.need("role")
    if plan.ttl_s is not None and not place.profile.scheduler_role:
        raise UserError(
            "--ttl needs scheduler_role, which EventBridge Scheduler acts as, in kennel.toml or "
            "KENNEL_SCHEDULER_ROLE. scripts/setup.sh prints the command that makes it."
        )
    if plan.capture_percent is not None or plan.target_model is not None:
        place.need("bucket")
    if plan.serverless_mb and place.profile.subnets:
        raise UserError(
            "--serverless and --subnets exclude each other: SageMaker does not put serverless endpoints into a VPC."
        )


def _check_here(plan: EndpointPlan, place: Place) -> None:
    asked = {
        "--serverless": plan.serverless_mb,
        "--async": plan.async_uri,
        "--min": plan.least,
        "--max": plan.most,
        "--capture": plan.capture_percent,
        "--canary": plan.canary_percent,
        "--ttl": plan.ttl_s,
        "--multi-model": plan.target_model,
        "--isolated": plan.is_isolated or None,
    }
    flags = [flag for flag, value in asked.items() if value is not None]
    if flags:
        raise UserError(f"{', '.join(flags)} needs --on aws: --on {place.name} has one machine, and it is free.")


def deploy(plan: EndpointPlan, place: Place, *, inference_ami: str | None = None, is_dry: bool = False) -> Deployed:
    """Makes the endpoint, or gives the one of that name the plan's model.

    is_dry: the requests are held (kennel.launch.dry_run), and nothing is waited for. Raises KennelError with the reason
    where the endpoint fails; what was made for it is deleted then. CredentialsError while waiting leaves it.
    """
    standing = find_endpoint(plan.name, place)
    if standing is not None and plan.target_model is not None:
        return _add_model(plan, place, standing)
    if standing is not None:
        return update(plan, place, standing, inference_ami=inference_ami, is_dry=is_dry)
    if plan.canary_percent:
        raise UserError(
            f"There is no endpoint '{plan.name}' that a canary could be compared with. Deploy without --canary first."
        )
    return _create(plan, place, inference_ami=inference_ami, is_dry=is_dry)


def _create(plan: EndpointPlan, place: Place, *, inference_ami: str | None, is_dry: bool) -> Deployed:
    made = Made()
    with made.taken_back_on_failure():
        if plan.target_model is not None:
            _bring_model(plan, place, made)
        name = steps.make_parts(plan, place, made, count=max(plan.fewest, 1), inference_ami=inference_ami)
        due = _set_time(plan, place, name, made)
        if not is_dry:  # SageMaker's own advice: what was made a moment ago is read before it is used
            place.sagemaker.describe_endpoint_config(EndpointConfigName=name)
        _create_endpoint(plan, place, name, made)
    description = steps.wait_for(plan, place, config=name, is_dry=is_dry)
    status = description["EndpointStatus"]
    if status not in ("InService", "Failed"):
        return Deployed(status, due=due)
    with made.taken_back_on_failure():
        if status == "Failed":
            raise KennelError(f"Endpoint '{plan.name}' failed and was deleted: {description.get('FailureReason')}")
        limits = _scale(plan, place, made)
    return Deployed(status, due=due, limits=limits)


def _create_endpoint(plan: EndpointPlan, place: Place, config: str, made: Made) -> None:
    request = {"EndpointName": plan.name, "EndpointConfigName": config, "Tags": place.tags_for(plan.name)}
    with made.making(
        f"endpoint {plan.name}",
        lambda: steps.delete_endpoint(plan.name, place, config=config),
        f"aws sagemaker delete-endpoint --endpoint-name {plan.name}",
    ):
        steps.create_once(
            lambda: place.sagemaker.create_endpoint(**request), lambda: steps.serves(plan.name, config, place)
        )


def _set_time(plan: EndpointPlan, place: Place, name: str, made: Made) -> datetime.datetime | None:
    """When it is deleted; schedules of an endpoint of that name that is gone would delete this one, and go."""
    if not place.profile.scheduler_role:
        return None
    if plan.ttl_s is None:
        steps.cancel_schedules(plan.name, place)
        return None
    made.add(
        f"schedules of {plan.name}",
        lambda: steps.cancel_schedules(plan.name, place),
        steps.schedule_command(plan.name),
    )
    return steps.time_to_live(place).set(plan.name, in_s=plan.ttl_s, configs=(name,), models=(name,))


def _scale(plan: EndpointPlan, place: Place, made: Made) -> Limits | None:
    if not plan.is_scaled:
        return None
    made.add(
        f"scaling of {plan.name}",
        lambda: steps.stop_following(plan.name, place),
        steps.scaling_command(plan.name),
    )
    limits = Limits(plan.fewest, plan.at_most)
    steps.follow_load(plan.name, limits, place, is_async=plan.async_uri is not None)
    return limits


def _add_model(plan: EndpointPlan, place: Place, standing: StandingEndpoint) -> Deployed:
    """One more archive in the folder; the endpoint finds it when it is asked for it."""
    standing.check_ready(place)
    if not is_multi_model(standing, place):
        raise UserError(
            f"Endpoint '{plan.name}' serves one model. Leave out --multi-model to replace it, or choose another "
            "--endpoint-name."
        )
    changes = (plan.least, plan.most, plan.capture_percent, plan.canary_percent, plan.ttl_s)
    if any(each is not None for each in changes):
        raise UserError(
            f"Endpoint '{plan.name}' is there, and --multi-model adds a model to it, which changes nothing else: leave "
            "out --min, --max, --capture, --canary and --ttl."
        )
    made = Made()
    with made.taken_back_on_failure():
        _bring_model(plan, place, made)
    return Deployed(standing.status)


def _bring_model(plan: EndpointPlan, place: Place, made: Made) -> None:
    """Copies the archive within S3 into the endpoint's folder."""
    bucket, _, key = f"{models_uri(plan.name, place)}{plan.target_model}".removeprefix("s3://").partition("/")
    from_bucket, _, from_key = plan.model_uri.removeprefix("s3://").partition("/")
    s3 = place.client("s3")

    def delete() -> bool:
        s3.delete_object(Bucket=bucket, Key=key)
        return True

    s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": from_bucket, "Key": from_key})
    made.add(f"archive s3://{bucket}/{key}", delete, f"aws s3 rm s3://{bucket}/{key}")
