"""Where a training was when it was stopped, as files that it goes on from.

    checkpoints/epoch-0003-step-000012-5f0c1a2b9d3e4f60.safetensors     two epochs done and 12 steps of the third

One file a checkpoint: tensors, and JSON in the header for everything else; no pickle. The last part of the name is the
beginning of the content's SHA-256, so a damaged file is seen, and the one before it, which is kept too, is used:
every random number is a function of seed, epoch and step, so going on from there ends with the same weights.

Of several hosts only the first writes: SageMaker keeps the folders of all of them in one place in S3. At a restart it
sends what it reads to the others.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from kennel.errors import ContractError
from kennel.training.distributed import ALONE, World
from kennel.training.writing import write_whole

_FORMAT: Final = 1
_NAME: Final = re.compile(r"epoch-(\d{4,})-step-(\d{6,})-([0-9a-f]{16})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """epoch, step: how far, as the name says. state: JSON values. tensors: by name, on the CPU."""

    epoch: int
    step: int
    state: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class CheckpointStore:
    """The checkpoints of one training in one folder.

    settings: everything that a continued training must agree on; plain values, such as the hyperparameters and digests.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = dict(settings)

    def save(self, checkpoint: Checkpoint, *, kept: int = 2) -> Path:
        """Writes it and deletes all but the last `kept`. Raises DiskFullError; the earlier ones then stay."""
        header = {"format": _FORMAT, "settings": self.settings, "state": checkpoint.state}
        tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
        content = save(tensors, metadata={"kennel": json.dumps(header)})
        digest = hashlib.sha256(content).hexdigest()[:16]
        path = self.folder / f"epoch-{checkpoint.epoch:04}-step-{checkpoint.step:06}-{digest}.safetensors"
        write_whole(path, content)
        for old in self._paths()[kept:]:
            old.unlink(missing_ok=True)
        return path

    def load(self, world: World = ALONE) -> Checkpoint | None:
        """The last whole checkpoint; None if there is none at all. Where several train together, the leader's.

        Raises ContractError if it is of a training with other settings (naming them), of a newer format, or if there
        are checkpoints and every one of them is damaged.
        """
        path, content = self._last() if world.is_leader else (None, b"")
        name = world.from_leader(path.name.encode() if path else b"").decode()
        return self._read(self.folder / name, world.from_leader(content)) if name else None

    def _last(self) -> tuple[Path | None, bytes]:
        damaged = []
        for path in self._paths():
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest()[:16] == _parse(path)[2]:
                return path, content
            damaged.append(path.name)
            print(f"warning: checkpoint {path} is damaged; going back to the one before it", flush=True)
        if damaged:
            raise ContractError(
                f"No checkpoint in {self.folder} is whole (damaged: {', '.join(damaged)}). "
                f"Empty the folder to train from the beginning."
            )
        return None, b""

    def _read(self, path: Path, content: bytes) -> Checkpoint:
        try:
            tensors = load(content)
            length = int.from_bytes(content[:8], "little")
            header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["kennel"])
        except (SafetensorError, ValueError, KeyError) as error:
            raise ContractError(f"{path} is no checkpoint of Kennel's ({error}). Empty the folder.") from error
        if header["format"] != _FORMAT:
            raise ContractError(
                f"{path} is of format {header['format']}; this program reads {_FORMAT}. "
                f"Go on with the version that wrote it, or empty the folder to train from the beginning."
            )
        self._check_settings(path, header["settings"])
        epoch, step, _ = _parse(path)
        return Checkpoint(epoch, step, header["state"], tensors)

    def _check_settings(self, path: Path, found: Mapping[str, Any]) -> None:
        ours = json.loads(json.dumps(self.settings))
        differing = [name for name in {**ours, **found} if ours.get(name) != found.get(name)]
        if differing:
            pairs = "; ".join(f"{name} was {found.get(name)} and is {ours.get(name)}" for name in differing)
            raise ContractError(
                f"{path} is of another training ({pairs}). Train with the settings it was made with, "
                f"or empty {self.folder} to train from the beginning."
            )

    def _paths(self) -> list[Path]:
        """The latest first."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted((path for path in found if _NAME.fullmatch(path.name)), key=_order, reverse=True)


def _parse(path: Path) -> tuple[int, int, str]:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ContractError(f"{path} has no checkpoint's name.")
    return int(match[1]), int(match[2]), match[3]


def _order(path: Path) -> tuple[int, int, int]:
    epoch, step, _ = _parse(path)
    return epoch, step, path.stat().st_mtime_ns
