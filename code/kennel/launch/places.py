"""Where a job runs: the one switch that launching has (`--on`).

    place = open_place("local")                                 # processes of this checkout; starts the service
    place = open_place("aws", settings={"region": "eu-west-1"}) # what is not given: the environment, then kennel.toml

Every place answers SageMaker's own API, so what differs is the session's endpoint, the role, the images' addresses, and
where files are. Exercise it: pytest tests/unit/launch/test_places.py tests/aws/test_train_on_aws.py
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3

from kennel import __version__
from kennel.aws.profile import Profile, read_profile
from kennel.aws.request_checks import check_requests
from kennel.aws.tags import as_list, tags_for
from kennel.aws.words import in_words
from kennel.errors import UserError

if TYPE_CHECKING:
    from sagemaker.session import Session

AWS: Final = "aws"
LOCAL_ROLE: Final = "arn:aws:iam::000000000000:role/kennel-local"
# This machine is what it is, but the API wants an instance type that exists, and a container gets GPUs by it.
LOCAL_INSTANCE: Final = "ml.m5.large"
LOCAL_GPU_INSTANCE: Final = "ml.g5.xlarge"
_SDK_SETTINGS: Final = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
# What SageMaker's API takes in a busy minute, for the SDK's own calls too; and no word on its next version.
_FOR_CLIENTS: Final = {
    "AWS_RETRY_MODE": "standard",
    "AWS_MAX_ATTEMPTS": "8",
    "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
}


@dataclass(frozen=True)
class Place:
    """Clients of a SageMaker that answers, and what its jobs are made with.

    instance_type: what jobs get that ask for none. tags: of everything that is made here. profile: whose account,
    region, bucket and network; empty but for AWS.
    """

    name: str
    role: str
    train_image: str
    serve_image: str
    instance_type: str
    tags: tuple[dict[str, str], ...] = ()
    profile: Profile = field(default_factory=Profile)

    @property
    def is_aws(self) -> bool:
        """Whether what is made here costs money."""
        return self.name == AWS

    @property
    def region(self) -> str:
        return str(self.boto.region_name)

    @cached_property
    def boto(self) -> boto3.Session:
        """What all clients here are made of: a handler of its events sees every request."""
        session = boto3.Session(region_name=self.profile.region)
        if self.is_aws:
            check_requests(session)
        return session

    def client(self, service: str) -> Any:  # noqa: ANN401  boto3 makes its clients' classes as it runs
        """A new client of any of AWS's services."""
        return self.boto.client(service)

    @cached_property
    def sagemaker(self) -> Any:  # noqa: ANN401
        return self.client("sagemaker")

    @cached_property
    def runtime(self) -> Any:  # noqa: ANN401
        return self.client("sagemaker-runtime")

    @cached_property
    def logs(self) -> Any:  # noqa: ANN401
        return self.client("logs")

    @cached_property
    def session(self) -> "Session":
        """The SDK's session, for what makes jobs and models. Its import takes seconds; the clients above do without."""
        import sagemaker.utils
        from sagemaker.session import Session

        session = Session(
            boto_session=self.boto,
            sagemaker_client=self.sagemaker,
            sagemaker_runtime_client=self.runtime,
            default_bucket=self.profile.bucket,
            # In place of files that may change what is sent unseen; the local service names one that says the same.
            sagemaker_config=_SDK_SETTINGS if self.is_aws else None,
        )
        # The SDK has checked its file of defaults now, and would again at each of about 50 look-ups, 0.2 s each.
        sagemaker.utils.validate_sagemaker_config = lambda config: None
        return session

    def tags_for(self, name: str) -> list[dict[str, str]]:
        """Of everything that is made for the job or endpoint `name`."""
        if not self.is_aws:
            return list(self.tags)
        return [*as_list(tags_for(name, self.profile)), *self.tags]

    def uri(self, *parts: str) -> str:
        """An address below the profile's prefix, on AWS: `place.uri("jobs")` is s3://bucket/kennel/jobs."""
        return "/".join([f"s3://{self.profile.bucket}", *self.profile.prefix.strip("/").split("/"), *parts])

    def need(self, *settings: str) -> None:
        """UserError unless the profile has all of these, on AWS: `place.need("role", "bucket")`."""
        missing = [each for each in settings if not getattr(self.profile, each)] if self.is_aws else []
        if missing:
            flags = ", ".join(f"--{each.replace('_', '-')}" for each in missing)
            raise UserError(
                f"--on aws needs {' and '.join(missing)}, and nothing says which. Give {flags}, or put it into "
                "kennel.toml. scripts/setup.sh shows what is there, and the commands that make what is not."
            )


def runs_folder() -> Path:
    """KENNEL_RUNS, or `runs/` in this checkout: the same folder whatever directory a command is typed in."""
    checkout = Path(__file__).resolve().parents[3]
    return Path(os.environ.get("KENNEL_RUNS") or checkout / "runs").absolute()


def open_place(
    name: str = "local",
    *,
    image: str | None = None,
    settings: Mapping[str, object] | None = None,
    is_dry: bool = False,
) -> Place:
    """A place that answers; the local service is started when it is not running.

    name: `local` or `docker`, which the same service answers for, or `aws`. image: in place of Kennel's own, any that
    Docker can run, or that is in ECR. settings: of the profile, over what the environment and kennel.toml say; for AWS
    only. is_dry: nothing will be sent, so nobody has to be signed in. Raises UserError for an image where nothing runs
    images, and CredentialsError where AWS does not know who asks.
    """
    _be_quiet()
    given: dict[str, Any] = {key: value for key, value in (settings or {}).items() if value is not None}
    if name == AWS:
        return _open_aws(image, read_profile(os.environ, folder=Path.cwd(), **given), is_dry=is_dry)
    if given:
        flags = ", ".join(f"--{each.replace('_', '-')}" for each in given)
        raise UserError(f"{flags} needs --on aws: --on {name} has no account, region or network to choose.")
    return _open_here(name, image)


def _be_quiet() -> None:
    """The SDK logs each call, each default it applies, and errors that it raises too: nothing for this user."""
    for logger, level in (
        ("sagemaker", logging.CRITICAL),
        ("sagemaker.config", logging.ERROR),
        ("botocore", logging.WARNING),
    ):
        logging.getLogger(logger).setLevel(level)


def _open_here(name: str, image: str | None) -> Place:
    from kennel.local import daemon, gpus
    from kennel.local.places import DOCKER, place_tag

    if image and name != DOCKER:
        raise UserError(f"--image {image} needs --on docker or aws: --on {name} runs this checkout, and no image.")
    os.environ.update(daemon.environment(daemon.ensure(runs_folder())))
    return Place(
        name=name,
        role=LOCAL_ROLE,
        train_image=image or f"kennel-train:{__version__}",
        serve_image=image or f"kennel-serve:{__version__}",
        instance_type=LOCAL_GPU_INSTANCE if name == DOCKER and gpus.machine_has_gpu() else LOCAL_INSTANCE,
        tags=(place_tag(name),),
    )


def _open_aws(image: str | None, profile: Profile, *, is_dry: bool) -> Place:
    """Images by tag, in the account's own registry; kennel.launch.preflight.clear looks them up there."""
    for key, value in _FOR_CLIENTS.items():
        os.environ.setdefault(key, value)
    with in_words():
        place = Place(AWS, profile.role or "", "", "", "ml.g5.xlarge", (), profile)
        if not place.region or place.region == "None":
            raise UserError("There is no AWS region. Give --region, or set AWS_REGION, or region in kennel.toml.")
        account = _account(place, is_dry=is_dry)
    suffix = "amazonaws.com.cn" if place.region.startswith("cn-") else "amazonaws.com"
    registry = f"{account}.dkr.ecr.{place.region}.{suffix}"
    return Place(
        name=AWS,
        role=profile.role or "",
        train_image=image or f"{registry}/kennel-train:{__version__}",
        serve_image=image or f"{registry}/kennel-serve:{__version__}",
        instance_type=place.instance_type,
        profile=profile,
    )


def _account(place: Place, *, is_dry: bool) -> str:
    """The account's number: the role's, where nobody has to be signed in."""
    if is_dry:
        place.need("role")
        return place.role.split(":")[4]
    return str(place.client("sts").get_caller_identity()["Account"])
