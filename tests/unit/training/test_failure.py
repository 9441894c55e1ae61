"""kennel.training.failure: the first line is for a person."""

import errno
from pathlib import Path

import pytest

from kennel.errors import DataError, HyperparameterError, WeightsError
from kennel.training.failure import MAX_CHARACTERS, describe_failure, report_failure
from kennel.training.writing import DiskFullError


@pytest.mark.parametrize(
    ("error", "status"),
    [(HyperparameterError("x"), 2), (DataError("x"), 3), (WeightsError("x"), 4), (DiskFullError("x"), 1)],
)
def test_failure_of_a_known_kind_is_its_message_and_status(error: Exception, status: int) -> None:
    failure = describe_failure(error)
    assert failure.reason == f"{type(error).__name__}: x"
    assert failure.exit_status == status


def test_failure_by_a_full_disk_names_the_file() -> None:
    reason = describe_failure(OSError(errno.ENOSPC, "No space left on device", "/opt/ml/model/x")).reason
    assert reason.startswith("No space left on device while writing /opt/ml/model/x. Free space there")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    ],
)
def test_failure_by_memory_says_what_to_make_smaller(error: Exception) -> None:
    failure = describe_failure(error)
    assert failure.reason.startswith("Out of memory")
    assert "Try a smaller batch-size or image-size" in failure.reason
    assert not failure.is_ours


def _raised() -> Exception:
    try:
        raise ValueError("what nobody\nthought of")
    except ValueError as error:
        return error


def test_unexpected_failure_names_type_and_place_first_and_then_the_way_there() -> None:
    failure = describe_failure(_raised())
    first, *rest = failure.reason.splitlines()
    assert first.startswith("Unexpected ValueError: what nobody thought of (test_failure.py:")
    assert any('raise ValueError("what nobody' in line for line in rest)
    assert failure.is_ours


def test_failure_fits_in_what_sagemaker_shows() -> None:
    assert len(describe_failure(DataError("x" * 5000)).reason) < MAX_CHARACTERS


def test_report_failure_writes_the_file_and_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = report_failure(DataError("no pictures"), tmp_path / "output" / "failure")
    assert status == 3
    assert (tmp_path / "output" / "failure").read_text() == "DataError: no pictures\n"
    assert capsys.readouterr().err == "error: DataError: no pictures\n"


def test_report_failure_shows_the_traceback_of_a_bug(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_failure(_raised(), tmp_path / "failure")
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_report_failure_still_says_it_where_the_file_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "output").write_text("a file where the folder should be")
    assert report_failure(DataError("no pictures"), tmp_path / "output" / "failure") == 3
    assert "error: DataError: no pictures" in capsys.readouterr().err
