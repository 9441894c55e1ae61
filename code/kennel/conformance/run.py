"""One call of `kennel conformance`: images in, a report each out, nothing left behind but what was asked for."""

import importlib
import pkgutil
import shutil
import signal
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

from docker.errors import APIError, ImageNotFound

from kennel import conformance
from kennel.conformance.checks import Kind, Selection, Subject, run_checks
from kennel.conformance.containers import Containers, connect
from kennel.conformance.exercise import Exercise, override, read_label
from kennel.conformance.findings import Finding
from kennel.conformance.image_files import ImageFiles, find_program
from kennel.conformance.report import ImageReport
from kennel.dataset.sample import make_sample
from kennel.errors import KennelError, UserError

# Every module of this room whose name ends in `_checks`; importing it adds its checks.
CHECK_MODULES: Final = tuple(
    importlib.import_module(f"{conformance.__name__}.{module.name}")
    for module in pkgutil.iter_modules(conformance.__path__)
    if module.name.endswith("_checks")
)
_SAMPLE_PICTURES: Final = 10

Progress = Callable[[str, Finding], None]


@dataclass(frozen=True)
class Request:
    """What was asked for; the names are those of the options."""

    images: tuple[str, ...]
    kind: Literal["auto", "train", "serve"] = "auto"
    data: Path | None = None
    channels: Mapping[str, Path] = field(default_factory=dict)
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    model: Path | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    memory_mb: int | None = None
    stop_grace_s: float | None = None
    logs: Path | None = None


def conform(request: Request, *, progress: Progress) -> Iterator[ImageReport]:
    """A report an image, in order; a trainer's model is what the servers after it get.

    Raises UserError for what cannot be tried at all: no Docker, an image, folder or archive that is not there.
    """
    with (
        closing(connect()) as client,
        _signals_end_the_block(),
        scratch_folder() as scratch,
        Containers(client) as containers,
    ):
        attributes = {image: _attributes(client, image) for image in request.images}
        data = _data_folder(request, scratch)
        model_folder = _model_folder(request, scratch)
        for number, image in enumerate(request.images):
            subject = Subject(
                image=image,
                attributes=attributes[image],
                containers=containers,
                exercise=_exercise(request, attributes[image], data),
                folder=scratch / f"{number}",
                model_folder=model_folder,
                logs=request.logs,
                memory_mb=request.memory_mb,
                stop_grace_s=request.stop_grace_s,
            )
            subject.folder.mkdir()
            subject.kinds = _kinds(request, subject)
            yield _examine(subject, request.selection, progress)


def _examine(subject: Subject, selection: Selection, progress: Progress) -> ImageReport:
    begun = time.monotonic()
    findings = []
    for finding in run_checks(subject, selection=selection):
        progress(subject.image, finding)
        findings.append(finding)
    subject.containers.remove_all()
    kinds = tuple(sorted(subject.kinds))
    digest = str(subject.attributes.get("Id", ""))
    return ImageReport(subject.image, digest, kinds, tuple(findings), time.monotonic() - begun)


def _attributes(client: Any, image: str) -> Mapping[str, Any]:  # noqa: ANN401
    try:
        attributes: Mapping[str, Any] = client.images.get(image).attrs
    except ImageNotFound as error:
        raise UserError(f"There is no image '{image}' here. Build it, or fetch it: docker pull {image}") from error
    except APIError as error:
        raise UserError(f"Docker refuses the image '{image}': {error.explanation or error}") from error
    return attributes


def _kinds(request: Request, subject: Subject) -> frozenset[Kind]:
    """What the image is checked as; `image` alone if it has neither word, which image.entry reports."""
    if request.kind != "auto":
        return frozenset({"image", request.kind})
    files = ImageFiles(subject)
    words: tuple[Kind, ...] = ("train", "serve")
    return frozenset({"image", *(word for word in words if find_program(files, subject.config, word))})


def _exercise(request: Request, attributes: Mapping[str, Any], data: Path) -> Exercise:
    labels = (attributes.get("Config") or {}).get("Labels") or {}
    exercise = override(
        read_label(labels),
        hyperparameters=request.hyperparameters,
        metric_definitions=tuple({"Name": name, "Regex": regex} for name, regex in request.metrics.items()),
        request=request.request,
        channels={name: str(folder.resolve()) for name, folder in request.channels.items()},
    )
    folders = {name: str((data / folder).resolve()) for name, folder in exercise.channels.items()}
    for name, folder in folders.items():
        if not Path(folder).is_dir():
            raise UserError(f"Channel '{name}': {folder} is no folder. Name one: --channel {name}=DIR")
    return override(exercise, channels=folders)


def _data_folder(request: Request, scratch: Path) -> Path:
    """The data that was named, or drawn pictures; nothing is drawn when all channels are named."""
    if request.data is not None:
        if not request.data.is_dir():
            raise UserError(f"--data {request.data} is no folder.")
        return request.data
    if request.channels or request.kind == "serve":
        return scratch
    return make_sample(scratch / "sample", images_per_class=_SAMPLE_PICTURES, size_px=64)


def _model_folder(request: Request, scratch: Path) -> Path:
    """What a server gets as /opt/ml/model: the archive that was named, unpacked as SageMaker does, or nothing yet."""
    folder = scratch / "model"
    folder.mkdir()
    if request.model is not None:
        try:
            with tarfile.open(request.model, "r:gz") as archive:
                archive.extractall(folder, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise UserError(f"--model {request.model} cannot be unpacked as a .tar.gz: {error}") from error
    return folder


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for what is mounted; gone at the end. World-readable, for containers that run as a user."""
    folder = Path(tempfile.mkdtemp(prefix="kennel-conformance-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            print(f"files that belong to a container's user are left in {folder}: sudo rm -r {folder}", flush=True)


@contextmanager
def _signals_end_the_block() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program as Ctrl-C does, so that containers are removed on the way out."""

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {signum: signal.signal(signum, interrupt) for signum in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def write_reports(text: str, target: Path) -> None:
    """Writes a report to a file, its folder made where it is missing. Raises KennelError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    except OSError as error:
        raise KennelError(f"The report could not be written to {target}: {error.strerror}") from error


def read_pairs(values: Sequence[str], option: str) -> dict[str, str]:
    """`["name=value"]` as a mapping. Raises UserError for a value without `=`."""
    pairs = {}
    for value in values:
        name, found, rest = value.partition("=")
        if not found or not name:
            raise UserError(f"{option} '{value}' is not of the form name=value.")
        pairs[name] = rest
    return pairs
