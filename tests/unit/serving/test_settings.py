import os
from pathlib import Path

import pytest

from kennel.errors import UserError
from kennel.serving.settings import DEFAULT_VMARGS, default_workers, read_settings


def test_defaults_are_sagemakers(tmp_path: Path) -> None:
    settings = read_settings({})
    assert (settings.model_dir, settings.address, settings.port) == (Path("/opt/ml/model"), "0.0.0.0", 8080)  # noqa: S104
    assert (settings.timeout_s, settings.max_request_bytes, settings.vmargs) == (60, None, DEFAULT_VMARGS)
    assert settings.workers >= 1


def test_every_setting_is_read() -> None:
    settings = read_settings(
        {
            "SAGEMAKER_BASE_DIR": "/runs/ml",
            "KENNEL_LOOPBACK": "1",
            "SAGEMAKER_BIND_TO_PORT": "9123",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
            "SAGEMAKER_MODEL_SERVER_TIMEOUT": "20",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100",
            "SAGEMAKER_MODEL_SERVER_VMARGS": "-Xmx1g -XX:+UseG1GC",
        }
    )
    assert (settings.model_dir, settings.address, settings.port) == (Path("/runs/ml/model"), "127.0.0.1", 9123)
    assert (settings.workers, settings.timeout_s, settings.max_request_bytes) == (3, 20, 100 * 2**20)
    assert settings.vmargs == ("-Xmx1g", "-XX:+UseG1GC")


def test_the_timeout_in_seconds_wins() -> None:
    both = {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "60", "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "7"}
    assert read_settings(both).timeout_s == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http"),
        ("SAGEMAKER_BIND_TO_PORT", "32767"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "0"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "-5"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", "1.5"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "6MB"),
    ],
)
def test_a_wrong_value_is_named_with_its_range(name: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{name} is '{value}'. Expected a whole number from [01] to "):
        read_settings({name: value})


def test_workers_are_bounded_by_the_containers_share_of_cores(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert default_workers(tmp_path) == 1


def test_workers_are_bounded_by_the_containers_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(os, "sysconf", lambda name: 2**20)  # a terabyte: 2**20 pages of 2**20 bytes
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert default_workers(tmp_path) == 16
    (tmp_path / "memory.max").write_text(f"{4 * 2**30}\n")
    assert default_workers(tmp_path) == 6
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{2**30}\n")
    assert default_workers(tmp_path) == 1
