"""What to do about a job or endpoint that failed, by AWS's reason and the log.

    remedy("The primary container ... did not pass the ping health check ...", log_lines)

AWS's texts are those of its documentation and of public reports of 2021 to 2026; an unknown one has no remedy here.
Exercise it: pytest tests/unit/aws/test_remedies.py
"""

import re
from collections.abc import Sequence
from typing import Final

_EXIT: Final = re.compile(r"exit\s*code:?\s*(\d+)", re.IGNORECASE)
_BY_REASON: Final = (
    (
        r"CapacityError|InsufficientInstanceCapacity|Unable to provision requested ML compute capacity",
        "AWS has no such machine free just now. Try again later, another --instance, or another region.",
    ),
    (
        r"did not pass the ping health check",
        "The server did not answer GET /ping with 200 in time. Its log says why (kennel attach NAME); scripts/smoke.sh "
        "runs the same check on this machine, and costs nothing.",
    ),
    (
        r"CannotStartContainerError",
        "The container did not start. On a GPU machine that is most often a driver older than the image's CUDA, and "
        "there is no log at all: kennel deploy chooses the AMI that has the driver. Otherwise the image takes no word "
        "`serve` (scripts/smoke.sh), or is for another processor.",
    ),
    (
        r"instance type with more memory|exit\s*code:?\s*137",
        "The machine ran out of memory. Use a smaller batch-size or image-size, or an instance with more.",
    ),
    (
        r"Could not find model data|Could not access model data",
        "The model's archive is gone, in another region, or the role may not read it (s3:GetObject).",
    ),
    (
        r"MaxRuntimeExceeded",
        "The time limit ended it. Give more (--max-run); what was kept goes on with --resume.",
    ),
    (
        r"MaxWaitTimeExceeded",
        "No spot machine came, or not for long enough. Wait longer (--max-wait), or leave out --spot.",
    ),
    (
        r"Cannot pull|not found.*image|image.*not found|image does not exist|does not grant ecr:",
        "The image could not be pulled. scripts/push.sh shows what is in ECR; the execution role needs the ecr: "
        "actions of iam/execution-role.json.",
    ),
    (
        r"Could not assume role|execution role ARN .* is invalid",
        "The execution role must exist and trust sagemaker.amazonaws.com; one made a minute ago is not known "
        "everywhere yet. scripts/setup.sh checks it.",
    ),
    (
        r"ResourceLimitExceeded|account-level service limit",
        "The quota of that machine is used up or 0. Ask for more in Service Quotas, SageMaker; or fewer side by side.",
    ),
    (
        r"Access ?Denied|not authorized",
        "The execution role lacks a permission. iam/execution-role.json has what jobs need.",
    ),
    (r"No space left|disk.*full", "The disk is full. Give the job a larger one (--volume GB)."),
    (r"InternalServerError", "A fault at AWS. Start it once more."),
)
# What the last lines of a log tell where the reason tells nothing.
_BY_LOG: Final = (
    (r"CUDA out of memory|OutOfMemoryError", "The GPU's memory is full. Use a smaller batch-size or image-size."),
    (
        r"unsatisfied condition: cuda|CUDA driver version is insufficient|no kernel image is available",
        "The driver, or the GPU, is older than the image's CUDA. Use another instance type or image.",
    ),
    (
        r"Bus error|insufficient shared memory",
        "The container's shared memory is full: a smaller batch-size, or a larger instance.",
    ),
    (
        r"exec format error",
        "The image is for another processor. Build it for linux/amd64 (scripts/build.sh does).",
    ),
    (
        r"ModuleNotFoundError|No module named",
        "The image lacks a package that the script wants: name it in requirements.txt beside the script.",
    ),
    (
        r"PeerError|NCCL error|RendezvousTimeout",
        "The machines of the job lost each other. One of them has failed before: look at the first error of each host. "
        "In a VPC their security group must let them talk to each other.",
    ),
    (r"No space left on device", "The disk is full. Give the job a larger one (--volume GB)."),
    (
        r"Name or service not known|Temporary failure in name resolution|Connection timed out",
        "The container has no network, or not that one. Weights and packages belong into the image or a channel.",
    ),
)
_BY_STATUS: Final = {
    132: "It used an instruction that this processor does not have: use a newer instance type.",
    137: "It was killed, most often for want of memory: a smaller batch-size or image-size, or an instance with more.",
    139: "It crashed (segmentation fault). The last lines of its log say where.",
    143: "It was told to stop.",
}


def remedy(reason: str, log: Sequence[str] = ()) -> str | None:
    """What to do; None where nothing is known. log: the last lines, oldest first."""
    for pattern, text in _BY_REASON:
        if re.search(pattern, reason, re.IGNORECASE):
            return text
    said = "\n".join([reason, *log])
    for pattern, text in _BY_LOG:
        if re.search(pattern, said):
            return text
    found = _EXIT.search(reason)
    return _BY_STATUS.get(int(found[1])) if found else None
