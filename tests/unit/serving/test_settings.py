import os
from pathlib import Path

import pytest

from kennel.errors import UserError
from kennel.serving.settings import DEFAULT_VMARGS, default_workers, read_settings, unused_settings


def test_defaults_are_sagemakers(tmp_path: Path) -> None:
    settings = read_settings({})
    assert (settings.model_dir, settings.address, settings.port) == (Path("/opt/ml/model"), "0.0.0.0", 8080)  # noqa: S104
    assert (settings.timeout_s, settings.max_request_bytes, settings.vmargs) == (60, 6_553_500, DEFAULT_VMARGS)
    assert settings.workers >= 1
    assert not settings.is_multi_model


def test_many_models_have_a_worker_each_unless_told_otherwise() -> None:
    many = {"SAGEMAKER_MULTI_MODEL": "True", "SAGEMAKER_BASE_DIR": "/runs/ml"}
    settings = read_settings(many)
    assert (settings.is_multi_model, settings.workers, settings.models_dir) == (True, 1, Path("/runs/ml/models"))
    assert read_settings(many | {"SAGEMAKER_MODEL_SERVER_WORKERS": "2"}).workers == 2


def test_a_switch_that_is_neither_is_named() -> None:
    with pytest.raises(UserError, match="SAGEMAKER_MULTI_MODEL is 'yes'. Expected true or false."):
        read_settings({"SAGEMAKER_MULTI_MODEL": "yes"})


@pytest.mark.parametrize(("value", "limit"), [("", 6_553_500), ("0", 100 * 2**20), ("6", 6 * 2**20)])
def test_batch_transforms_variables_do_no_harm(value: str, limit: int) -> None:
    batch = {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "8",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": value,
        "SAGEMAKER_SAFE_PORT_RANGE": "22000-23000",
    }
    assert read_settings(batch).max_request_bytes == limit


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


def test_what_sets_up_other_servers_is_named() -> None:
    environ = {"TS_MAX_RESPONSE_SIZE": "1", "MMS_X": "2", "SAGEMAKER_TS_BATCH_SIZE": "3", "SAGEMAKER_PROGRAM": "x"}
    assert unused_settings(environ) == ["MMS_X", "SAGEMAKER_TS_BATCH_SIZE", "TS_MAX_RESPONSE_SIZE"]
