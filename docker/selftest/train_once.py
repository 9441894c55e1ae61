"""Run while the training image is built: a whole job, by the `train` on PATH, on a dozen drawn pictures.

So an image whose toolkit, network, hook or archive does not work is never tagged. Nothing of it stays in the image.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

SETTINGS = {"backbone": "resnet18", "weights": "none", "image-size": "32", "batch-size": "4", "epochs": "1"}


def draw(folder: Path) -> None:
    """Twelve pictures of two classes in three splits."""
    for split, count in {"train": 4, "valid": 1, "test": 1}.items():
        for name, colour in {"Red": (200, 20, 20), "Blue": (20, 20, 200)}.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                noise = Image.effect_noise((40, 40), 60).convert("RGB")
                picture = Image.blend(noise, Image.new("RGB", (40, 40), colour), 0.7)
                picture.save(folder / split / name / f"{name}_{number}.jpg")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        ml = Path(scratch, "ml")
        draw(ml / "input" / "data" / "data")
        config = ml / "input" / "config"
        config.mkdir()
        (config / "hyperparameters.json").write_text(json.dumps(SETTINGS))
        (config / "inputdataconfig.json").write_text(json.dumps({"data": {"TrainingInputMode": "File"}}))
        resources = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}
        (config / "resourceconfig.json").write_text(json.dumps(resources))
        subprocess.run(["train"], check=True, timeout=300, env={**os.environ, "SAGEMAKER_BASE_DIR": str(ml)})
        found = {path.name for path in (ml / "model").iterdir()}
        if not {"model.safetensors", "model.json"} <= found:
            sys.exit(f"selftest: the training left {sorted(found)} in model/")

    from smdebug.pytorch import Hook  # imported last: it changes torch's own loggers

    print(f"selftest: trained, and {Hook.__module__} imports")


if __name__ == "__main__":
    main()
