"""Stands in for `train` in tests of the local SageMaker: reads its orders from the hyperparameters, needs no torch.

steps, step-s: how many metric lines, and how far apart. fail: the failure file's text. exit: the exit status.
on-sigterm: save (default) | ignore. family: start processes that try to escape. size: bytes of the model.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

BASE = Path(os.environ["SAGEMAKER_BASE_DIR"])
ORDERS = json.loads((BASE / "input/config/hyperparameters.json").read_text())
CHECKPOINT = BASE / "checkpoints" / "step.txt"


def save_model(text: str) -> None:
    (BASE / "model" / "model.txt").write_text(text)
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


def start_family() -> None:
    subprocess.Popen(["sleep", "300"])
    subprocess.Popen(["sh", "-c", "setsid sleep 300 & exit"])
    subprocess.Popen(["env", "-i", "/bin/sh", "-c", "setsid sleep 300 & exec sleep 300"])


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN if ORDERS.get("on-sigterm") == "ignore" else stop)
    if "family" in ORDERS:
        start_family()
    first = int(CHECKPOINT.read_text()) + 1 if CHECKPOINT.exists() else 0
    for step in range(first, int(ORDERS.get("steps", 3))):
        print(f"step={step} loss={1 / (step + 1):.4f}", flush=True)
        save_checkpoint(step)
        time.sleep(float(ORDERS.get("step-s", 0)))
    if "fail" in ORDERS:
        (BASE / "output" / "failure").write_text(ORDERS["fail"])
        sys.exit(int(ORDERS.get("exit", 1)))
    if int(ORDERS.get("exit", 0)):
        sys.exit(int(ORDERS["exit"]))
    save_model("trained model")


main()
