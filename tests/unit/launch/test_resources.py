"""What a job runs on, and the SDK's arguments for it."""

import inspect
import warnings

import pytest

from kennel.aws.profile import Profile
from kennel.errors import UserError
from kennel.launch.resources import Resources, estimator_arguments

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
