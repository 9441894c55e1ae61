"""What is known of instance types: existence, GPUs, disks and the drivers of endpoint AMIs."""

import pytest

from kennel.aws.instances import (
    SERVE,
    TRAIN,
    TRANSFORM,
    ami_for,
    check_type,
    has_gpu,
    has_own_disk,
    is_driver_too_old,
    types,
)
from kennel.errors import UserError


@pytest.mark.parametrize("use", [TRAIN, SERVE, TRANSFORM])
def test_types_that_are_known_pass(use: str) -> None:
    for instance_type in ("ml.g5.xlarge", "ml.m5.xlarge", "ml.c7i.large"):
        assert check_type(instance_type, use) is None


@pytest.mark.parametrize(
    ("instance_type", "use", "message"),
    [
        ("g5.xlarge", TRAIN, "'g5.xlarge' is no instance type. Did you mean 'ml.g5.xlarge'"),
        ("gpu", TRAIN, "'gpu' is no instance type"),
        ("ml.g7.2xlarge", TRANSFORM, "is for training and endpoints, not for batch transform"),
        ("ml.t3.medium", SERVE, "ml.t3.medium is for training, not for endpoints"),
        ("ml.c7g.large", SERVE, "has an Arm processor"),
        ("ml.trn1.2xlarge", TRAIN, "has no NVIDIA GPU"),
    ],
)
def test_what_will_not_do_is_refused_with_the_nearest(instance_type: str, use: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_type(instance_type, use)


def test_a_type_that_may_be_new_is_only_warned_of() -> None:
    assert "ml.g9.xlarge is not among the types this version knows for training" in str(
        check_type("ml.g9.xlarge", TRAIN)
    )


def test_gpus_and_disks_by_family() -> None:
    gpus = {each.split(".")[1] for each in types(SERVE) if has_gpu(each)}
    assert {"g4dn", "g5", "g6", "g6e", "p3", "p4d", "p5", "p5en", "p6-b200"} <= gpus
    assert not gpus & {"m5", "c5", "c7i", "r5", "inf2", "trn1", "m7g"}
    assert [has_own_disk(f"ml.{each}.xlarge") for each in ("g5", "g4dn", "c5d", "m5", "p3", "c7i")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_the_ami_has_a_driver_for_the_images_cuda() -> None:
    assert ami_for("ml.g5.xlarge", cuda=(13, 2)) == "al2023-ami-sagemaker-inference-gpu-4-1"
    assert ami_for("ml.g5.xlarge", cuda=(12, 4)) == "al2-ami-sagemaker-inference-gpu-2-1"
    assert ami_for("ml.c7i.large", cuda=(13, 2)) is None
    with pytest.raises(UserError, match="The image has CUDA 14.0, and no endpoint AMI .* kennel build serve --cpu"):
        ami_for("ml.g5.xlarge", cuda=(14, 0))


def test_batch_transform_has_no_driver_for_the_newest_cuda() -> None:
    assert is_driver_too_old("ml.g5.xlarge", cuda=(13, 2)) and is_driver_too_old("ml.g6.xlarge", cuda=(13, 2))
    assert not is_driver_too_old("ml.g4dn.xlarge", cuda=(12, 1)) and not is_driver_too_old("ml.c7i.large", cuda=(13, 2))
