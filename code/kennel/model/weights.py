"""Pretrained weights: where they are looked for, and how they get into a backbone.

In this order: the path given, the `weights` channel, the folder baked into the image, torchvision's cache, download.

    path = find_weights("resnet18", "auto", channel=None)
    sha256 = load_weights(backbone, path)

| variable | what it says |
|---|---|
| KENNEL_WEIGHTS_DIR | the folder baked into the image (/opt/kennel/weights) |
| TORCH_HOME, XDG_CACHE_HOME | move torchvision's cache, as they do for torchvision |
| KENNEL_WEIGHTS_URL_BASE | a mirror: files are fetched from here by torchvision's file name |
| KENNEL_OFFLINE | 1: nothing is downloaded, and not tried |

Files are read with `weights_only=True` or as safetensors: nothing in them is run. A name as torchvision gives it
(resnet18-f37072fd.pth) carries the first digits of the file's SHA-256, which are then checked.
Exercise it: pytest tests/unit/model
"""

import hashlib
import logging
import os
import queue
import re
import shutil
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor

from kennel.errors import WeightsError
from kennel.model.backbones import Backbone

SUFFIXES: Final = (".pth", ".pt", ".safetensors")
BUNDLED_DIR: Final = Path("/opt/kennel/weights")

# For the first answer, and then for every silence. Without a network name servers may be silent too, which no socket
# timeout covers: see _connect.
_TIMEOUT_S: Final = 10.0
_CHUNK_BYTES: Final = 2**20
_HASHED_NAME: Final = re.compile(r"-([0-9a-f]{8,64})\.")
# What other programs put before the names of a network's tensors: DistributedDataParallel, and Kennel's own archives.
_PREFIXES: Final = ("module.", "backbone.network.")
# Second outputs of GoogLeNet and Inception, which Kennel builds without them.
_AUXILIARY: Final = ("aux1.", "aux2.", "AuxLogits.")
# torchvision's DenseNet files name their layers as torch 0.3 did ("norm.1" for "norm1").
_OLD_DENSENET: Final = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsPlaces:
    """Where weights may be, in the order they are looked for. `path` is a setting that is neither auto nor none."""

    path: Path | None
    channel: Path | None
    bundled: Path
    cache: Path
    url_base: str | None
    allow_download: bool


def weights_places(setting: str, *, channel: Path | None, environ: Mapping[str, str] = os.environ) -> WeightsPlaces:
    """The places that a setting and the environment name; nothing is looked up yet."""
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    torch_home = Path(environ.get("TORCH_HOME") or f"{cache}/torch").expanduser()
    return WeightsPlaces(
        path=None if setting in ("auto", "none") else Path(setting).expanduser(),
        channel=channel,
        bundled=Path(environ.get("KENNEL_WEIGHTS_DIR") or BUNDLED_DIR),
        cache=torch_home / "hub" / "checkpoints",
        url_base=environ.get("KENNEL_WEIGHTS_URL_BASE") or None,
        allow_download=environ.get("KENNEL_OFFLINE", "") in ("", "0"),
    )


def find_weights(
    backbone: str, setting: str, *, channel: Path | None, environ: Mapping[str, str] = os.environ
) -> Path | None:
    """The file with pretrained weights of `backbone`; None where `setting` is "none".

    setting: "none", "auto", or a path (of a file, or a folder with one). channel: the folder of the `weights` channel.
    Raises WeightsError where the path or the channel has no file for this backbone, and where "auto" finds none in any
    place: it names each one, and what was found there. Without a network that takes seconds.
    """
    if setting == "none":
        return None
    places = weights_places(setting, channel=channel, environ=environ)
    if places.path is not None:
        return _given_file(backbone, places.path)
    if places.channel is not None:
        return _file_in(backbone, places.channel, f"Channel 'weights' ({places.channel})")
    return _search(backbone, places)


def load_weights(backbone: Backbone, path: Path) -> str:
    """Gives `backbone` the weights in `path`, as float32 on the CPU, and returns the file's SHA-256.

    The file's classifier is left out. Raises WeightsError where the file cannot be read without running it, where its
    name carries another hash, and where its tensors are another network's (naming the first that differ).
    """
    digest = _check_hash(path)
    state = _backbone_tensors(_read_state(path), backbone)
    expected = backbone.network.state_dict()
    wrong = _mismatches(expected, state)
    if wrong:
        raise WeightsError(
            f"{path} has no weights of backbone {backbone.name}: {len(wrong)} tensors differ ({'; '.join(wrong[:3])}). "
            f"Give the file of {backbone.name} (-p weights=PATH), or set -p backbone=... to the network it is of."
        )
    for name, tensor in state.items():
        # A sum is ten times as fast, and may overflow where every value is a number.
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.sum()) or torch.isfinite(tensor).all()):
            raise WeightsError(f"{path}: tensor {name} holds values that are no numbers. Replace the file.")
    # Counters of BatchNorm's steps are younger than some files; nothing is computed from them here.
    counters = {name: torch.zeros((), dtype=torch.int64) for name in expected if name not in state}
    backbone.network.load_state_dict({**state, **counters}, assign=True)
    return digest


def _given_file(backbone: str, path: Path) -> Path:
    if path.is_dir():
        return _file_in(backbone, path, f"Folder {path} (-p weights={path})")
    if not path.is_file():
        raise WeightsError(
            f"There is no file {path} (-p weights={path}). Give the path as the training sees it, "
            f"or -p weights=auto, or -p weights=none."
        )
    return path


def _file_in(backbone: str, folder: Path, name: str) -> Path:
    """The one file of weights in a folder, or the one of this backbone. What was given has to do: no fallback."""
    files = _weight_files(folder)
    chosen = files if len(files) == 1 else _matching(backbone, files)
    if len(chosen) == 1:
        return chosen[0]
    found = ", ".join(file.name for file in files[:8]) or "none"
    raise WeightsError(
        f"{name} has no single file of weights for {backbone}: found {found}. "
        f"Put one {' or '.join(SUFFIXES)} file there, or name it {backbone}.pth, or give -p weights=PATH."
    )


def _weight_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix in SUFFIXES and file.is_file())


def _matching(backbone: str, files: list[Path]) -> list[Path]:
    """The files named for a backbone: by torchvision's own name, or else <backbone>.pth, <backbone>-x.pth."""
    own = [file for file in files if file.name == _file_name(_published(backbone))]
    # vgg11_bn.pth is not of vgg11: what follows the name must not go on with it.
    named = [file for file in files if re.match(rf"{re.escape(backbone)}(?![A-Za-z0-9_])", file.name)]
    return own[:1] or named


def _search(backbone: str, places: WeightsPlaces) -> Path:
    """What "auto" does without a channel: the image's folder, torchvision's cache, download."""
    looked = ["channel 'weights': none given"]
    matching = _matching(backbone, _weight_files(places.bundled))
    if len(matching) == 1:
        return matching[0]
    looked.append(f"{places.bundled} (KENNEL_WEIGHTS_DIR): {_why_not(places.bundled, matching, backbone)}")
    url = _published(backbone)
    if url is None:
        looked.append("torchvision's cache and download: torchvision has no weights of this network")
        raise _nowhere(backbone, looked)
    cached = places.cache / _file_name(url)
    if cached.is_file():
        return cached
    looked.append(f"{cached}: no such file")
    url = f"{places.url_base.rstrip('/')}/{cached.name}" if places.url_base else url
    if not places.allow_download:
        looked.append(f"{url}: not tried (KENNEL_OFFLINE)")
        raise _nowhere(backbone, looked)
    return _download_or_explain(backbone, url, cached, looked)


def _why_not(folder: Path, matching: list[Path], backbone: str) -> str:
    if not folder.is_dir():
        return "no such folder"
    if matching:
        return f"more than one file of {backbone} ({', '.join(file.name for file in matching)})"
    return f"no file named {backbone}*.pth"


def _nowhere(backbone: str, looked: list[str]) -> WeightsError:
    places = "".join(f"\n  - {place}" for place in looked)
    return WeightsError(
        f"No pretrained weights of {backbone} were found. Go on with -p weights=none (starts at random: needs "
        f"trainable=all, more images and epochs) or -p weights=PATH (a state dict of torchvision's {backbone}; "
        f"a channel named 'weights' will do too). Looked at:{places}"
    )


def _published(backbone: str) -> str | None:
    """The address torchvision gives for its default weights of this network."""
    try:
        return str(torchvision.models.get_model_weights(backbone).DEFAULT.url)
    except (ValueError, AttributeError):  # not a network of torchvision's, or one without published weights
        return None


def _file_name(url: str | None) -> str:
    return urlsplit(url).path.rpartition("/")[2] if url else ""


def _download_or_explain(backbone: str, url: str, target: Path, looked: list[str]) -> Path:
    _log.info("Downloading %s to %s", url, target)
    try:
        _download(url, target)
    except (OSError, HTTPException, WeightsError) as error:
        looked.append(f"{url}: {error or type(error).__name__}")
        raise _nowhere(backbone, looked) from error
    return target


def _download(url: str, target: Path) -> None:
    """Fetches `url` to `target`, which appears only once it is whole and has the hash its name carries."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with _connect(url) as answer, tempfile.TemporaryDirectory(dir=target.parent, prefix=".kennel-") as folder:
        part = Path(folder) / target.name
        _save(answer, part)
        _compare_hash(target.name, _sha256(part))
        os.replace(part, target)


def _connect(url: str) -> HTTPResponse:
    """The answer to a GET, or an OSError or HTTPException within _TIMEOUT_S, whatever part of the network is silent."""
    if not url.startswith(("http://", "https://")):
        raise WeightsError("no http address (KENNEL_WEIGHTS_URL_BASE)")
    answers: queue.SimpleQueue[HTTPResponse | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=_TIMEOUT_S))  # noqa: S310  the scheme is checked above
        except Exception as error:  # raised below, in the caller's thread
            answers.put(error)

    threading.Thread(target=ask, name="kennel-weights-connect", daemon=True).start()
    try:
        answer = answers.get(timeout=_TIMEOUT_S)
    except queue.Empty:
        raise TimeoutError(f"no answer within {_TIMEOUT_S:g} s") from None
    if isinstance(answer, HTTPError):
        answer.close()  # it holds the connection
    if isinstance(answer, Exception):
        raise answer
    return answer


def _save(answer: HTTPResponse, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(answer, file, _CHUNK_BYTES)
    expected, found = answer.headers.get("Content-Length"), path.stat().st_size
    if expected is not None and found != int(expected):
        raise ConnectionError(f"the connection ended after {found:,} of {int(expected):,} bytes")


def _check_hash(path: Path) -> str:
    """The file's SHA-256, which begins as its name says if that carries a hash."""
    try:
        digest = _sha256(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}. Give the path of a file with -p weights=PATH.") from error
    _compare_hash(str(path), digest)
    return digest


def _compare_hash(name: str, digest: str) -> None:
    carried = _HASHED_NAME.search(Path(name).name)
    if carried and not digest.startswith(carried[1]):
        raise WeightsError(
            f"{name} is refused: its name says that its SHA-256 begins with {carried[1]}, but it is {digest}. "
            f"Fetch the file again; if the end of its name is no hash, rename it."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_state(path: Path) -> dict[str, Tensor]:
    """The tensors in a file by name; nothing in the file is run."""
    try:
        state: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        )
    except Exception as error:  # torch raises half a dozen types here, none of them its own
        reason = f"{type(error).__name__}: {str(error).partition('.')[0].partition(chr(10))[0]}"
        raise WeightsError(
            f"{path} cannot be read as weights ({reason}). "
            f"Give a state dict, saved as torch.save(model.state_dict(), PATH), or a safetensors file."
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]  # as many training programs save their checkpoints
    if not isinstance(state, Mapping) or not state or not all(isinstance(each, Tensor) for each in state.values()):
        raise WeightsError(f"{path} holds no state dict, but {type(state).__name__}. Save model.state_dict() instead.")
    return {str(name): tensor for name, tensor in state.items()}


def _backbone_tensors(state: Mapping[str, Tensor], backbone: Backbone) -> dict[str, Tensor]:
    """The tensors of the network without its classifier, as float32, by the names the backbone has for them."""
    prefix = next((prefix for prefix in _PREFIXES if any(name.startswith(prefix) for name in state)), "")
    left_out = (f"{backbone.classifier_name}.", *_AUXILIARY)
    tensors = {}
    for name, tensor in state.items():
        if name.startswith(prefix) and not name.removeprefix(prefix).startswith(left_out):
            plain = _OLD_DENSENET.sub(r"\1\2", name.removeprefix(prefix))
            tensors[plain] = tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
    return tensors


def _mismatches(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """What differs between two sets of tensors, a phrase each, in the order of the network."""
    wrong = []
    for name, tensor in expected.items():
        if name in found and found[name].shape != tensor.shape:
            wrong.append(f"{name}: expected {tuple(tensor.shape)}, found {tuple(found[name].shape)}")
        elif name not in found and not name.endswith("num_batches_tracked"):
            wrong.append(f"{name}: missing")
    return wrong + [f"{name}: not in this network" for name in found if name not in expected]
