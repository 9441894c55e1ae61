"""Features that several trainings compute once: files in a folder that they share, as the trials of a tuning job do.

    shared = shared_features(os.environ, {"data": digest, "weights": digest, ...}, world)
    rows = shared.rows(Part("valid", {...}, shape=(200, 2048)), compute, device=device, stop=stop)

    KENNEL_SHARED_DIR/valid-5f0c1a2b9d3e4f60a1b2c3d4.safetensors     named after all that changes what is in it
    KENNEL_SHARED_DIR/valid-5f0c1a2b9d3e4f60a1b2c3d4.lock            held by who computes it, and freed by the kernel

A training computes what it does not find, and leaves it there for the others; one that comes while another computes
waits for it. Files are written beside and renamed; one that is cut, changed or of another shape is made again. A folder
that is missing, full or read-only is said, and no reason to fail: features are then computed as ever.

Of processes that train together the leader reads, writes and waits; the others get what it has.
Exercise it: pytest tests/unit/training/test_shared_features.py
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kennel.training.distributed import ALONE, World
from kennel.training.stopping import StopRequest

# kennel.local.machine sets it; the same name there.
SHARED_DIR: Final = "KENNEL_SHARED_DIR"
_FORMAT: Final = 1
_POLL_S: Final = 0.1
_FOUND, _OURS, _BUSY, _OFF = b"found", b"ours", b"busy", b"off"


@dataclass(frozen=True)
class Part:
    """Some of the features. name: "train-view1", "valid", "test". facts: what they depend on beyond the training's own
    facts. shape: (pictures, dimensions)."""

    name: str
    facts: Mapping[str, Any]
    shape: tuple[int, int]


@dataclass
class SharedFeatures:
    """A folder of features. facts: what all features of this training depend on. folder: None where nothing is shared.

    seen: what became of each part since `outcome` was asked for.
    """

    folder: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    world: World = ALONE
    seen: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """Of the parts since the last call: `read` if all were, `off` if one is not shared, else `written`."""
        seen, self.seen = set(self.seen), []
        return next((each for each in ("off", "written", "read") if each in seen), "off")

    def rows(
        self, part: Part, compute: Callable[[], Tensor], *, device: torch.device | str, stop: StopRequest
    ) -> Tensor:
        """The features of `part`, float32, on `device`: from the folder, or computed and left there.

        Raises Stopped if a signal came while another training was waited for, and what `compute` raises.
        """
        if self.folder is None:
            return compute()
        with contextlib.ExitStack() as locks:
            state, found = self._settle(part, locks, stop)
            if state == _FOUND:
                rows = found if found is not None else torch.empty(part.shape)
                rows = rows.to(device)
                self.world.align([rows])
                self.seen.append("read")
                return rows
            rows = compute()
            is_written = state == _OURS and self.world.is_leader and self._write(part, rows)
            self.seen.append("written" if is_written else "off")
            return rows

    def _settle(self, part: Part, locks: contextlib.ExitStack, stop: StopRequest) -> tuple[bytes, Tensor | None]:
        """What is to be done, the same at every rank; waits as long as another training computes this part."""
        is_told = False
        while True:
            state, found = self._look(part, locks) if self.world.is_leader else (b"", None)
            state = self.world.from_leader(state)
            if state != _BUSY:
                return state, found
            if not is_told:
                print(f"waiting for features of {part.name}, which another training computes", flush=True)
                is_told = True
            self.world.check(stop)
            time.sleep(_POLL_S)

    def _look(self, part: Part, locks: contextlib.ExitStack) -> tuple[bytes, Tensor | None]:
        """One look at the folder: the features, or the right to compute them (until `locks` is closed), or neither."""
        path = self._path(part)
        try:
            if (found := self._read(path, part)) is not None:
                return _FOUND, found
            path.parent.mkdir(exist_ok=True)
            descriptor = _lock(path.with_suffix(".lock"))
            if descriptor is None:
                return _BUSY, None
            locks.callback(os.close, descriptor)
            found = self._read(path, part)  # who had the lock may have finished in between
        except OSError as error:
            print(f"warning: features are not shared: {error}", flush=True)
            return _OFF, None
        return (_OURS, None) if found is None else (_FOUND, found)

    def _path(self, part: Part) -> Path:
        if self.folder is None:
            raise ValueError("nothing is shared")
        return self.folder / f"{part.name}-{_digest(self._facts(part))[:24]}.safetensors"

    def _facts(self, part: Part) -> dict[str, Any]:
        return {"format": _FORMAT, **self.facts, "part": part.name, **part.facts}

    def _read(self, path: Path, part: Part) -> Tensor | None:
        """The features in a file; None where there is none, or a damaged one, which is said."""
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                stored = json.loads((file.metadata() or {}).get("kennel", "{}"))
                rows: Tensor = file.get_tensor("features").clone()  # off the file
            self._check(rows, stored, part)
        except (SafetensorError, ValueError) as error:
            print(f"warning: {path} is damaged ({error}); its features are made again", flush=True)
            return None
        return rows

    def _check(self, rows: Tensor, stored: Mapping[str, Any], part: Part) -> None:
        """Raises ValueError for what is not the features of `part`."""
        if stored.get("facts") != json.loads(json.dumps(self._facts(part))):
            raise ValueError("it says that it holds something else")
        if rows.dtype != torch.float32 or tuple(rows.shape) != part.shape:
            raise ValueError(f"{tuple(rows.shape)} of {rows.dtype} in place of {part.shape} of torch.float32")
        if stored.get("sha256") != _digest_of(rows):
            raise ValueError("its content has another SHA-256 than it says")

    def _write(self, part: Part, rows: Tensor) -> bool:
        """Whether the features are there for others; if not, the reason is said."""
        path = self._path(part)
        beside = path.with_name(f".{path.name}.part")
        rows = rows.detach().to("cpu", torch.float32).contiguous()
        header = json.dumps({"facts": self._facts(part), "sha256": _digest_of(rows)})
        try:
            save_file({"features": rows}, beside, metadata={"kennel": header})
            beside.chmod(0o644)  # safetensors writes for its own user only; another container's may be another
            os.replace(beside, path)
        except (OSError, SafetensorError) as error:
            print(f"warning: features of {part.name} are not shared: {error}", flush=True)
            with contextlib.suppress(OSError):
                beside.unlink()
            return False
        return True


NOT_SHARED: Final = SharedFeatures()


def shared_features(environ: Mapping[str, str], facts: Mapping[str, Any], world: World = ALONE) -> SharedFeatures:
    """The folder that KENNEL_SHARED_DIR names, for features that depend on `facts`; without it, nothing is shared."""
    folder = environ.get(SHARED_DIR)
    return SharedFeatures(Path(folder) if folder else None, facts, world)


def state_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and contents: of random weights, which come from no file."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor).data)
    return digest.hexdigest()


def _lock(path: Path) -> int | None:
    """The descriptor that holds the lock until it is closed, or its process ends; None if another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _digest_of(rows: Tensor) -> str:
    return hashlib.sha256(_bytes(rows).data).hexdigest()


def _bytes(tensor: Tensor) -> NDArray[np.uint8]:
    array: NDArray[np.uint8] = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return array
