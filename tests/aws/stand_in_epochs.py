"""Stands in for Kennel's `train` where only its lines matter: a validation loss that is least at lr=0.01.

epochs: how many lines. An lr above 0.5 fails. Waits a moment an epoch where the environment's PATIENT_EPOCH_S says so.
"""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
ORDERS = {
    name: text.strip('"') for name, text in json.loads((BASE / "input/config/hyperparameters.json").read_text()).items()
}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    lr, epochs = float(ORDERS["lr"]), int(ORDERS["epochs"])
    if lr > 0.5:
        (BASE / "output" / "failure").write_text(f"lr {lr:g}: the loss\nis nan")
        sys.exit(1)
    for epoch in range(1, epochs + 1):
        loss = 0.5 + (math.log10(lr) + 2) ** 2 + 1 / (epoch + 1)
        print(f"epoch={epoch}/{epochs} train_loss=1 valid_loss={loss:.6g} valid_accuracy=0.5", flush=True)
        time.sleep(float(os.environ.get("PATIENT_EPOCH_S", "0")))
    (BASE / "model" / "model.txt").write_text("trained")


main()
