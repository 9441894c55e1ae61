"""The /opt/ml contract: where SageMaker puts a job's input and looks for its output.

`SAGEMAKER_BASE_DIR` moves the whole folder, which is how a job runs as a plain process.
Nothing is created or read at import.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MlPaths:
    """The folders and files of one job, under `base` (SageMaker's /opt/ml)."""

    base: Path

    @property
    def input_config_dir(self) -> Path:
        return self.base / "input" / "config"

    @property
    def input_data_dir(self) -> Path:
        return self.base / "input" / "data"

    @property
    def code_dir(self) -> Path:
        return self.base / "code"

    @property
    def model_dir(self) -> Path:
        return self.base / "model"

    @property
    def output_dir(self) -> Path:
        return self.base / "output"

    @property
    def output_data_dir(self) -> Path:
        """Becomes output.tar.gz."""
        return self.output_dir / "data"

    @property
    def failure_file(self) -> Path:
        """Its first 1,024 characters become the job's FailureReason."""
        return self.output_dir / "failure"

    @property
    def checkpoints_dir(self) -> Path:
        return self.base / "checkpoints"

    def channels(self) -> dict[str, Path]:
        """The input channels by name, as inputdataconfig.json lists them, or else the folders that are there.

        SageMaker puts `<channel>-manifest` files beside the folders; they are no channels.
        """
        config = self.input_config_dir / "inputdataconfig.json"
        names = sorted(json.loads(config.read_text()) or {}) if config.exists() else []
        if not names and self.input_data_dir.is_dir():
            names = sorted(entry.name for entry in self.input_data_dir.iterdir() if entry.is_dir())
        return {name: self.input_data_dir / name for name in names}


def ml_paths(environ: Mapping[str, str] = os.environ) -> MlPaths:
    """Where this process's job lives: SAGEMAKER_BASE_DIR, or /opt/ml."""
    return MlPaths(Path(environ.get("SAGEMAKER_BASE_DIR") or "/opt/ml"))
