"""Builds the two images, by the docker command with BuildKit. The standard library is all it needs.

    scripts/build.sh all --tag mine

Both Dockerfiles begin with the same steps, so the second image finds the heavy layers of the first.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kennel.errors import KennelError, UserError
from kennel.metrics import metric_definitions

CHECKOUT: Final = Path(__file__).resolve().parents[3]
# What the Dockerfiles copy (.dockerignore lets in no more).
CONTEXT: Final = (
    "Dockerfile.train",
    "Dockerfile.serve",
    ".dockerignore",
    "README.md",
    "pyproject.toml",
    "code",
    "docker",
)
WEIGHTS_SUFFIXES: Final = (".pth", ".pt", ".safetensors")
# Without CUDA there is nothing to take from NVIDIA's image.
CPU_BASE: Final = "ubuntu:24.04@sha256:4fbb8e6a8395de5a7550b33509421a2bafbc0aab6c06ba2cef9ebffbc7092d90"
# How `kennel conformance` exercises them: the images' label dev.kennel.conformance.
_SETTINGS: Final = {"backbone": "resnet18", "weights": "none", "image-size": "32", "batch-size": "8", "epochs": "2"}
EXERCISES: Final[dict[str, dict[str, object]]] = {
    "train": {
        "hyperparameters": _SETTINGS,
        "long_hyperparameters": {"epochs": "200"},
        "metric_definitions": metric_definitions(),
        "distributed": True,
        "tolerance": 1e-4,
    },
    "serve": {},
}
# Images larger than this have taken in something by mistake. AWS's own are 18 to 23 GB for training, 13.5 for serving.
LIMIT_GB: Final = {"train": 6.5, "serve": 6.0, "serve-cpu": 1.0}


@dataclass(frozen=True)
class Image:
    """One image to build. variant: train, serve or serve-cpu."""

    variant: str
    name: str

    @property
    def dockerfile(self) -> str:
        return f"Dockerfile.{self.variant.partition('-')[0]}"


@dataclass(frozen=True)
class BuildRequest:
    """What to build and from what. which: train, serve or all; is_cpu: only the serving image without torch."""

    which: str = "all"
    is_cpu: bool = False
    base_image: str | None = None
    weights: tuple[Path, ...] = ()
    tag: str | None = None
    cache_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """What an image is made of: version, commit, whether files differ from the commit ("true", "false", "unknown").

    created: when the commit was made, not the image: so the same commit built again from cache is the same image, which
    a push recognises (its tag in the registry never moves).
    """

    version: str
    commit: str
    dirty: str
    origin: str
    created: str


def build(request: BuildRequest, *, root: Path = CHECKOUT) -> list[Image]:
    """Builds the images asked for and returns them.

    Raises UserError for a wrong file or a docker that cannot do it, KennelError when a build fails or an image is too
    large.
    """
    source = read_source(root)
    images = images_of(request, source)
    _check_weights(request)
    client = find_client()
    with _context(root, request.weights) as context:
        for image in images:
            began = time.monotonic()
            _run(build_command(client, image, request, source, context))
            size_gb = check_size(image, _size_bytes(client, image.name))
            limit_gb, seconds = LIMIT_GB[image.variant], time.monotonic() - began
            print(f"{image.name}: {size_gb:.2f} GB of at most {limit_gb} GB, built in {seconds:.0f} s", flush=True)
    return images


def images_of(request: BuildRequest, source: Source) -> list[Image]:
    """The images a request means. Raises UserError for a training image without CUDA."""
    tag = request.tag or source.version
    if request.is_cpu:
        if request.which == "train":
            raise UserError("--cpu is for the serving image: scripts/build.sh serve --cpu")
        return [Image("serve-cpu", f"kennel-serve:{tag}-cpu")]
    variants = ("train", "serve") if request.which == "all" else (request.which,)
    return [Image(variant, f"kennel-{variant}:{tag}") for variant in variants]


def read_source(root: Path) -> Source:
    """What git and pyproject.toml say of the checkout in `root`."""
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return Source(version, "unknown", "unknown", "unknown", "unknown")
    changed = _git(root, "status", "--porcelain", "--", *CONTEXT)
    origin = _git(root, "remote", "get-url", "origin") or "unknown"
    created = _git(root, "show", "--no-patch", "--format=%cI", "HEAD") or "unknown"
    return Source(version, commit, "true" if changed else "false", _without_credentials(origin), created)


def find_client() -> str:
    """A docker command with BuildKit: of version 23 and later only with the buildx plugin, before by a variable.

    DOCKER names one; else the first on PATH that will do. Raises UserError where there is none, or no engine answers.
    """
    candidates = [os.environ["DOCKER"]] if os.environ.get("DOCKER") else _all_on_path("docker")
    client = next((each for each in candidates if has_buildx(each) or _version(each) < 23), None)
    if client is None:
        found = ", ".join(candidates) or "no docker at all"
        raise UserError(
            f"No docker command with BuildKit: found {found}. Install Docker Engine, or the docker-buildx plugin."
        )
    if subprocess.run([client, "info"], capture_output=True).returncode != 0:
        raise UserError("Docker Engine does not answer. Start it (systemctl start docker), or set DOCKER_HOST.")
    return client


def has_buildx(client: str) -> bool:
    """Whether this docker command has the buildx plugin."""
    return subprocess.run([client, "buildx", "version"], capture_output=True).returncode == 0


def build_command(client: str, image: Image, request: BuildRequest, source: Source, context: Path) -> list[str]:
    """The docker command that builds one image."""
    arguments = {
        "BUILDKIT_INLINE_CACHE": "1",  # so that a pushed image can be given to --cache-from
        "VERSION": source.version,
        "COMMIT": source.commit,
        "DIRTY": source.dirty,
        "SOURCE": source.origin,
        "CONFORMANCE": json.dumps(EXERCISES[image.variant.partition("-")[0]]),
        "CREATED": source.created,
    }
    base = request.base_image or (CPU_BASE if image.variant == "serve-cpu" else None)
    if base:
        arguments["BASE_IMAGE"] = base
    if image.variant == "serve-cpu":
        arguments["COMMON"] = "common-cpu"
    if image.variant == "train" and len(request.weights) == 1:
        arguments["WEIGHTS_SHA256"] = _sha256(request.weights[0])
    # An attestation beside the image would make it an OCI index, which SageMaker refuses.
    form = ["--provenance=false", "--sbom=false", "--load"] if has_buildx(client) else []
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    caches = [word for each in request.cache_from for word in ("--cache-from", each)]
    target = ["--file", str(context / image.dockerfile), "--tag", image.name, str(context)]
    return [client, "build", "--platform", "linux/amd64", *form, *caches, *words, *target]


def check_size(image: Image, size_bytes: int) -> float:
    """The image's size in GB (10^9 bytes). Raises KennelError where it is above its limit."""
    size_gb = size_bytes / 1e9
    if size_gb > LIMIT_GB[image.variant]:
        raise KennelError(
            f"{image.name} has {size_gb:.2f} GB, and {LIMIT_GB[image.variant]} GB is its limit. "
            f"See what takes the room: kennel layers {image.name}"
        )
    return size_gb


@contextlib.contextmanager
def _context(root: Path, weights: Sequence[Path]) -> Iterator[Path]:
    """The build context: the checkout, or a copy of it with weights in it."""
    if not weights:
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="kennel-build-") as scratch:
        for name in CONTEXT:
            source, copy = root / name, Path(scratch, name)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy2(source, copy)
        for path in weights:
            shutil.copy2(path, Path(scratch, "docker", "weights", path.name))
        yield Path(scratch)


def _check_weights(request: BuildRequest) -> None:
    for path in request.weights:
        if path.suffix not in WEIGHTS_SUFFIXES or not path.is_file():
            problem = f"expected {', '.join(WEIGHTS_SUFFIXES)}" if path.is_file() else "there is no such file"
            raise UserError(f"--weights {path}: {problem}.")
    if request.weights and (request.is_cpu or request.which == "serve"):
        raise UserError("--weights is for the training image: a model that is served brings its own.")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, env={**os.environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"})
    if done.returncode != 0:
        raise KennelError(f"The build failed with status {done.returncode}; its last lines above say why.")


def _size_bytes(client: str, name: str) -> int:
    found = subprocess.run([client, "image", "inspect", name], capture_output=True, text=True, check=True)
    return int(json.loads(found.stdout)[0]["Size"])


def _version(client: str) -> int:
    """The major version of a docker command; 99 where it does not say."""
    done = subprocess.run([client, "--version"], capture_output=True, text=True)
    number = done.stdout.partition("version ")[2].partition(".")[0]
    return int(number) if number.isdigit() else 99


def _all_on_path(name: str) -> list[str]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [found for folder in dict.fromkeys(folders) if (found := shutil.which(name, path=folder))]


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _without_credentials(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else url


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
