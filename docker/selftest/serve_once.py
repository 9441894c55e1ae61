"""Run while the serving image is built: the `serve` on PATH, with no model, must say so and end with status 4.

By then it has found Java and multi-model-server and read its settings. Nothing of it stays in the image.
"""

import os
import subprocess
import sys
import tempfile

NO_MODEL = 4  # kennel.errors.ContractError


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            ["serve"], env={**os.environ, "SAGEMAKER_BASE_DIR": scratch}, capture_output=True, text=True, timeout=120
        )
    if done.returncode != NO_MODEL or "There is no model" not in done.stderr:
        sys.exit(f"selftest: serve without a model ended with {done.returncode}: {done.stderr}")
    import mms.model_service_worker

    import inference

    print(f"selftest: {inference.__file__} and {mms.model_service_worker.__name__} import")


if __name__ == "__main__":
    main()
