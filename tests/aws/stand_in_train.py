"""Stands in for `train` in tests of the local SageMaker: reads its orders from the hyperparameters, needs no torch.

steps, step-s: how many metric lines, and how far apart. fail: the failure file's text. exit: the exit status.
fail-host: only this one fails, and at once.
on-sigterm: save (default) | ignore. family: start processes that try to escape. size: bytes of the model.
objective: print a made-up objective that falls from step to step, and is lowest for lr 0.01 and batch 32.
fail-above: fail if lr is.
look: print as JSON what the program sees. root: do what only root may.
"""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
CONFIG = BASE / "input/config"
ORDERS = json.loads((CONFIG / "hyperparameters.json").read_text())
SAVED = CONFIG / "checkpointconfig.json"
CHECKPOINT = Path(json.loads(SAVED.read_text())["LocalPath"] if SAVED.exists() else BASE / "checkpoints") / "step.txt"


def save_model(text: str) -> None:
    (BASE / "model" / "model.txt").write_text(text)
    if "look" in ORDERS:
        (BASE / "model" / f"{socket.gethostname()}.txt").touch()
    if "size" in ORDERS:
        (BASE / "model" / "weights.bin").write_bytes(os.urandom(int(ORDERS["size"])))
    (BASE / "output/data/history.json").write_text("{}")


def save_checkpoint(step: int) -> None:
    CHECKPOINT.parent.mkdir(exist_ok=True)
    part = CHECKPOINT.with_suffix(".part")
    part.write_text(str(step))
    part.replace(CHECKPOINT)


def stop(number: int, frame: object) -> None:
    print("SIGTERM: saving", flush=True)
    save_model("stopped model")
    sys.exit(143)


def look() -> dict[str, object]:
    """What can be known of where this runs."""
    resources = json.loads((CONFIG / "resourceconfig.json").read_text())
    return {
        "argv": sys.argv,
        "user": [os.getuid(), os.getgid()],
        "environment": dict(os.environ),
        "resources": resources,
        "hostname": socket.gethostname(),
        "addresses": {host: address_of(host) for host in resources["hosts"]},
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
        "channels": {
            str(path.relative_to(BASE / "input/data")): path.read_text()
            for path in sorted((BASE / "input/data").rglob("*"))
            if path.is_file()
        },
        "read_only": not os.access(BASE / "input", os.W_OK) or is_read_only(BASE / "input"),
        "channels_read_only": [is_read_only(path) for path in sorted((BASE / "input/data").iterdir())],
        "shm_bytes": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
    }


def address_of(host: str) -> str:
    """Hosts start one after the other, here as on AWS: a name may not be known yet.

    On a network of its own each question for a name that is not there takes 10 s.
    """
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            return socket.gethostbyname(host)
        except OSError:
            time.sleep(0.05)
    return "none"


def is_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def be_root() -> None:
    Path("/root/mine").write_text("x")
    secret = BASE / "output/data/secret"
    secret.mkdir(mode=0o700)
    (secret / "kept.txt").write_text("kept")
    (secret / "kept.txt").chmod(0o600)


def plain(name: str, default: str) -> float:
    """A hyperparameter as a number, in whichever quoting."""
    return float(ORDERS.get(name, default).strip('"'))


def objective(step: int) -> float:
    valley = (math.log10(plain("lr", "0.01")) + 2) ** 2 + abs(math.log2(plain("batch", "32")) - 5) / 10
    return valley + 1 / (step + 1)


def start_family() -> None:
    subprocess.Popen(["sleep", "300"])
    subprocess.Popen(["sh", "-c", "setsid sleep 300 & exit"])
    subprocess.Popen(["env", "-i", "/bin/sh", "-c", "setsid sleep 300 & exec sleep 300"])


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN if ORDERS.get("on-sigterm") == "ignore" else stop)
    if "family" in ORDERS:
        start_family()
    if "look" in ORDERS:
        print(f"seen={json.dumps(look())}", flush=True)
    if "root" in ORDERS:
        be_root()
    if "fail-above" in ORDERS and plain("lr", "0") > plain("fail-above", "0"):
        (BASE / "output" / "failure").write_text(f"lr {ORDERS['lr']} is too high")
        sys.exit(1)
    first = int(CHECKPOINT.read_text()) + 1 if CHECKPOINT.exists() else 0
    if ORDERS.get("fail-host") == socket.gethostname():
        time.sleep(1)  # until the others have begun
        (BASE / "output" / "failure").write_text(ORDERS["fail"])
        sys.exit(int(ORDERS["exit"]))
    for step in range(first, int(ORDERS.get("steps", "3").strip('"'))):
        found = f" objective={objective(step):.6f}" if "objective" in ORDERS else ""
        print(f"step={step} loss={1 / (step + 1):.4f}{found}", flush=True)
        save_checkpoint(step)
        time.sleep(float(ORDERS.get("step-s", 0)))
    if "fail" in ORDERS and "fail-host" not in ORDERS:
        (BASE / "output" / "failure").write_text(ORDERS["fail"])
        sys.exit(int(ORDERS.get("exit", 1)))
    if int(ORDERS.get("exit", 0)):
        sys.exit(int(ORDERS["exit"]))
    save_model("trained model")


main()
