"""Other people's inference scripts behind the real `serve`, over a folder that stands for /opt/ml."""

import io
import json
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import psutil
import pytest
import torch

from served_archive import LABELS, make_archive, picture
from served_process import Reply, Server, start_server, stop_server, wait_gone

Starter = Callable[..., Server]

# Needs no torch; what a request asks for in its body, happens.
FOUR = """
import io, logging, os, sys, time
import numpy as np
from helper import shout                              # beside it
from sagemaker_inference.errors import BaseInferenceToolkitError, UnsupportedFormatError

logger = logging.getLogger(__name__)
logger.info("logged at import")
print("printed at import")

def model_fn(model_dir):
    with open(os.path.join(model_dir, "greeting.txt")) as file:
        assert file.read() == open("greeting.txt").read()   # the model's folder is the current one
    return "hello"

def input_fn(request_body, content_type):
    if content_type == "text/plain":
        return request_body.decode()
    if content_type == "application/json":
        return "json " + request_body
    raise UnsupportedFormatError(content_type)

def predict_fn(data, model, context):
    print("predicting", data, flush=True)
    logger.warning("logged %s", data)
    if data == "raise":
        raise ValueError("the data are bad")
    if data == "exit":
        sys.exit("enough")
    if data == "memory":
        raise MemoryError
    if data == "refuse":
        raise BaseInferenceToolkitError(422, "not these data", "no")
    if data == "slow":
        time.sleep(30)
    if data == "long":
        return "x" * 6_553_501
    if data == "teapot":
        context.set_response_status(code=418, phrase="teapot")
    if data == "attributes":
        context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "seen")
    return f"{model}, {shout(data)}"

def output_fn(prediction, accept="application/json"):
    if accept == "text/html":
        raise UnsupportedFormatError(accept)
    return prediction if accept == "application/json" else (prediction.encode(), "text/plain; by=script")
"""
HELPER = "def shout(text):\n    return text.upper()\n"
NETWORK = """
import torch.nn as nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)
"""
ONLY_MODEL = """
import os
import torch
from network import Net

def model_fn(model_dir):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Net()
    with open(os.path.join(model_dir, "model.pth"), "rb") as f:
        model.load_state_dict(torch.load(f, map_location=device))
    return model.to(device).eval()
"""
TRANSFORM = """
import json

def model_fn(model_dir, context):
    return context.system_properties["model_dir"]

def transform_fn(model, request_body, content_type, accept):
    return json.dumps([model, len(request_body), content_type]), accept
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts `serve` over an archive of the files that are named (`__` is a slash, `_py` a suffix); ends it all."""
    servers: list[Server] = []

    def starter(
        files: dict[str, str | bytes], *, fill: Callable[[Path], object] = lambda _: None, **environ: str
    ) -> Server:
        base = tmp_path_factory.mktemp("ml")
        for name, content in files.items():
            path = base / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else dedent(content).encode())
        fill(base / "model")
        servers.append(start_server(base, **({"SAGEMAKER_MODEL_SERVER_WORKERS": "1"} | environ)))
        return servers[-1]

    yield starter
    for server in servers:
        stop_server(server)


@pytest.fixture(scope="module")
def four(start: Starter) -> Server:
    files = {"greeting.txt": "hi", "code/inference.py": FOUR, "code/helper.py": HELPER}
    others = {
        "TS_MAX_RESPONSE_SIZE": "7",
        "MMS_NUMBER": "1",
        "KENNEL_STANDS_IN_FOR": "aws.com/pytorch-inference:1.8-py3",
    }
    return start(files, SAGEMAKER_MODEL_SERVER_TIMEOUT="2", **others).wait_until_ready()


@pytest.fixture(scope="module")
def network() -> torch.nn.Linear:
    torch.manual_seed(3)
    return torch.nn.Linear(3, 2)


@pytest.fixture(scope="module")
def only_model(start: Starter, network: torch.nn.Linear) -> Server:
    stream = io.BytesIO()
    torch.save({f"layer.{name}": value for name, value in network.state_dict().items()}, stream)
    files = {"model.pth": stream.getvalue(), "code/inference.py": ONLY_MODEL, "code/network.py": NETWORK}
    return start(files).wait_until_ready()


def ask(server: Server, text: str, **headers: str) -> Reply:
    return server.invoke(text.encode(), **({"content_type": "text/plain"} | headers))


def npy(array: object, **options: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)  # type: ignore[arg-type]  # anything
    return stream.getvalue()


def living_workers(server: Server) -> list[psutil.Process]:
    """Without those that have ended and whose parent has not looked yet."""
    return [each for each in server.family()[4:] if each.status() != psutil.STATUS_ZOMBIE]


def only_worker(server: Server) -> psutil.Process:
    """The worker, once another one that a test before this had hang was killed by its alarm."""
    deadline = time.monotonic() + 30
    while len(workers := living_workers(server)) != 1:
        assert time.monotonic() < deadline, workers
        time.sleep(0.1)
    return workers[0]


def reason_of(server: Server) -> tuple[int, str]:
    """How a server that cannot serve ended, and its last line."""
    return server.end(), server.errors.strip().splitlines()[-1]


# All four functions.


def test_the_scripts_functions_answer_one_after_the_other(four: Server) -> None:
    reply = ask(four, "you")
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"hello, YOU", "application/json")
    reply = ask(four, "you", accept="text/plain")
    assert (reply.body, reply.headers["content-type"]) == (b"hello, YOU", "text/plain; by=script")
    reply = ask(four, "text", content_type="application/json; charset=utf-8")
    assert reply.status == 415  # as on AWS a script sees the type as it was sent
    assert ask(four, "text", content_type="application/json").body == b"hello, JSON TEXT"


def test_nothing_answers_before_the_script_has_its_model(four: Server) -> None:
    assert four.before_ready == {"refused"}
    functions = "model_fn,input_fn,predict_fn,output_fn"
    assert f"script='inference.py' functions={functions} workers=1/1" in four.output
    assert four.output.startswith("Kennel's packages stand in for those of aws.com/pytorch-inference:1.8-py3: torch ")
    assert "Not used by this server: MMS_NUMBER, TS_MAX_RESPONSE_SIZE." in four.output


def test_what_a_script_prints_and_logs_is_in_the_log(four: Server) -> None:
    ask(four, "aloud")
    deadline = time.monotonic() + 20
    wanted = ["printed at import", "logged at import", "predicting aloud", "logged aloud"]
    while missing := [line for line in wanted if line not in four.errors.splitlines()]:
        assert time.monotonic() < deadline, f"{missing} not in {four.errors}"
        time.sleep(0.05)
    assert "METRICS" not in four.errors and "Connection accepted" not in four.errors


@pytest.mark.parametrize(
    ("asked", "status", "code", "message"),
    [
        ("raise", 500, "script_failed", "predict_fn of the script raised ValueError: the data are bad. "),
        ("exit", 500, "script_failed", "predict_fn of the script raised SystemExit: enough. "),
        ("memory", 507, "out_of_memory", "Memory does not suffice"),
        ("refuse", 422, "script_refused", "not these data"),
    ],
)
def test_a_function_that_raises_is_an_error_with_an_id_and_the_worker_lives(
    four: Server, asked: str, status: int, code: str, message: str
) -> None:
    worker = only_worker(four)
    reply = ask(four, asked)
    assert (reply.status, reply.json["error"]["code"]) == (status, code)
    assert reply.json["error"]["message"].startswith(message)
    assert b"Traceback" not in reply.body
    assert ask(four, "again").body == b"hello, AGAIN"
    assert living_workers(four) == [worker]
    if "id" in reply.json["error"]:
        assert f"ERROR {reply.json['error']['id']} predict_fn raised: Traceback" in four.errors


def test_types_that_a_script_does_not_support_are_415_and_406(four: Server) -> None:
    assert ask(four, "x", content_type="image/png").status == 415
    reply = ask(four, "x", accept="text/html")
    assert (reply.status, reply.json["error"]["code"]) == (406, "not_acceptable")
    assert "Content type text/html is not supported" in reply.json["error"]["message"]


def test_a_script_sets_status_and_headers_by_its_context(four: Server) -> None:
    assert ask(four, "teapot").status == 418
    assert ask(four, "attributes").headers["x-amzn-sagemaker-custom-attributes"] == "seen"
    assert ask(four, "plain").status == 200


def test_a_request_that_takes_too_long_costs_a_worker_and_not_the_server(four: Server) -> None:
    assert ask(four, "slow").status >= 500
    assert ask(four, "again").body == b"hello, AGAIN"


def test_an_answer_over_the_limit_is_an_error_and_the_worker_lives(four: Server) -> None:
    worker = only_worker(four)
    reply = ask(four, "long")
    assert (reply.status, reply.json["error"]["code"]) == (500, "answer_too_large")
    assert (
        "has 6553501 bytes, over the limit of 6553500 (SAGEMAKER_MAX_PAYLOAD_IN_MB)" in reply.json["error"]["message"]
    )
    assert ask(four, "again").body == b"hello, AGAIN"
    assert living_workers(four) == [worker]


def test_the_servers_own_question_is_no_business_of_the_script(four: Server) -> None:
    reply = four.invoke(picture(), content_type="image/png", x_kennel_canary="1")
    assert (reply.status, reply.json) == (200, {"status": "alive"})


def test_the_archive_is_left_as_it_was(four: Server) -> None:
    found = sorted(path.relative_to(four.base).as_posix() for path in (four.base / "model").rglob("*"))
    assert found == ["model/code", "model/code/helper.py", "model/code/inference.py", "model/greeting.txt"]


# Only model_fn: the rest is what AWS's containers for PyTorch do.


@pytest.mark.parametrize("accept", ["application/json", "text/csv", "application/x-npy", "*/*"])
@pytest.mark.parametrize("kind", ["application/json", "text/csv", "application/x-npy"])
def test_numbers_come_and_go_as_json_csv_and_npy(
    only_model: Server, network: torch.nn.Linear, kind: str, accept: str
) -> None:
    rows = [[1.0, 2.0, -0.5], [0.25, 0.0, 4.0]]
    bodies = {
        "application/json": json.dumps(rows).encode(),
        "text/csv": "\n".join(",".join(map(str, row)) for row in rows).encode(),
        "application/x-npy": npy(np.array(rows, dtype=np.float32)),
    }
    reply = only_model.invoke(bodies[kind], content_type=kind, accept=accept)
    given = "application/json" if accept == "*/*" else accept
    assert (reply.status, reply.headers["content-type"]) == (200, given), reply.body
    if given == "application/x-npy":
        answer = np.load(io.BytesIO(reply.body))
    elif given == "text/csv":
        answer = np.genfromtxt(io.StringIO(reply.body.decode()), delimiter=",")
    else:
        answer = np.array(reply.json)
    with torch.no_grad():
        assert answer == pytest.approx(network(torch.tensor(rows)).numpy(), abs=1e-6)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("/tmp/never"),))


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[[1, 2], [3]]", "application/json", 400),
        (b"\xff", "text/csv", 400),
        (b"hello", "application/x-npy", 400),
        (npy(np.array([Evil()]), allow_pickle=True), "application/x-npy", 400),
        (b"hello", "image/jpeg", 415),
        (b"", "", 415),
    ],
)
def test_what_cannot_be_read_is_4xx(only_model: Server, body: bytes, kind: str, status: int) -> None:
    reply = only_model.invoke(body, **({"content_type": kind} if kind else {}))
    assert reply.status == status, reply.body
    assert "error" in reply.json
    assert only_model.invoke(b"[[1, 2, 3]]", content_type="application/json", accept="text/html").status == 406


def test_a_network_that_does_not_fit_the_data_is_the_scripts_fault(only_model: Server) -> None:
    reply = only_model.invoke(b"[[1, 2, 3, 4]]", content_type="application/json")
    assert (reply.status, reply.json["error"]["code"]) == (500, "script_failed")
    assert "predict_fn of the script raised RuntimeError: " in reply.json["error"]["message"]


# transform_fn, another file's name, a Kennel model with a script, a network alone.


def test_transform_fn_answers_alone_from_the_program_that_is_named(start: Starter) -> None:
    server = start({"code/serve.py": TRANSFORM}, SAGEMAKER_PROGRAM="serve.py").wait_until_ready()
    reply = server.invoke(b"abc", content_type="image/x", accept="application/json")
    assert reply.json == [str(server.base / "model"), 3, "image/x"]


@pytest.mark.filterwarnings("ignore:.torch.jit")  # what it saves is what AWS's default serves
def test_a_network_in_torchscript_needs_no_script(start: Starter, network: torch.nn.Linear) -> None:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3)), stream)
    server = start({"model.pt": stream.getvalue()}).wait_until_ready()
    assert "script='none' functions=none" in server.output
    reply = server.invoke(b"[[1, 2, 3]]", content_type="application/json")
    with torch.no_grad():
        assert reply.json == pytest.approx(network(torch.tensor([[1.0, 2.0, 3.0]])).numpy(), abs=1e-6)


PICKLED = """
import torch

def model_fn(model_dir):
    return torch.load(model_dir + "/model.pth")
"""


@pytest.mark.parametrize(("tag", "is_read"), [("1.12-cpu-py38", True), ("2.6.0-cpu-py312", False)])
def test_a_pickled_network_is_read_where_the_image_would_have_read_it(
    start: Starter, network: torch.nn.Linear, tag: str, is_read: bool
) -> None:
    stream = io.BytesIO()
    torch.save(network, stream)
    files = {"model.pth": stream.getvalue(), "code/inference.py": PICKLED}
    server = start(files, KENNEL_STANDS_IN_FOR=f"763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:{tag}")
    if is_read:
        assert server.wait_until_ready().invoke(b"[[1, 2, 3]]", content_type="application/json").status == 200
        return
    status, line = reason_of(server)
    assert (status, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 in the model's environment" in line) == (4, True)


def test_a_model_fn_that_computed_with_threads_does_not_hang_its_workers(start: Starter) -> None:
    """Forks have none of the threads that torch made for it, and would wait for them."""
    code = """
        import threading, time
        import torch

        torch.set_num_threads(2)

        def model_fn(model_dir):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            return torch.ones(4_000_000).exp()

        def input_fn(body, content_type):
            return 1

        def predict_fn(data, model):
            return float(model.exp().mean())
    """
    server = start({"code/inference.py": code}, SAGEMAKER_MODEL_SERVER_TIMEOUT="20").wait_until_ready()
    assert server.invoke(b"x").json == pytest.approx(15.154, abs=0.01)
    assert "WARNING: model_fn left 1 thread(s) running." in server.errors


def test_a_script_beside_a_kennel_model_may_define_what_it_wants(start: Starter) -> None:
    code = """
        from kennel.serving import functions

        def output_fn(answer, accept):
            body, kind = functions.output_fn(answer, accept)
            assert kind == "application/json"
            return answer.predictions[0].label, "text/plain"
    """
    server = start({"code/inference.py": code}, fill=make_archive).wait_until_ready()
    reply = server.invoke(picture(), content_type="image/png")
    assert (reply.status, reply.body.decode() in LABELS) == (200, True)
    assert server.invoke(b"no picture", content_type="image/png").json["error"]["code"] == "not_an_image"


def test_many_models_may_have_a_script_each(start: Starter) -> None:
    code = """
        def model_fn(model_dir):
            return {name!r}

        def transform_fn(model, body, content_type, accept, context):
            print("asked", model)
            return model + " " + body.decode()
    """
    server = start({}, fill=lambda folder: folder.mkdir(), SAGEMAKER_MULTI_MODEL="true")
    for name in ("a", "b"):
        folder = server.base / "models" / name / "model"
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "inference.py").write_text(dedent(code.format(name=name)))
    server.wait_until_ready()
    for name in ("a", "b"):
        order = json.dumps(
            {"model_name": name, "url": f"/opt/ml/models/{name}/model".replace("/opt/ml", str(server.base))}
        )
        reply = server.request("POST", "/models", order.encode())
        assert reply.status == 200, reply.body
    for name in ("b", "a"):
        assert server.request("POST", f"/models/{name}/invoke", b"x").body == f"{name} x".encode()
    assert "asked a" in server.errors


def can_mount() -> bool:
    """Whether a process may have mounts of its own here: root may, but not in every container."""
    try:
        return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="no mounts of its own for a process of this user")
def test_a_script_may_write_opt_ml_out_in_full(start: Starter) -> None:
    code = """
        LABELS = open("/opt/ml/model/code/labels.txt").read().split()

        def model_fn(model_dir):
            return LABELS

        def transform_fn(model, body, content_type, accept):
            return open("/opt/ml/model/code/labels.txt").read().split() + model
    """
    server = start({"code/inference.py": code, "code/labels.txt": "cat dog"}).wait_until_ready()
    assert server.invoke(b"x").json == ["cat", "dog", "cat", "dog"]
    assert not Path("/opt/ml/model/code/labels.txt").exists()
    family = server.family()
    server.process.kill()
    wait_gone(family)


def test_without_torch_a_script_that_needs_none_is_served_and_another_refused(start: Starter, tmp_path: Path) -> None:
    """As in the image that scripts/build.sh --cpu makes."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = sys.modules['torchvision'] = None\n")
    blocked = {"PYTHONPATH": str(tmp_path)}
    server = start({"code/serve.py": TRANSFORM}, SAGEMAKER_PROGRAM="serve.py", **blocked).wait_until_ready()
    assert server.invoke(b"abc", content_type="image/x").json[1] == 3
    status, line = reason_of(start({"code/inference.py": "def model_fn(model_dir):\n    return 1\n"}, **blocked))
    assert (status, "defines no input_fn and no predict_fn, and what stands in for that needs torch" in line) == (
        4,
        True,
    )
    status, line = reason_of(start({"code/inference.py": "import torch\n"}, **blocked))
    assert (status, "torch is not installed here: use the image that has torch" in line) == (4, True)


def test_requirements_are_installed_for_one_server_alone_where_that_is_asked_for(start: Starter) -> None:
    code = """
        import tiny_package

        def model_fn(model_dir):
            return tiny_package.__file__

        def transform_fn(model, body, content_type, accept):
            return model + " " * int(body)
    """
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("tiny_package/__init__.py", "")
        info = "tiny_package-1.0.dist-info"
        packed.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n")
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", "")
    files: dict[str, str | bytes] = {
        "code/inference.py": code,
        "code/requirements.txt": "--no-index\n--find-links .\ntiny-package==1.0\nnumpy\n",
        "code/tiny_package-1.0-py3-none-any.whl": wheel.getvalue(),
    }
    server = start(files, KENNEL_REQUIREMENTS="install", SAGEMAKER_MAX_PAYLOAD_IN_MB="20").wait_until_ready()
    reply = server.invoke(b"10000000", content_type="text/csv")  # a batch transform's answers may be long
    assert (reply.status, len(reply.body) > 10_000_000) == (200, True)
    assert Path(reply.body.decode().strip()).is_relative_to(server.base / "tmp")
    assert "requirements.txt: installed for this job alone" in server.errors


# What cannot be served.


@pytest.mark.parametrize(
    ("files", "environ", "status", "reason"),
    [
        (
            {"code/inference.py": "def model_fn(model_dir)\n    return 1\n"},
            {},
            4,
            "ERROR ScriptError: inference.py cannot be imported: SyntaxError: expected ':' (inference.py:1). "
            "Its traceback is above.",
        ),
        (
            {"code/inference.py": "\ndef model_fn(model_dir):\n    return open(model_dir + '/net.pth')\n"},
            {},
            4,
            "ERROR ScriptError: inference.py: model_fn raised FileNotFoundError: [Errno 2] No such file or directory: ",
        ),
        (
            {"code/inference.py": "import sys\nsys.exit(3)\n"},
            {},
            4,
            "ERROR ScriptError: inference.py cannot be imported: SystemExit: 3 (inference.py:2). ",
        ),
        (
            {"code/inference.py": "import no_such_package\n"},
            {},
            4,
            "ERROR ScriptError: inference.py cannot be imported: ModuleNotFoundError: No module named "
            "'no_such_package' (inference.py:1). Put no_such_package into the archive's code/, or name it in "
            "code/requirements.txt.",
        ),
        (
            {"code/inference.py": "", "code/requirements.txt": "no-such-package==1\n"},
            {},
            2,
            "ERROR RequirementsError: requirements.txt asks for what is not installed: no-such-package==1. "
            "Set KENNEL_REQUIREMENTS=install",
        ),
        (
            {"code/serve.py": TRANSFORM},
            {"SAGEMAKER_PROGRAM": "inference.py"},
            2,
            "ERROR UserError: SAGEMAKER_PROGRAM is 'inference.py', and ",
        ),
        ({"weights.bin": b"1"}, {}, 4, "ERROR ArchiveError: "),
        (
            {"model.pth": b"state"},
            {},
            4,
            "ERROR ArchiveError: model.pth is not TorchScript (",
        ),
    ],
    ids=["syntax", "model_fn", "exit", "import", "requirements", "program", "nothing", "state"],
)
def test_a_script_that_cannot_be_served_ends_the_server_with_the_reason(
    start: Starter, files: dict[str, str | bytes], environ: dict[str, str], status: int, reason: str
) -> None:
    server = start(files, **environ)
    ended, line = reason_of(server)
    assert line.startswith(reason), server.errors
    assert ended == status
    assert server.temporary == []


def test_a_stopped_server_leaves_nothing_of_its_script(start: Starter) -> None:
    server = start({"code/inference.py": TRANSFORM}).wait_until_ready()
    family = server.family()
    server.process.terminate()
    assert server.end() == 0
    wait_gone(family)
    assert server.temporary == []
