"""What SageMaker's instance types are: which have GPUs, disks of their own, and the drivers under their containers.

    check_type("ml.g5.xlarge", TRAIN)           # UserError with the nearest type that exists
    ami_for("ml.g5.xlarge", cuda=(13, 2))       # the endpoint AMI whose driver that CUDA runs on

AWS has no call that lists them: the types are botocore's, the drivers those of AWS's documentation (November 2026).
Exercise it: pytest tests/unit/aws/test_instances.py
"""

import difflib
import re
from collections.abc import Sequence
from functools import cache
from typing import Final

import botocore.session

from kennel.errors import UserError

TRAIN: Final = "TrainingInstanceType"
SERVE: Final = "ProductionVariantInstanceType"
TRANSFORM: Final = "TransformInstanceType"
_USES: Final = {TRAIN: "training", SERVE: "endpoints", TRANSFORM: "batch transform"}
_FAMILY: Final = re.compile(r"ml\.([a-z0-9-]+)\.[a-z0-9]+")
_GPU: Final = re.compile(r"(g\d+[a-z]*|p\d+[a-z0-9-]*)")
_ARM: Final = re.compile(r"[a-z]+\d+g[a-z]*")  # Graviton: m7g, c8gn
# Neither CPU nor NVIDIA: an image of ours has nothing for them.
_OTHER_ACCELERATORS: Final = re.compile(r"(trn|inf|dl)\d.*")
_OWN_DISK: Final = re.compile(r"(g4dn|g5|g6e?|g7e?|p3dn|p4de?|p5e?n?|p6.*|[a-z]+\d+[a-z]*d[a-z]*)")
# Endpoint AMIs by the NVIDIA driver under them; without a choice it is 470 on g4dn, g5 and p4d, which is too old for
# every CUDA 12 and 13. (InferenceAmiVersion in botocore's model; docs.aws.amazon.com/sagemaker, inference-gpu-drivers.)
_AMIS: Final = (
    ("al2-ami-sagemaker-inference-gpu-2-1", 535),
    ("al2-ami-sagemaker-inference-gpu-3-1", 550),
    ("al2023-ami-sagemaker-inference-gpu-4-1", 580),
)
# The oldest driver of each CUDA major version, within which versions are compatible
# (docs.nvidia.com/deploy/cuda-compatibility).
_OLDEST_DRIVER: Final = {11: 450, 12: 525, 13: 580}

# The newest driver of batch transform; without a choice it is 470. (TransformAmiVersion in AWS's documentation.)
BATCH_AMI: Final = "al2-ami-sagemaker-batch-gpu-535"
_BATCH_DRIVER: Final = 535


def types(use: str) -> Sequence[str]:
    """Every type botocore knows for a use: TRAIN, SERVE or TRANSFORM. Of all regions; AWS may have newer ones."""
    return _enums()[use]


@cache
def _enums() -> dict[str, tuple[str, ...]]:
    model = botocore.session.get_session().get_service_model("sagemaker")
    return {use: tuple(model.shape_for(use).enum) for use in _USES}


def check_type(instance_type: str, use: str) -> str | None:
    """None for a type that is known; a warning for one that is formed as types are (AWS may have it by now).

    Raises UserError for what is no type at all, one of another processor than our images are for, and one that is only
    for other uses, with the nearest that will do.
    """
    known = types(use)
    family = _family(instance_type)
    if family is None:
        raise UserError(
            f"'{instance_type}' is no instance type. {_nearest(instance_type, known) or 'Expected ml.g5.xlarge'}"
        )
    if _OTHER_ACCELERATORS.fullmatch(family) or _ARM.fullmatch(family):
        what = "an Arm processor" if _ARM.fullmatch(family) else "no NVIDIA GPU"
        raise UserError(f"{instance_type} has {what}: Kennel's images are for x86-64 and CUDA. Try ml.g5.xlarge.")
    if instance_type in known:
        return None
    others = [_USES[other] for other in _USES if instance_type in types(other)]
    if others:
        nearest = _nearest(instance_type, known)
        raise UserError(f"{instance_type} is for {' and '.join(others)}, not for {_USES[use]}. {nearest}".strip())
    return f"{instance_type} is not among the types this version knows for {_USES[use]}; AWS decides."


def has_gpu(instance_type: str) -> bool:
    """Whether it has an NVIDIA GPU."""
    return bool(_GPU.fullmatch(_family(instance_type) or ""))


def has_own_disk(instance_type: str) -> bool:
    """Whether it has an NVMe disk, which is there in place of a volume: no volume is paid for or encrypted by a key."""
    return bool(_OWN_DISK.fullmatch(_family(instance_type) or ""))


def ami_for(instance_type: str, *, cuda: tuple[int, int]) -> str | None:
    """The endpoint AMI with the oldest driver that runs this CUDA; None where there is no GPU to drive.

    Raises UserError where no AMI has such a driver.
    """
    if not has_gpu(instance_type):
        return None
    oldest = _OLDEST_DRIVER.get(cuda[0], 10**6)
    for name, driver in _AMIS:
        if driver >= oldest:
            return name
    raise UserError(
        f"The image has CUDA {cuda[0]}.{cuda[1]}, and no endpoint AMI that is known has a driver for it (the newest is "
        f"{_AMIS[-1][1]}). Build the serving image on an older CUDA, or serve on the CPU: kennel build serve --cpu."
    )


def is_driver_too_old(instance_type: str, *, cuda: tuple[int, int]) -> bool:
    """Whether batch transform's machines lack a driver for it, also with BATCH_AMI."""
    return has_gpu(instance_type) and _OLDEST_DRIVER.get(cuda[0], 10**6) > _BATCH_DRIVER


def _family(instance_type: str) -> str | None:
    found = _FAMILY.fullmatch(instance_type)
    return found[1] if found else None


def _nearest(instance_type: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(instance_type, known, n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else ""
