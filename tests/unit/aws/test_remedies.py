"""What is advised for failures whose words are known."""

import pytest

from kennel.aws.remedies import remedy


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("CapacityError: Unable to provision requested ML compute capacity. Please retry", "no such machine free"),
        ("The primary container for production variant AllTraffic did not pass the ping health check.", "GET /ping"),
        ("CannotStartContainerError. Please ensure the model container", "driver older than the image's CUDA"),
        ("AlgorithmError: , exit code: 137", "ran out of memory"),
        ("AlgorithmError: Exit Code: 139", "segmentation fault"),
        ("ClientError: Please use an instance type with more memory, or reduce the size", "ran out of memory"),
        ("MaxWaitTimeExceeded", "leave out --spot"),
        ("ClientError: Artifact upload failed: Access Denied", "lacks a permission"),
        ('The execution role ARN "arn:x" is invalid. Please ensure', "trust sagemaker.amazonaws.com"),
        ("ResourceLimitExceeded: The account-level service limit", "quota of that machine"),
        ("AlgorithmError: , exit code: 132", "newer instance type"),
    ],
)
def test_known_reasons_have_a_remedy(reason: str, advice: str) -> None:
    assert advice in str(remedy(reason))


def test_the_log_tells_where_the_reason_does_not() -> None:
    lines = ["epoch=1/5", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"]
    assert "GPU's memory is full" in str(remedy("AlgorithmError: ExecuteUserScriptError, exit code: 1", lines))


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("exec /usr/bin/train: exec format error", "another processor"),
        ("ModuleNotFoundError: No module named 'timm'", "requirements.txt"),
        ("RuntimeError: DataLoader worker is killed by signal: Bus error", "shared memory is full"),
        ("CUDA driver version is insufficient for CUDA runtime version", "older than the image's CUDA"),
        ("OSError: [Errno 28] No space left on device", "Give the job a larger one"),
    ],
)
def test_known_lines_have_a_remedy(line: str, advice: str) -> None:
    assert advice in str(remedy("AlgorithmError: ExecuteUserScriptError, exit code: 1", ["epoch=1/5", line]))


def test_what_is_not_known_has_none() -> None:
    assert remedy("Something new", ["epoch=1/5"]) is None
    assert remedy("AlgorithmError: exit code: 1") is None
