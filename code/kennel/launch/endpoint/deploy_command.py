"""`kennel deploy`: from what is asked for to an endpoint, and what to know about it."""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from kennel.aws.prices import ASYNC, HOSTING, AmbiguousPriceError, PriceList
from kennel.aws.schedule import read_duration
from kennel.aws.words import CredentialsError
from kennel.errors import UserError
from kennel.launch.dry_run import as_json, held
from kennel.launch.endpoint import endpoints
from kennel.launch.endpoint.deployed import Deployed
from kennel.launch.endpoint.endpoint_plan import EndpointPlan
from kennel.launch.endpoint.standing_endpoint import StandingEndpoint, find_endpoint
from kennel.launch.jobs import check_name, legal_name
from kennel.launch.places import Place, open_place
from kennel.launch.preflight.clear import Cleared, clear_endpoint
from kennel.launch.unsigned import nothing_there
from kennel.launch.watching.attend import Detached

# What a ResNet-18 on a CPU needs: two cores, 4 GiB.
INSTANCE = "ml.c7i.large"


def run(arguments: argparse.Namespace, settings: dict[str, object]) -> int:
    """The exit status: 0 once it is in service, Detached's where it was left before. settings: of the profile."""
    place = open_place(arguments.on, image=arguments.image, settings=settings, is_dry=arguments.dry_run)
    name = endpoint_name(arguments)
    plan = plan_endpoint(arguments, name, place)
    endpoints.check(plan, place)
    cleared = _clear(plan, place, arguments)
    if arguments.dry_run:
        fresh = dataclasses.replace(cleared.place)  # only clients that are made from here on are held
        with held(fresh.boto) as requests, nothing_there(fresh.boto), contextlib.redirect_stdout(sys.stderr):
            endpoints.deploy(plan, fresh, inference_ami=cleared.inference_ami, is_dry=True)
        print(as_json(requests))
        return 0
    print(*cleared.lines, sep="\n", end="\n" * bool(cleared.lines), flush=True)
    deployed = endpoints.deploy(plan, cleared.place, inference_ami=cleared.inference_ami)
    print(*closing_lines(plan, deployed, place), sep="\n", flush=True)
    return 0 if deployed.status == "InService" else Detached.exit_status


def endpoint_name(arguments: argparse.Namespace) -> str:
    """The endpoint's, checked: as given, else the training job's."""
    if arguments.endpoint_name is None and "://" in arguments.name:
        raise UserError(f"{arguments.name} is an address: give the endpoint's name too (--endpoint-name).")
    return check_name(arguments.endpoint_name or arguments.name, "Endpoint")


def plan_endpoint(arguments: argparse.Namespace, name: str, place: Place) -> EndpointPlan:
    """Everything that is asked for; what is not stays as an endpoint that is there has it.

    Where --async names no address it is one of Kennel's own.
    """
    if arguments.serverless is None and arguments.concurrency is not None:
        raise UserError("--concurrency is of --serverless endpoints; those with machines scale by --min and --max.")
    if arguments.instance and not place.is_aws:
        raise UserError(f"--instance needs --on aws: --on {place.name} has this machine.")
    kept = _Kept.of(name, place, arguments)
    return EndpointPlan(
        name=name,
        model_uri=endpoints.find_model(arguments.name, place, is_dry=arguments.dry_run),
        instance_type=arguments.instance or kept.instance_type,
        serverless_mb=arguments.serverless or kept.serverless_mb,
        concurrency=arguments.concurrency if arguments.concurrency is not None else kept.concurrency,
        async_uri=kept.async_uri if arguments.asynchronous is None else _async_uri(arguments, name, place),
        least=arguments.min,
        most=arguments.max,
        capture_percent=(kept.capture_percent if arguments.capture is None else arguments.capture) or None,
        canary_percent=arguments.canary,
        ttl_s=None if arguments.ttl is None else read_duration(arguments.ttl),
        target_model=target_model(arguments.name) if arguments.multi_model else None,
        is_isolated=arguments.isolated,
    )


@dataclass(frozen=True)
class _Kept:
    """What an endpoint has and nobody asks to change; of a new one the defaults."""

    instance_type: str | None = None
    serverless_mb: int | None = None
    concurrency: int = 5
    async_uri: str | None = None
    capture_percent: int | None = None

    @classmethod
    def of(cls, name: str, place: Place, arguments: argparse.Namespace) -> "_Kept":
        if not place.is_aws:
            return cls(instance_type=place.instance_type)
        standing = _standing(name, place, is_dry=arguments.dry_run)
        if arguments.serverless is not None:
            return cls(concurrency=(standing and standing.concurrency) or cls.concurrency)
        if standing is None or (standing.is_serverless and arguments.instance):
            return cls(instance_type=INSTANCE)
        kinds = standing.instance_type, standing.serverless_mb, standing.concurrency or cls.concurrency
        return cls(*kinds, standing.async_uri, standing.capture_percent)


def _standing(name: str, place: Place, *, is_dry: bool) -> StandingEndpoint | None:
    try:
        return find_endpoint(name, place)
    except CredentialsError:
        if is_dry:
            return None
        raise


def target_model(source: str) -> str:
    """The name under which one of many models is asked for: `dogs-1.tar.gz` of job dogs-1."""
    if "://" not in source:
        return f"{source}.tar.gz"
    *folders, file = source.split("/")
    is_a_jobs = file == "model.tar.gz" and folders[-1] == "output" and len(folders) > 2
    return f"{legal_name(folders[-2] if is_a_jobs else file.removesuffix('.tar.gz'))}.tar.gz"


def _async_uri(arguments: argparse.Namespace, name: str, place: Place) -> str:
    if arguments.asynchronous:
        return str(arguments.asynchronous)
    if not place.is_aws:
        raise UserError(f"--async needs --on aws: --on {place.name} answers at once.")
    place.need("bucket")
    return place.uri("async", name)


def _clear(plan: EndpointPlan, place: Place, arguments: argparse.Namespace) -> Cleared:
    if not place.is_aws:
        if arguments.max_cost is not None:
            raise UserError(f"--max-cost needs --on aws: --on {place.name} costs nothing.")
        return Cleared(place)
    return clear_endpoint(
        place,
        instance_type=plan.instance_type,
        least=plan.fewest,
        most=plan.at_most,
        ttl_s=plan.ttl_s,
        model_uri=plan.model_uri,
        max_cost=arguments.max_cost,
        is_dry=arguments.dry_run,
        serverless_mb=plan.serverless_mb,
        is_async=plan.async_uri is not None,
    )


def closing_lines(plan: EndpointPlan, deployed: Deployed, place: Place) -> Iterator[str]:
    """What it costs and when it ends, on AWS; how to ask it and how to be rid of it."""
    on = f" --on {place.name}" if place.is_aws else ""
    if deployed.status != "InService":
        yield f"endpoint {plan.name} is {deployed.status}; watch it: kennel attach {plan.name}{on}"
        if plan.is_scaled:
            yield f"it will not scale until it is deployed once more: --max {plan.at_most} comes after it is in service"
    if place.is_aws:
        yield f"costs:     {_cost(plan, deployed, place)}"
        when = f"at {deployed.due:%Y-%m-%d %H:%M} UTC" if deployed.due else "by nobody but you (see --ttl)"
        yield f"deleted:   {when}"
    target = f" --target-model {plan.target_model}" if plan.target_model else ""
    yield f"ask it:    kennel invoke {plan.name}{on}{target} PHOTO..."
    yield f"delete it: kennel delete --endpoint-name {plan.name}{on}"


def _cost(plan: EndpointPlan, deployed: Deployed, place: Place) -> str:
    if plan.instance_type is None:
        return f"each request's time in {plan.serverless_mb} MB, and nothing while nobody asks"
    component = ASYNC if plan.async_uri else HOSTING
    try:
        price = PriceList().hourly(plan.instance_type, component, region=place.region)
    except AmbiguousPriceError as error:
        return str(error)
    limits = deployed.limits
    number = f"{limits.least} to {limits.most} x " if limits else ""
    return f"{number}{price}" if price else f"{number}{plan.instance_type}, whose price is not known"
