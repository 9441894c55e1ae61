"""SageMaker's contract for multi-model endpoints, asked of the real `serve` over a folder that stands for /opt/ml."""

import http.client
import json
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from served_archive import LABELS, golden, make_archive, picture
from served_process import Reply, Server, as_json, runs, start_server, stop_server, text, wait_gone

# In the server's processes a file beside the archive, or a body, says what is to go wrong.
FAULTY = f"""
import os, signal, time
import kennel.serving.engine as engine
import kennel.serving.request as request
load_engine, parse_request = engine.load_engine, request.parse_request
def load(model_dir):
    if (model_dir / "hungry").exists():
        raise MemoryError
    if (model_dir / "killed").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if (model_dir / "faulty").exists():
        raise RuntimeError("secret detail")
    return load_engine(model_dir)
def parse(body, content_type):
    if body == b"fail":
        raise RuntimeError("secret detail")
    if body == b"memory":
        raise MemoryError
    if body == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if body == b"slow":
        time.sleep(1.5)
        body = {picture()!r}
    return parse_request(body, content_type)
engine.load_engine, request.parse_request = load, parse
"""
MANY = {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_MODEL_SERVER_WORKERS": "", "SAGEMAKER_MODEL_SERVER_TIMEOUT": "4"}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models that answer differently."""
    return [make_archive(tmp_path_factory.mktemp("archive") / "model", seed=seed) for seed in (0, 1)]


def start_many(base: Path, archives: list[Path], **environ: str) -> Server:
    """A server beside the folders m0, m1 (the same again as n0, n1), with nothing loaded."""
    for prefix in "mn":
        for index, archive in enumerate(archives):
            shutil.copytree(archive, base / "models" / f"{prefix}{index}" / "model")
    (base / "sitecustomize.py").write_text(FAULTY)
    return start_server(base, PYTHONPATH=str(base), **(MANY | environ)).wait_until_ready()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, archives: list[Path]) -> Iterator[Server]:
    server = start_many(tmp_path_factory.mktemp("ml"), archives)
    yield server
    stop_server(server)


@pytest.fixture
def server(running: Server) -> Server:
    """The one server of most tests, with nothing loaded."""
    for name in names(running):
        assert unload(running, name).status == 200
    return running


def url(server: Server, name: str) -> str:
    return str(server.base / "models" / name / "model")


def load(server: Server, name: str, folder: str | None = None) -> Reply:
    order = as_json(model_name=name, url=url(server, folder or name))
    return server.request("POST", "/models", order, content_type="application/json")


def unload(server: Server, name: str) -> Reply:
    return server.request("DELETE", f"/models/{name}")


def names(server: Server) -> list[str]:
    return [model["modelName"] for model in server.request("GET", "/models").json["models"]]


def invoke(server: Server, name: str, body: bytes | None = None, **headers: str) -> Reply:
    return server.request(
        "POST", f"/models/{name}/invoke", body or picture(), **{"content_type": "image/png"} | headers
    )


def error_of(reply: Reply, status: int) -> Any:  # noqa: ANN401
    assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
    assert "Traceback" not in reply.body.decode()
    return reply.json["error"]


def nursery(server: Server) -> psutil.Process:
    (found,) = (each for each in psutil.Process(server.process.pid).children() if runs(each, "kennel.serving.nursery"))
    return found


def processes(server: Server) -> list[psutil.Process]:
    """Of the models that are loaded: for each its keeper, then its workers."""
    return [each for keeper in nursery(server).children() for each in (keeper, *keeper.children())]


def wait_for_log(server: Server, line: str) -> None:
    deadline = time.monotonic() + 30
    while line not in server.errors:
        assert time.monotonic() < deadline, server.errors
        time.sleep(0.02)


# Loading, listing, unloading.


def test_it_is_healthy_from_when_models_can_be_loaded(server: Server) -> None:
    assert server.before_ready == {"refused"}
    assert server.output.startswith(f"ready: http://127.0.0.1:{server.port} multi_model=true ")
    assert server.request("GET", "/ping").status == 200
    assert server.request("GET", "/models").json == {"models": []}


def test_a_model_is_loaded_described_and_unloaded(server: Server) -> None:
    reply = load(server, "m0")
    assert (reply.status, reply.json["golden"], reply.json["model"]["backbone"]) == (200, 2, "resnet18")
    entry = {"modelName": "m0", "modelUrl": url(server, "m0")}
    assert server.request("GET", "/models").json == {"models": [entry]}
    assert entry.items() <= server.request("GET", "/models/m0").json.items()
    assert unload(server, "m0").status == 200
    assert server.request("GET", "/models").json == {"models": []}


def test_each_model_gives_its_own_answers(server: Server, archives: list[Path]) -> None:
    for index, archive in enumerate(archives):
        assert load(server, f"m{index}").status == 200
        examples = golden(archive)
        body = as_json(images=[text(data) for data, _ in examples], top_k=3)
        reply = invoke(server, f"m{index}", body, content_type="application/json")
        for prediction, (_, expected) in zip(reply.json["predictions"], examples, strict=True):
            found = {each["label"]: each["probability"] for each in prediction["top_k"]}
            assert [found[label] for label in LABELS] == pytest.approx(expected, abs=1e-6)


def test_loading_twice_is_409_and_changes_nothing(server: Server) -> None:
    load(server, "m0")
    before = processes(server)
    assert error_of(load(server, "m0"), 409)["code"] == "already_loaded"
    assert processes(server) == before


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/models/m0"), ("DELETE", "/models/m0"), ("POST", "/models/m0/invoke")]
)
def test_what_is_not_loaded_is_404(server: Server, method: str, path: str) -> None:
    load(server, "m1")
    error = error_of(server.request(method, path, picture() if method == "POST" else None), 404)
    assert error == {"code": "not_loaded", "message": "Model m0 is not loaded."}


def test_lists_are_paged(server: Server) -> None:
    for name in ("m1", "n0", "m0"):
        load(server, name)
    first = server.request("GET", "/models?limit=2").json
    assert [model["modelName"] for model in first["models"]] == ["m0", "m1"]
    second = server.request("GET", f"/models?limit=2&next_page_token={first['nextPageToken']}").json
    assert [model["modelName"] for model in second["models"]] == ["n0"]
    assert "nextPageToken" not in second
    unload(server, "n0")
    assert "nextPageToken" not in server.request("GET", "/models?limit=2").json


def test_when_an_unload_returns_its_processes_are_gone(server: Server) -> None:
    load(server, "m0")
    ours = processes(server)
    load(server, "m1")
    assert len(ours) == 2
    assert unload(server, "m0").status == 200
    assert [each for each in ours if psutil.pid_exists(each.pid)] == []
    assert invoke(server, "m1").status == 200


def test_a_name_can_be_loaded_again_from_another_folder(server: Server) -> None:
    load(server, "m0")
    before = invoke(server, "m0").json["predictions"]
    unload(server, "m0")
    assert load(server, "m0", "m1").status == 200
    assert invoke(server, "m0").json["predictions"] != before


# What cannot be loaded.


@pytest.mark.parametrize(
    ("order", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_request"),
        (as_json(model_name="x"), 400, "invalid_request"),
        (as_json(model_name="x", url=1), 400, "invalid_request"),
        (as_json(model_name="../x", url="m0/model"), 400, "invalid_name"),
        (as_json(model_name="", url="m0/model"), 400, "invalid_name"),
        (as_json(model_name="x", url=""), 400, "bad_url"),
        (as_json(model_name="x", url="/etc"), 400, "bad_url"),
        (as_json(model_name="x", url="m0/../../.."), 400, "bad_url"),
        (as_json(model_name="x", url="s3://bucket/x.tar.gz"), 404, "no_such_folder"),
        (as_json(model_name="x", url="absent/model"), 404, "no_such_folder"),
    ],
)
def test_an_order_that_cannot_be_followed_is_4xx_with_a_reason(
    server: Server, order: bytes, status: int, code: str
) -> None:
    assert error_of(server.request("POST", "/models", order), status)["code"] == code
    assert names(server) == []


def spoilt(server: Server, name: str, **card: Any) -> Path:  # noqa: ANN401
    """A folder as m0's, with other values in its card."""
    folder = server.base / "models" / name / "model"
    shutil.copytree(server.base / "models" / "m0" / "model", folder)
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(content | card))
    return folder


def test_a_bad_archive_is_refused_with_the_reason_and_not_listed(server: Server) -> None:
    spoilt(server, "newer", format_version=99)
    spoilt(server, "mismatch", temperature=0.1)
    (server.base / "models" / "empty" / "model").mkdir(parents=True)
    for name, reason in (("newer", "format 99"), ("mismatch", "Golden picture"), ("empty", "has no model.json")):
        error = error_of(load(server, name), 400)
        assert (error["code"], reason in error["message"]) == ("bad_archive", True), error
        assert error["message"].startswith("ArchiveError: ")
    assert (names(server), processes(server)) == ([], [])
    assert load(server, "m0").status == 200


@pytest.mark.parametrize("fault", ["hungry", "killed"])
def test_a_model_that_memory_does_not_suffice_for_is_507(server: Server, fault: str) -> None:
    (spoilt(server, fault) / fault).touch()
    load(server, "m1")
    error = error_of(load(server, fault), 507)
    assert error["code"] == "out_of_memory"
    assert error["message"].endswith("Unload another model, or use a larger instance.")
    assert names(server) == ["m1"]
    assert len(processes(server)) == 2


def test_memory_is_judged_before_anything_is_loaded(server: Server) -> None:
    with (spoilt(server, "huge") / "weights.bin").open("wb") as file:
        file.truncate(2**40)
    started = time.monotonic()
    error = error_of(load(server, "huge"), 507)
    assert time.monotonic() - started < 1
    assert "needs about 4194" in error["message"]


def test_a_fault_of_ours_is_500_and_its_traceback_is_in_the_log(server: Server) -> None:
    (spoilt(server, "faulty") / "faulty").touch()
    assert error_of(load(server, "faulty"), 500)["code"] == "load_failed"
    wait_for_log(server, 'raise RuntimeError("secret detail")')
    assert names(server) == []


# Asking.


def test_requests_for_several_models_at_the_same_time_get_their_own_answers(server: Server) -> None:
    for name in ("m0", "m1"):
        load(server, name)
    orders = [(name, picture(colour=colour)) for name in ("m0", "m1") for colour in ("red", "blue")] * 6
    alone = [invoke(server, *order).json["predictions"] for order in orders[:4]]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda order: invoke(server, *order), orders))
    assert [reply.json["predictions"] for reply in replies] == alone * 6
    assert len({json.dumps(each) for each in alone}) == 4


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"hello", {}, 400, "not_an_image"),
        (b"hello", {"content_type": "text/plain"}, 415, "unsupported_media_type"),
        (b"hello", {"accept": "text/html"}, 406, "not_acceptable"),
        (b"fail", {}, 500, "internal_error"),
        (b"memory", {}, 507, "out_of_memory"),
        (bytes(6_553_501), {}, 413, "too_many_bytes"),
    ],
)
def test_a_request_that_cannot_be_answered_says_why(
    server: Server, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    load(server, "m0")
    error = error_of(invoke(server, "m0", body, **headers), status)
    assert error["code"] == code
    assert "secret" not in error["message"]
    assert invoke(server, "m0", accept="text/csv").headers["content-type"] == "text/csv; charset=utf-8"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/ping", 405),
        ("PUT", "/models", 405),
        ("PUT", "/models/m0?min_worker=9", 405),
        ("GET", "/models/m0/invoke", 405),
        ("POST", "/invocations", 404),
        ("GET", "/execution-parameters", 404),
        ("GET", "/", 404),
        ("GET", "/models?limit=0", 400),
    ],
)
def test_there_is_nothing_else_on_the_port(server: Server, method: str, path: str, status: int) -> None:
    assert error_of(server.request(method, path), status)["message"]
    listening = {
        (each.laddr.ip, each.laddr.port)
        for process in (psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(True))
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", server.port)}


def test_one_connection_serves_many_requests_also_in_chunks(server: Server) -> None:
    load(server, "m0")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    data = picture()
    for body in (data, iter((data[:50], data[50:])), data):
        connection.request("POST", "/models/m0/invoke", body, {"Content-Type": "image/png"})
        response = connection.getresponse()
        assert (response.status, len(json.loads(response.read())["predictions"])) == (200, 1)
        assert response.headers["Connection"] == "keep-alive"
    connection.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST /models HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /models HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /models HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /models HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /models HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
        b"POST /models HTTP/1.1\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_what_is_no_request_is_4xx_and_hung_up_on(server: Server, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505 ")), answer
    assert b'{"error": {"code": "' in answer
    assert server.request("GET", "/ping").status == 200


def test_requests_leave_no_lines_in_the_log(server: Server) -> None:
    load(server, "m0")
    before = server.output, server.errors
    for _ in range(3):
        invoke(server, "m0")
        invoke(server, "m0", b"hello")
        server.request("GET", "/ping")
        server.request("GET", "/models")
    assert (server.output, server.errors) == before
    *_, last = server.output.splitlines()
    assert last.startswith("loaded: model=m0 ")


def test_code_in_an_archive_never_runs_and_the_archive_is_left_as_it_was(server: Server) -> None:
    folder = spoilt(server, "evil")
    code = f"import pathlib\npathlib.Path({str(server.base / 'it-ran')!r}).touch()\n"
    for name in ("sitecustomize.py", "json.py", "torch.py", "inference.py", "handler.py"):
        (folder / name).write_text(code)
    before = sorted(folder.rglob("*"))
    assert load(server, "evil").status == 200
    assert invoke(server, "evil").status == 200
    assert not (server.base / "it-ran").exists()
    assert sorted(folder.rglob("*")) == before


# What goes wrong with processes.


def test_a_killed_worker_is_replaced_and_nobody_notices(server: Server) -> None:
    load(server, "m0")
    _, worker = processes(server)
    worker.kill()
    assert [invoke(server, "m0").status for _ in range(3)] == [200] * 3
    _, worker = processes(server)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(invoke, server, "m0", b"slow")
        time.sleep(0.5)
        worker.kill()
        assert under_way.result().status == 200


def test_a_request_that_kills_its_workers_is_500_and_the_next_is_answered(server: Server) -> None:
    load(server, "m0")
    assert error_of(invoke(server, "m0", b"die"), 500)["code"] == "worker_killed"
    assert invoke(server, "m0").status == 200


def test_a_worker_that_hangs_is_killed_after_the_timeout(server: Server) -> None:
    load(server, "m0")
    _, worker = processes(server)
    worker.suspend()
    assert error_of(invoke(server, "m0"), 500)["message"].startswith("The answer took more than 4 s")
    wait_gone([worker])
    assert invoke(server, "m0").status == 200


def test_a_model_whose_process_was_killed_is_not_loaded_any_more(server: Server) -> None:
    load(server, "m0")
    load(server, "m1")
    keeper, worker, *_ = processes(server)
    keeper.kill()
    wait_gone([keeper, worker])
    wait_for_log(server, "WARNING lost: model=m0: ")
    assert names(server) == ["m1"]
    assert error_of(invoke(server, "m0"), 404)["code"] == "not_loaded"
    assert invoke(server, "m1").status == 200
    assert load(server, "m0").status == 200
    assert invoke(server, "m0").status == 200


def test_an_unload_lets_requests_under_way_be_answered(server: Server) -> None:
    load(server, "m0")
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(invoke, server, "m0", b"slow")
        time.sleep(0.5)
        assert unload(server, "m0").status == 200
        assert under_way.result().status == 200
    assert processes(server) == []


def test_sigterm_answers_what_is_under_way_and_leaves_nothing(tmp_path: Path, archives: list[Path]) -> None:
    server = start_many(tmp_path, archives, SAGEMAKER_MODEL_SERVER_WORKERS="2")
    try:
        load(server, "m0")
        assert len(processes(server)) == 3
        family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
        idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        idle.request("GET", "/ping")
        idle.getresponse().read()
        with ThreadPoolExecutor(4) as pool:
            under_way = [pool.submit(invoke, server, "m0", b"slow") for _ in range(4)]
            time.sleep(0.5)
            server.process.terminate()
            time.sleep(0.5)
            with pytest.raises(ConnectionRefusedError):
                server.request("GET", "/ping")
            replies = [each.result() for each in under_way]
        assert [reply.status for reply in replies] == [200] * 4
        assert {reply.headers["connection"] for reply in replies} == {"close"}
        assert server.end() == 0
        wait_gone(family)
        assert (server.errors, server.temporary) == ("", [])
        idle.close()
    finally:
        stop_server(server)


@pytest.mark.parametrize(("victim", "reason"), [("nursery", "The nursery"), ("gateway", "The gateway"), ("serve", "")])
def test_a_kill_of_any_part_leaves_nothing(tmp_path: Path, archives: list[Path], victim: str, reason: str) -> None:
    server = start_many(tmp_path, archives)
    try:
        load(server, "m0")
        serve = psutil.Process(server.process.pid)
        family = [serve, *serve.children(recursive=True)]
        next(each for each in family if runs(each, victim)).kill()
        status = server.end()
        wait_gone(family)
        if reason:
            assert (status, server.temporary) == (1, [])
            assert server.errors.splitlines()[-1].startswith(f"ERROR KennelError: {reason} was killed by SIGKILL.")
        else:
            assert status == -signal.SIGKILL
    finally:
        stop_server(server)
