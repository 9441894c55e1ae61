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
from kennel.stand_in import stand_in_note


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


@pytest.mark.parametrize(
    "image",
    [
        "kennel-train2",
        "kennel-train/other:1",
        "my-kennel-train",
        "763104351884.dkr.ecr.eu-west-1.amazonaws.com/tensorflow-training:2.11-cpu-py39",
        "763104351884.dkr.ecr.eu-west-1.amazonaws.com/huggingface-pytorch-training:1.13-transformers4.26-gpu-py39",
        "141502667606.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-xgboost:1.5-1",
        "685385470294.dkr.ecr.eu-west-1.amazonaws.com/image-classification:1",
    ],
)
def test_other_image_is_sent_to_docker(image: str) -> None:
    for check in (check_train_image, check_serve_image):
        with pytest.raises(ApiError, match=f"'{image}' is none of them, .* run it with --on docker .*, or --on aws"):
            check(image)


AWS_TRAIN = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.5-cpu-py311"
AWS_SERVE = "727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn/pytorch-inference:2.0-cpu-py310"


def test_pytorch_images_of_aws_are_known_by_what_they_do() -> None:
    check_train_image(AWS_TRAIN, {"sagemaker_program": '"train.py"'})
    check_serve_image(AWS_SERVE)
    check_serve_image("520713654638.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-pytorch:1.1.0-cpu-py3")
    with pytest.raises(ApiError, match="serves models and cannot train. Give an image named 'pytorch-training'"):
        check_train_image(AWS_SERVE, {"sagemaker_program": '"train.py"'})
    with pytest.raises(ApiError, match="trains models and cannot serve them. Give an image named 'pytorch-inference'"):
        check_serve_image(AWS_TRAIN)


def test_no_training_of_ours_hides_behind_an_image_of_aws() -> None:
    with pytest.raises(ApiError, match="'sagemaker_program' names none. Give the estimator an entry_point"):
        check_train_image(AWS_TRAIN, {"epochs": "3"})


def test_the_note_on_packages_names_what_is_asked_for_and_what_is_given() -> None:
    note = stand_in_note(AWS_TRAIN)
    assert note.startswith(f"Kennel's packages stand in for those of {AWS_TRAIN}: torch ")
    assert "(asked for: 2.5), torchvision " in note and note.endswith("(asked for: 3.11).")
    assert "(asked for: 3)." in stand_in_note("x/sagemaker-pytorch:1.1.0-cpu-py3")
    assert "(asked for: 3.10)." in stand_in_note("x/pytorch-inference:2.0-cpu-py310-ubuntu20.04@sha256:0a")
    assert "asked for" not in stand_in_note("x/pytorch-inference")


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
