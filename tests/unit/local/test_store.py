"""Records: whole on disk, found again, and still moving when the disk is full."""

import json
from pathlib import Path

import pytest

from kennel.local import store as store_module
from kennel.local.store import Record, Store
from kennel.local.validation import service_model


@pytest.fixture
def endpoints(tmp_path: Path) -> Store:
    shape = service_model("sagemaker").operation_model("DescribeEndpoint").output_shape
    return Store(shape, lambda name: tmp_path / name / "endpoint.json")


def record(name: str, status: str = "Creating") -> Record:
    return Record({"EndpointName": name}, {"EndpointName": name, "EndpointStatus": status, "CreationTime": 1.0}, ())


def test_record_is_found_again_by_another_store(endpoints: Store, tmp_path: Path) -> None:
    assert endpoints.add("a", record("a"))
    assert not endpoints.add("a", record("a"))
    endpoints.update("a", {"EndpointStatus": "Failed", "FailureReason": "no"})
    endpoints.update("a", lambda old: {"EndpointStatus": old["EndpointStatus"] + "!"}, drop=["FailureReason"])
    shape = service_model("sagemaker").operation_model("DescribeEndpoint").output_shape
    other = Store(shape, lambda name: tmp_path / name / "endpoint.json")
    other.load("EndpointName", tmp_path.glob("*/endpoint.json"))
    assert other.get("a") == endpoints.get("a")
    [found] = other.all()
    assert found.description["EndpointStatus"] == "Failed!" and "FailureReason" not in found.description
    endpoints.remove("a")
    assert endpoints.get("a") is None and not (tmp_path / "a" / "endpoint.json").exists()


def test_record_that_cannot_be_read_is_left_alone_and_named(
    endpoints: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("cut", '{"request": '), ("odd", "[]"), ("old", '{"request": {}}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "endpoint.json").write_text(text)
    endpoints.load("EndpointName", sorted(tmp_path.glob("*/endpoint.json")))
    assert endpoints.all() == []
    told = capsys.readouterr().err
    assert all(f"{tmp_path / name / 'endpoint.json'} cannot be read" in told for name in ("cut", "odd", "old"))
    assert (tmp_path / "cut" / "endpoint.json").exists()


def test_update_on_a_full_disk_is_told_and_kept_in_memory(
    endpoints: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints.add("a", record("a"))

    def full(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module, "write_json", full)
    assert endpoints.update("a", {"EndpointStatus": "Failed"})["EndpointStatus"] == "Failed"
    assert "No space left on device" in capsys.readouterr().err
    on_disk = json.loads((tmp_path / "a" / "endpoint.json").read_text())
    assert on_disk["description"]["EndpointStatus"] == "Creating"
    with pytest.raises(OSError, match="No space left"):
        endpoints.add("b", record("b"))
    assert endpoints.get("b") is None
