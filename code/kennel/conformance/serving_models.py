"""Copies of the model that was given: to write into, spoiled, and as a multi-model endpoint has them."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from kennel.conformance.checks import Subject
from kennel.conformance.containers import Mount
from kennel.conformance.serving_server import Setup

_MAX_GARBAGE_BYTES: Final = 65_536


def model_copy(subject: Subject, name: str) -> Path:
    """A copy that every user may write into."""
    target = subject.folder / f"model-{name}"
    shutil.copytree(subject.model_folder, target, dirs_exist_ok=True)
    target.chmod(0o777)  # noqa: S103  for the container's user, whoever that is; the folder above is ours
    for path in target.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return target


def spoiled_models(subject: Subject) -> Mapping[str, Path]:
    """An archive of files with the right names and random bytes, and one without files."""
    garbage = model_copy(subject, "garbage")
    files = [path for path in garbage.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in [each for each in files if each.suffix != ".py"] or files:  # code of the archive still runs
        path.write_bytes(os.urandom(min(path.stat().st_size, _MAX_GARBAGE_BYTES) or 100))
    empty = subject.folder / "model-empty"
    empty.mkdir(exist_ok=True)
    empty.chmod(0o755)
    return {"garbage": garbage, "empty": empty}


def multi_model_setup(subject: Subject, setup: Setup) -> tuple[Setup, str, str | None]:
    """The setup with models where SageMaker puts them; the good one's folder; a spoiled one's, if there can be one."""
    good = _folder_of("good")
    mounts = [Mount(subject.model_folder, good, is_read_only=True)]
    bad = None
    if any(subject.model_folder.iterdir()):
        bad = _folder_of("bad")
        mounts.append(Mount(spoiled_models(subject)["garbage"], bad, is_read_only=True))
    environment = {**setup.environment, "SAGEMAKER_MULTI_MODEL": "true"}
    return replace(setup, model=None, mounts=tuple(mounts), environment=environment), good, bad


def _folder_of(name: str) -> str:
    """SageMaker names the folder by a hash of the model's address."""
    return f"/opt/ml/models/{hashlib.sha256(name.encode()).hexdigest()[:32]}/model"
