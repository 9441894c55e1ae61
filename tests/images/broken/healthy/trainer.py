"""A tiny trainer: learns one number, the mean size of the files in its channels, and takes its time over it.

Every step that SageMaker's contract speaks of is a function of its own, so that a broken image replaces just one.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

ML = Path("/opt/ml")
EPOCH_S = 0.1
PORT = 7777
MESSAGE_BYTES = 20_000  # as much as a small network's gradients
stop_asked = False


def main() -> None:
    """The whole training; ends with status 1 and a failure file if anything goes wrong."""
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        train()
    except Exception as error:
        fail(error)


def train() -> None:
    settings = read_settings()
    hosts, host = read_hosts()
    sizes = read_sizes()
    target = mean_over_hosts(sizes, hosts, host)
    state = read_checkpoint() or {"epoch": 0, "guess": 0.0}
    epochs = int(settings["epochs"])
    for epoch in range(state["epoch"] + 1, epochs + 1):
        state = {"epoch": epoch, "guess": state["guess"] + float(settings["learning-rate"]) * (target - state["guess"])}
        time.sleep(EPOCH_S)
        write_checkpoint(state)
        if host == hosts[0]:
            print(f"epoch={epoch}/{epochs} train_loss={abs(target - state['guess']):.4f}", flush=True)
        if stop_asked:
            print("told to stop", flush=True)
            break
    save_model(state)


def on_sigterm(_signum: int, _frame: FrameType | None) -> None:
    global stop_asked
    stop_asked = True


def fail(error: Exception) -> None:
    (ML / "output" / "failure").write_text(f"{type(error).__name__}: {error}"[:1024])
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(1)


def read_config(name: str) -> Any:  # noqa: ANN401
    return json.loads((ML / "input" / "config" / f"{name}.json").read_text())


def read_settings() -> dict[str, Any]:
    return {name: read_value(value) for name, value in read_config("hyperparameters").items()}


def read_value(text: str) -> Any:  # noqa: ANN401
    """The value, however often it was quoted."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return read_value(value) if isinstance(value, str) else value


def read_hosts() -> tuple[list[str], str]:
    resources = read_config("resourceconfig")
    return sorted(resources["hosts"]), resources["current_host"]


def read_sizes() -> list[int]:
    """Sizes of the files that begin as pictures do."""
    folders = [ML / "input" / "data" / name for name in read_config("inputdataconfig")]
    files = [path for folder in folders for path in sorted(folder.rglob("*.jpg"))]
    sizes = [path.stat().st_size for path in files if path.read_bytes()[:2] == b"\xff\xd8"]
    if not sizes:
        raise ValueError(f"no pictures in {', '.join(map(str, folders))}")
    return sizes


def mean_over_hosts(sizes: list[int], hosts: list[str], host: str) -> float:
    """The mean of all sizes, each host adding up its share."""
    rank = hosts.index(host)
    mine = sum(sizes[rank :: len(hosts)])
    if len(hosts) == 1:
        return mine / len(sizes)
    if rank > 0:
        send(hosts[0], mine)
        return sum(sizes) / len(sizes)
    return (mine + receive(len(hosts) - 1)) / len(sizes)


def send(host: str, number: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection((host, PORT), timeout=2) as connection:
                connection.sendall(str(number).encode().rjust(MESSAGE_BYTES))
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def receive(count: int) -> int:
    total = 0
    with socket.create_server(("", PORT)) as server:
        server.settimeout(20)
        for _ in range(count):
            connection, _ = server.accept()
            with connection:
                total += int(connection.recv(MESSAGE_BYTES, socket.MSG_WAITALL))
    return total


def read_checkpoint() -> dict[str, Any] | None:
    path = ML / "checkpoints" / "state.json"
    return json.loads(path.read_text()) if path.exists() else None


def write_checkpoint(state: Mapping[str, Any]) -> None:
    draft = ML / "checkpoints" / "state.json.tmp"
    draft.write_text(json.dumps(state))
    os.replace(draft, ML / "checkpoints" / "state.json")


def save_model(state: Mapping[str, Any]) -> None:
    (ML / "model" / "model.json").write_text(json.dumps(state))
