"""Image names, metrics in a log, settings, places under /opt/ml, the gate."""

import os
from pathlib import Path

import pytest

from kennel.errors import UserError
from kennel.local import gate
from kennel.local.faults import ApiError
from kennel.local.images import check_serve_image, check_train_image, repository
from kennel.local.log_file import LogEvent
from kennel.local.metric_scan import MetricScan
from kennel.local.ml_folder import place_of
from kennel.local.settings import Settings, client_environment
from kennel.paths import MlPaths


@pytest.mark.parametrize(
    "image",
    [
        "kennel-train",
        "kennel-train:1",
        "kennel-train@sha256:0a",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel-train:1.0@sha256:0a",
        "localhost:5000/team/kennel-train",
    ],
)
def test_image_is_known_by_its_repository(image: str) -> None:
    assert repository(image) == "kennel-train"
    check_train_image(image)
    with pytest.raises(ApiError, match="trains models and cannot serve them"):
        check_serve_image(image)


@pytest.mark.parametrize("image", ["kennel-train2", "kennel-train/other:1", "my-kennel-train"])
def test_other_image_is_sent_to_docker(image: str) -> None:
    with pytest.raises(ApiError, match=f"'{image}' is neither: run it with --on docker, or --on aws"):
        check_train_image(image)


def lines(*texts: str) -> list[LogEvent]:
    return [LogEvent(number, 1000 * number, text) for number, text in enumerate(texts)]


def test_metrics_are_the_last_numbers_found() -> None:
    scan = MetricScan([{"Name": "b", "Regex": r"b=(\S*)"}, {"Name": "a", "Regex": r"a=([-0-9.e]+)"}])
    assert scan.feed(lines("a=1 a=2", "b=nan b=", "a=-1e-3"))
    assert not scan.feed(lines("nothing"))
    assert scan.feed(lines("b=7"))
    assert scan.final_metrics() == [
        {"MetricName": "b", "Value": 7.0, "Timestamp": 0.0},
        {"MetricName": "a", "Value": -0.001, "Timestamp": 2.0},
    ]


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_environ({"KENNEL_LOCAL_STOP_GRACE_S": "3", "KENNEL_TRAIN_COMMAND": "python 'a b.py'"})
    assert (settings.stop_grace_s, settings.train_command) == (3.0, ("python", "a b.py"))
    assert Settings.from_environ({}) == Settings()
    for value in ("x", "-1", "inf", "nan"):
        with pytest.raises(UserError, match=f"KENNEL_LOCAL_PING_LIMIT_S has value '{value}'"):
            Settings.from_environ({"KENNEL_LOCAL_PING_LIMIT_S": value})


def test_client_environment_goes_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(key, raising=False)
    assert "NO_PROXY" not in client_environment("http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", "intern")
    assert client_environment("http://127.0.0.1:1")["no_proxy"] == "intern,127.0.0.1"


def test_place_of_a_local_path_is_under_the_base() -> None:
    ml = MlPaths(Path("/runs/job/ml"))
    assert place_of(ml, "/opt/ml/checkpoints/", "x") == Path("/runs/job/ml/checkpoints")
    for path in ("/state", "/opt/ml", "/opt/ml/../x", "checkpoints"):
        with pytest.raises(ApiError, match=f"Value '{path}' at 'x' cannot be used"):
            place_of(ml, path, "x")


HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(local: str, remote: str, state: str, uid: int) -> str:
    return f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 {uid} 0 1 1\n"


@pytest.mark.parametrize(
    ("state", "uid", "is_own"),
    [("01", os.getuid(), True), ("01", 0, True), ("01", 54321, False), ("05", os.getuid(), False)],
    ids=["own", "root", "other", "closed by the client"],
)
@pytest.mark.parametrize("prefix", ["", "0000000000000000FFFF0000"], ids=["tcp", "tcp6"])
def test_gate_knows_whose_connection_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, state: str, uid: int, is_own: bool
) -> None:
    table = tmp_path / "tcp"
    table.write_text(HEADER + row(f"{prefix}0100007F:C350", f"{prefix}0100007F:1F90", state, uid))
    monkeypatch.setattr(gate, "_TABLES", (table, tmp_path / "none"))
    assert gate.is_own_user(50000, 8080) is is_own
    assert not gate.is_own_user(50001, 8080)


def test_gate_is_open_where_owners_cannot_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_TABLES", (tmp_path / "none",))
    assert gate.is_own_user(50000, 8080)
