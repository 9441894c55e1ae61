"""What a job runs on, and the SDK's arguments for it."""

import argparse
import inspect
import warnings

import pytest

from kennel.aws.profile import Profile
from kennel.cli.options import add_machines, add_training_machines
from kennel.errors import UserError
from kennel.launch.resources import Resources, estimator_arguments, read_resources, read_seconds

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own, at import
    from sagemaker.estimator import Estimator

WHOLE = Profile(subnets=("subnet-1",), security_groups=("sg-1",), kms_key="alias/kennel")


def test_one_machine_needs_little() -> None:
    assert estimator_arguments(Resources("ml.g5.xlarge"), Profile()) == {
        "instance_type": "ml.g5.xlarge",
        "instance_count": 1,
        "volume_size": 30,
        "max_run": 86400,
        "enable_network_isolation": False,
    }
    assert Resources("ml.g5.xlarge").input_mode == "File"
    assert Resources("ml.g5.xlarge", is_streamed=True).input_mode == "FastFile"


def test_spot_network_and_keys_are_passed_on() -> None:
    found = estimator_arguments(Resources("ml.m5.xlarge", 2, is_spot=True, max_run_s=3600), WHOLE)
    assert (found["use_spot_instances"], found["max_wait"]) == (True, 3600 + 86400)
    assert (found["subnets"], found["security_group_ids"]) == (["subnet-1"], ["sg-1"])
    assert found["output_kms_key"] == found["volume_kms_key"] == "alias/kennel"
    assert found["encrypt_inter_container_traffic"] is True
    assert "volume_kms_key" not in estimator_arguments(Resources("ml.g5.xlarge"), WHOLE)
    warm = estimator_arguments(Resources("ml.m5.xlarge", keep_warm_s=600), Profile())
    assert warm["keep_alive_period_in_seconds"] == 600


def test_the_sdk_takes_every_argument() -> None:
    known = inspect.signature(Estimator.__init__).parameters
    found = estimator_arguments(Resources("ml.m5.xlarge", 2, is_spot=True), WHOLE)
    found |= estimator_arguments(Resources("ml.m5.xlarge", keep_warm_s=60), WHOLE)
    assert set(found) <= set(known)  # it swallows what it does not know


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"instance_count": 0}, "--instances 0 is outside of 1 to 100"),
        ({"keep_warm_s": 3601}, "--keep-warm 3601"),
        ({"max_run_s": 1}, "--max-run 1"),
        ({"is_spot": True, "keep_warm_s": 60}, "exclude each other"),
        ({"max_wait_s": 60}, "--max-wait is the time that --spot may wait"),
        ({"is_spot": True, "max_run_s": 3600, "max_wait_s": 600}, "--max-wait 600 must be at least --max-run .3600"),
    ],
)
def test_what_sagemaker_would_refuse_is_refused_first(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Resources("ml.m5.xlarge", **settings)


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_machines(parser, instance="ml.g5.xlarge")
    add_training_machines(parser)
    return parser.parse_args(words)


def test_options_become_resources() -> None:
    assert read_resources(options(), "aws") == Resources("ml.g5.xlarge", max_run_s=24 * 3600)
    asked = options(
        *("--instance", "ml.m5.xlarge", "--instances", "2", "--volume", "100", "--max-run", "90m"),
        *("--spot", "--max-wait", "1d", "--stream", "--isolated"),
    )
    assert read_resources(asked, "aws") == Resources(
        "ml.m5.xlarge", 2, 100, 90 * 60, is_spot=True, max_wait_s=86400, is_streamed=True, is_isolated=True
    )
    assert read_resources(options("--keep-warm", "600"), "aws").keep_warm_s == 600
    assert read_resources(options(), "aws", instance="ml.m5.large").instance_type == "ml.m5.large"


def test_a_verb_without_some_options_is_read_too() -> None:
    parser = argparse.ArgumentParser()
    add_machines(parser, instance="ml.m5.large")
    assert read_resources(parser.parse_args(["--max-run", "6h"]), "aws").max_run_s == 6 * 3600


def test_this_machine_takes_a_time_and_docker_takes_several_containers() -> None:
    here = read_resources(options("--max-run", "45m"), "local")
    assert (here.max_run_s, here.instance_count) == (45 * 60, 1)
    assert read_resources(options(), "local").max_run_s == 5 * 24 * 3600
    assert read_resources(options("--instances", "2"), "docker").instance_count == 2
    with pytest.raises(UserError, match="--instances 2 needs --on aws or docker"):
        read_resources(options("--instances", "2"), "local")


@pytest.mark.parametrize(
    "words",
    [
        ["--instance", "ml.m5.large"],
        ["--volume", "50"],
        ["--spot"],
        ["--max-wait", "1h"],
        ["--keep-warm", "60"],
        ["--stream"],
        ["--isolated"],
        ["--rehearse", "20"],
        ["--max-cost", "5"],
        ["--dry-run"],
    ],
)
def test_what_only_aws_has_is_refused_elsewhere_by_its_name(words: list[str]) -> None:
    with pytest.raises(UserError, match=f"{words[0]} needs --on aws: --on docker runs on this machine"):
        read_resources(options(*words), "docker")


@pytest.mark.parametrize(("text", "seconds"), [("3600", 3600), ("45m", 2700), ("6h", 21600), ("1d12h", 129600)])
def test_times_are_read(text: str, seconds: int) -> None:
    assert read_seconds(text, "--max-run") == seconds


@pytest.mark.parametrize("text", ["", " ", "soon", "1.5h", "-60", "5w"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--max-run '.*' is no time\. Expected seconds, or such as 45m"):
        read_seconds(text, "--max-run")
