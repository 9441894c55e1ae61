"""What a job runs on: machines, their disks, their network; nothing of what it computes.

    resources = Resources("ml.g5.xlarge", instance_count=2, is_spot=True, max_run_s=3600)
    resources = read_resources(arguments, "aws")        # of kennel.cli.options' add_machines, add_training_machines
    Estimator(**estimator_arguments(resources, profile), ...)

Exercise it: pytest tests/unit/launch/test_job_resources.py
"""

import argparse
import re
from dataclasses import dataclass
from typing import Any, Final

from kennel.aws.instances import has_own_disk
from kennel.aws.profile import Profile
from kennel.errors import UserError

# SageMaker's limits; for warm pools the API takes 21,600 s and the guide promises 3,600.
_MOST_S: Final = 28 * 24 * 3600
_MOST_WARM_S: Final = 3600
_MOST_INSTANCES: Final = 100
_MOST_VOLUME_GB: Final = 16384
# How long a spot job may wait for machines, where nobody says.
_WAIT_S: Final = 24 * 3600
INSTANCE: Final = "ml.g5.xlarge"
# A day on AWS, where it is paid for; here a whole dogImages training on a slow CPU fits in, and none hangs for ever.
MAX_RUN_S: Final = 24 * 3600
MAX_RUN_HERE_S: Final = 5 * 24 * 3600
# What each place but AWS has no meaning for; the rest of add_machines' options is for all.
_AWS_ONLY: Final = (
    *("instance", "volume", "max_cost", "dry_run", "spot", "max_wait", "keep_warm", "stream", "isolated", "rehearse"),
)
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_UNITS_S: Final = (24 * 3600, 3600, 60, 1)


@dataclass(frozen=True)
class Resources:
    """Raises UserError where SageMaker would refuse it, or would quietly not do it.

    max_wait_s: a spot job's time to wait and run together (a day more than max_run_s). keep_warm_s: how long machines
    stay for the next job, billed. volume_gb: of each machine; types with a disk of their own have that instead.
    is_streamed: pictures are read from S3 as they are needed (FastFile), instead of copied first. is_isolated: the
    container has no network but for its peers.
    """

    instance_type: str
    instance_count: int = 1
    volume_gb: int = 30
    max_run_s: int = MAX_RUN_S
    is_spot: bool = False
    max_wait_s: int | None = None
    keep_warm_s: int = 0
    is_streamed: bool = False
    is_isolated: bool = False

    def __post_init__(self) -> None:
        for name, low, high, what in (
            ("instance_count", 1, _MOST_INSTANCES, "--instances"),
            ("volume_gb", 1, _MOST_VOLUME_GB, "--volume"),
            ("max_run_s", 60, _MOST_S, "--max-run"),
            ("keep_warm_s", 0, _MOST_WARM_S, "--keep-warm"),
        ):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{what} {getattr(self, name)} is outside of {low} to {high}.")
        if self.is_spot and self.keep_warm_s:
            raise UserError("--spot and --keep-warm exclude each other: a spot machine is not ours to keep.")
        if self.max_wait_s is not None and not self.is_spot:
            raise UserError("--max-wait is the time that --spot may wait; without it nothing waits.")
        if self.is_spot and not self.max_run_s <= self.wait_s <= _MOST_S:
            raise UserError(
                f"--max-wait {self.wait_s} must be at least --max-run ({self.max_run_s}) and at most {_MOST_S}."
            )

    @property
    def wait_s(self) -> int:
        """Of a spot job: how long it may wait and run."""
        return self.max_wait_s if self.max_wait_s is not None else min(self.max_run_s + _WAIT_S, _MOST_S)

    @property
    def input_mode(self) -> str:
        """As a channel has it."""
        return "FastFile" if self.is_streamed else "File"


def read_resources(arguments: argparse.Namespace, on: str, *, instance: str = INSTANCE) -> Resources:
    """What add_machines' options ask for, and add_training_machines' where a verb has them.

    on: aws, docker or local. instance: the type where none is asked for; elsewhere than on AWS the place has its own.
    Raises UserError, also for what only AWS has.
    """
    given = {name: value for name, value in vars(arguments).items() if value not in (None, False)}
    run_s = read_seconds(given["max_run"], "--max-run") if "max_run" in given else None
    if on != "aws":
        _refuse_of_aws(given, on)
        return Resources(instance, int(given.get("instances", 1)), max_run_s=run_s or MAX_RUN_HERE_S)
    return Resources(
        given.get("instance", instance),
        instance_count=given.get("instances", 1),
        volume_gb=given.get("volume", Resources.volume_gb),
        max_run_s=run_s if run_s is not None else MAX_RUN_S,
        is_spot="spot" in given,
        max_wait_s=read_seconds(given["max_wait"], "--max-wait") if "max_wait" in given else None,
        keep_warm_s=given.get("keep_warm", 0),
        is_streamed="stream" in given,
        is_isolated="isolated" in given,
    )


def read_seconds(text: str, option: str) -> int:
    """Seconds of `3600`, `45m`, `6h` or `1d12h`. option: whose value it is, for the UserError."""
    found = _DURATION.fullmatch(text.strip())
    if not text.strip() or found is None:
        raise UserError(f"{option} '{text}' is no time. Expected seconds, or such as 45m, 6h or 1d12h.")
    return sum(int(count) * unit_s for count, unit_s in zip(found.groups(), _UNITS_S, strict=True) if count)


def _refuse_of_aws(given: dict[str, Any], on: str) -> None:
    named = [f"--{each.replace('_', '-')}" for each in _AWS_ONLY if each in given]
    if given.get("instances", 1) != 1 and on == "local":
        raise UserError(f"--instances {given['instances']} needs --on aws or docker: this is one machine.")
    if named:
        verb = "needs" if len(named) == 1 else "need"
        raise UserError(
            f"{', '.join(named)} {verb} --on aws: --on {on} runs on this machine, which is there and costs nothing."
        )


def estimator_arguments(resources: Resources, profile: Profile) -> dict[str, Any]:
    """The SDK's Estimator's arguments for these resources, the network and keys of a profile among them."""
    arguments: dict[str, Any] = {
        "instance_type": resources.instance_type,
        "instance_count": resources.instance_count,
        "volume_size": resources.volume_gb,
        "max_run": resources.max_run_s,
        "enable_network_isolation": resources.is_isolated,
    }
    if resources.is_spot:
        arguments |= {"use_spot_instances": True, "max_wait": resources.wait_s}
    if resources.keep_warm_s:
        arguments["keep_alive_period_in_seconds"] = resources.keep_warm_s
    if profile.subnets:
        arguments |= {"subnets": list(profile.subnets), "security_group_ids": list(profile.security_groups)}
    if profile.kms_key:
        arguments["output_kms_key"] = profile.kms_key
        if not has_own_disk(resources.instance_type):  # which AWS encrypts by itself, and takes no key for
            arguments["volume_kms_key"] = profile.kms_key
    if resources.instance_count > 1:
        arguments["encrypt_inter_container_traffic"] = bool(profile.kms_key)
    return arguments
