"""A trained classifier as files, without pickle: written by training, read by serving and by whoever trains further.

    model.json               what it is; readable without torch (the example below)
    model.safetensors        the state of the Classifier, float32
    golden/expected.json     {"examples": [{"file": "0.jpg", "probabilities": [0.93, 0.07]}]}
    golden/0.jpg ...         a few pictures as they came, and above the probabilities they must give

model.json is written last, and lists the SHA-256 of every other file: an archive that is not whole does not read.

    {
      "format_version": 1,
      "created": "2026-11-21T08:15:00+00:00",
      "backbone": "resnet18",
      "head": "linear",
      "classes": [{"folder": "001.Affenpinscher", "label": "Affenpinscher"}, ...],
      "eval_transform": {"resize_px": 256, "crop_px": 224, "interpolation": "bilinear", "mean": [...], "std": [...]},
      "temperature": 1.31,
      "abstain_threshold": 0.42,
      "metrics": {"valid": {"accuracy": 0.94}, "test": {"accuracy": 0.92}},
      "hyperparameters": {"backbone": "resnet18", "batch-size": 32, ...},
      "data_digest": "9f86d0...",
      "versions": {"kennel": "0.1.0", "torch": "2.15.0", ...},
      "git_commit": null,
      "files": {"model.safetensors": "<sha256>", "golden/expected.json": "<sha256>", "golden/0.jpg": "<sha256>"}
    }

The probabilities of class i, in the order of `classes`, are softmax(logits / temperature)[i].

    archive = read_archive(Path("/opt/ml/model"))
    replay_golden(archive)
    probabilities = archive.predict(images)

Exercise it: pytest tests/unit/model
"""

import dataclasses
import hashlib
import json
import math
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kennel.errors import ArchiveError, ContractError, HyperparameterError, ImageError
from kennel.images.decode import decode_image, image_format
from kennel.images.transforms import EvalTransform
from kennel.model.classifier import Classifier, build_classifier

FORMAT_VERSION: Final = 1
MAX_GOLDEN: Final = 4
CARD_FILE: Final = "model.json"
STATE_FILE: Final = "model.safetensors"
GOLDEN_FILE: Final = "golden/expected.json"

_EXTENSIONS: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}
_PACKAGES: Final = ("kennel", "torch", "torchvision", "numpy", "Pillow", "safetensors")
_UNPACK_AGAIN: Final = "Unpack model.tar.gz again, or deploy another run."


@dataclass(frozen=True)
class ClassEntry:
    """A class: the folder its pictures were in, and the label that predictions carry."""

    folder: str
    label: str


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What model.json says of a model. Raises ContractError for values that no reader could use."""

    backbone: str
    head: str
    classes: tuple[ClassEntry, ...]
    eval_transform: EvalTransform
    temperature: float
    abstain_threshold: float
    metrics: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]
    data_digest: str
    versions: Mapping[str, str]
    git_commit: str | None
    created: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.temperature) or self.temperature <= 0:
            raise ContractError(f"Model card: temperature is {self.temperature}. Expected a number above 0.")
        if not 0 <= self.abstain_threshold <= 1:
            raise ContractError(f"Model card: abstain_threshold is {self.abstain_threshold}. Expected 0 to 1.")
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ContractError(f"Model card: {len(self.classes)} classes, {len(set(self.classes))} of them different.")

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the probabilities."""
        return tuple(entry.label for entry in self.classes)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as model.json has them (without `format_version` and `files`)."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        classes = [dataclasses.asdict(entry) for entry in self.classes]
        return {**values, "classes": classes, "eval_transform": self.eval_transform.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ModelCard":
        """What to_json wrote; other keys are left alone. Raises ContractError naming the first key that is wrong."""
        read = {name: _value(values, name, kinds) for name, kinds in _CARD_KINDS.items()}
        read["classes"] = tuple(_class_entry(entry) for entry in read["classes"])
        read["eval_transform"] = EvalTransform.from_json(read["eval_transform"])
        return cls(**read)


_CARD_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "backbone": (str,),
    "head": (str,),
    "classes": (list,),
    "eval_transform": (dict,),
    "temperature": (int, float),
    "abstain_threshold": (int, float),
    "metrics": (dict,),
    "hyperparameters": (dict,),
    "data_digest": (str,),
    "versions": (dict,),
    "git_commit": (str, type(None)),
    "created": (str,),
}


@dataclass(frozen=True)
class GoldenExample:
    """A picture's bytes and the probabilities it gave when the archive was written, in the order of the classes."""

    name: str
    data: bytes
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Archive:
    """A model that was read: `model` is on the CPU, in eval mode, float32, and requires no gradients."""

    folder: Path
    model: Classifier
    card: ModelCard
    golden: tuple[GoldenExample, ...]

    def predict(self, images: Tensor) -> Tensor:
        """Class probabilities, float32 (N, C), of images (N, 3, H, W) that went through `card.eval_transform`."""
        return predict_probabilities(self.model, images, temperature=self.card.temperature)


def predict_probabilities(model: nn.Module, images: Tensor, *, temperature: float) -> Tensor:
    """Class probabilities, float32 (N, C), rows sum to 1: training's evaluation, golden pictures and serving alike.

    images: (N, 3, H, W) through the eval transform, on the model's device. float32 throughout, also within autocast,
    and without TF32. Raises ContractError for a Classifier in train mode: dropout and BatchNorm would answer by chance.
    """
    if isinstance(model, Classifier) and model.training:  # what torch.export gives says that it is, and is not
        raise ContractError("The model is in train mode. Call model.eval() before predicting.")
    with torch.inference_mode(), torch.autocast(images.device.type, enabled=False), _without_tf32(images.device):
        logits: Tensor = model(images.to(torch.float32))
        return torch.softmax(logits.to(torch.float32) / temperature, dim=1)


def _without_tf32(device: torch.device) -> AbstractContextManager[None]:
    """Convolutions in float32 on a GPU too: TF32, cuDNN's default, moves probabilities by up to about 1e-3."""
    if device.type != "cuda":
        return nullcontext()
    cudnn = torch.backends.cudnn
    return cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    )


def package_versions() -> dict[str, str]:
    """Versions of what a prediction depends on, as the card stores them."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


def write_archive(model_dir: Path, model: Classifier, card: ModelCard, *, golden: Sequence[bytes]) -> None:
    """Writes the archive, in place of one that is there.

    golden: files of pictures as they came (the first MAX_GOLDEN are kept); their probabilities are computed here, on
    the CPU, from the state that is stored. All is written beside the old archive and then renamed, model.json last: a
    crash leaves the old one, or one that read_archive refuses. Raises ArchiveError if the card does not describe
    `model`, if it gives no numbers, or if there is no golden picture; ImageError if one cannot be decoded; OSError if
    the disk is full.
    """
    if not golden:
        raise ArchiveError("An archive needs a golden picture. Give the bytes of at least one of the data set's files.")
    state = _plain_state(model)
    examples = _golden_examples(_rebuild(card, state), card, golden[:MAX_GOLDEN])
    writing = model_dir / ".writing"
    shutil.rmtree(writing, ignore_errors=True)  # what a crash left
    try:
        (writing / "golden").mkdir(parents=True)
        save_file(state, writing / STATE_FILE, metadata={"format": "pt"})
        (writing / STATE_FILE).chmod(0o644)  # safetensors writes for its own user only; a server may be another
        _write_golden(writing, examples)
        _write_card(writing, card)
        _swap(writing, model_dir)
    finally:
        shutil.rmtree(writing, ignore_errors=True)  # a full disk gets its space back


def read_archive(model_dir: Path) -> Archive:
    """The model in `model_dir`, or in the one folder in it that holds an archive.

    Raises ArchiveError where a file is missing, cut short or changed, where the format is newer than this program, and
    where card and tensors do not belong together. Golden pictures are read, not replayed (replay_golden).
    """
    folder = _find_card(model_dir)
    values = _read_json(folder / CARD_FILE)
    _check_format(folder, values)
    _check_files(folder, values)
    try:
        card = ModelCard.from_json(values)
        model = _rebuild(card, _load_state(folder / STATE_FILE))
    except (ContractError, HyperparameterError) as error:
        raise ArchiveError(f"The archive in {folder} cannot be used. {error} {_UNPACK_AGAIN}") from error
    return Archive(folder, model, card, _read_golden(folder, len(card.classes)))


def replay_golden(
    archive: Archive, *, tolerance: float = 1e-3, predict: Callable[[Tensor], Tensor] | None = None
) -> None:
    """Decodes and predicts the golden pictures again and compares.

    predict: images (N, 3, H, W) to probabilities (N, C), for a server that compiled the model; otherwise the archive's.
    Raises ArchiveError naming the picture, what was expected and what was found, if any probability is further than
    `tolerance` from the stored one.
    """
    for example in archive.golden:
        try:
            found = _predict_bytes(example.data, archive.card, predict or archive.predict)
        except ImageError as error:
            raise ArchiveError(f"Golden picture {archive.folder / 'golden' / example.name}: {error}") from error
        expected = torch.tensor(example.probabilities, dtype=torch.float32)
        difference = (found - expected).abs().nan_to_num(nan=math.inf)
        if not bool((difference <= tolerance).all()):
            raise ArchiveError(_golden_mismatch(archive, example, found, int(difference.argmax()), tolerance))


def _plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state as float32 copies on the CPU, contiguous, sharing no memory; counters keep their type."""
    return {name: _plain(tensor) for name, tensor in model.state_dict().items()}


def _plain(tensor: Tensor) -> Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype, copy=True, memory_format=torch.contiguous_format)


def _rebuild(card: ModelCard, state: Mapping[str, Tensor]) -> Classifier:
    """A new Classifier without hooks, of the card's shape and with this state, in eval mode.

    Raises ArchiveError naming the first tensors that do not fit, HyperparameterError for an unknown backbone or head.
    """
    with torch.random.fork_rng(devices=[]):  # the random weights it starts with must not move a training's generator
        model = build_classifier(card.backbone, card.head, len(card.classes))
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if wrong:
        shapes = "; ".join(f"{name}: expected {expected.get(name)}, found {found.get(name)}" for name in wrong[:3])
        raise ArchiveError(
            f"The tensors are not those of backbone {card.backbone}, head {card.head}, {len(card.classes)} classes: "
            f"{len(wrong)} do not fit ({shapes})."
        )
    model.load_state_dict(dict(state))
    return model.eval().requires_grad_(False)


def _predict_bytes(data: bytes, card: ModelCard, predict: Callable[[Tensor], Tensor]) -> Tensor:
    """Probabilities (C,) on the CPU of one file's bytes: decoded, transformed, predicted."""
    image = card.eval_transform(decode_image(data, name="golden picture"))
    return predict(image.unsqueeze(0))[0].to("cpu", torch.float32)


def _golden_examples(model: Classifier, card: ModelCard, golden: Sequence[bytes]) -> list[GoldenExample]:
    def predict(images: Tensor) -> Tensor:
        return predict_probabilities(model, images, temperature=card.temperature)

    examples = []
    for index, data in enumerate(golden):
        probabilities = _predict_bytes(data, card, predict)
        if not bool(torch.isfinite(probabilities).all()):
            raise ArchiveError("The model gives probabilities that are no numbers: the training diverged. Lower lr.")
        extension = _EXTENSIONS[image_format(data) or "PNG"]
        examples.append(GoldenExample(f"{index}.{extension}", data, tuple(probabilities.tolist())))
    return examples


def _write_golden(folder: Path, examples: Sequence[GoldenExample]) -> None:
    for example in examples:
        (folder / "golden" / example.name).write_bytes(example.data)
    expected = [{"file": example.name, "probabilities": example.probabilities} for example in examples]
    (folder / GOLDEN_FILE).write_text(json.dumps({"examples": expected}, indent=1))


def _write_card(folder: Path, card: ModelCard) -> None:
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    digests = {name: _sha256(path) for name, path in files.items()}
    values = {"format_version": FORMAT_VERSION, **card.to_json(), "files": digests}
    try:
        text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ArchiveError(
            f"The model card holds a number that JSON cannot: {error}. Metrics: {card.metrics}."
        ) from error
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def _swap(writing: Path, model_dir: Path) -> None:
    """Renames the finished files into place; what is there in between has no model.json."""
    for path in sorted(writing.rglob("*")):
        if path.is_file():
            _flush(path)
    (model_dir / CARD_FILE).unlink(missing_ok=True)
    shutil.rmtree(model_dir / "golden", ignore_errors=True)
    for name in (STATE_FILE, "golden", CARD_FILE):
        os.replace(writing / name, model_dir / name)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _find_card(model_dir: Path) -> Path:
    """The folder with model.json: `model_dir`, or the only one in it that has one."""
    if (model_dir / CARD_FILE).is_file():
        return model_dir
    nested = sorted(path.parent for path in model_dir.glob(f"[!.]*/{CARD_FILE}")) if model_dir.is_dir() else []
    if len(nested) == 1:
        return nested[0]
    found = sorted(path.name for path in model_dir.iterdir())[:8] if model_dir.is_dir() else "no such folder"
    raise ArchiveError(
        f"{model_dir} has no {CARD_FILE}. Expected the content of a Kennel training's model.tar.gz "
        f"({CARD_FILE}, {STATE_FILE}, golden/); found: {found}."
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArchiveError(f"{path} cannot be read as JSON ({error}). {_UNPACK_AGAIN}") from error
    if not isinstance(values, dict):
        raise ArchiveError(f"{path} holds no JSON object. {_UNPACK_AGAIN}")
    return values


def _check_format(folder: Path, values: Mapping[str, Any]) -> None:
    version = values.get("format_version")
    if type(version) is not int or version < 1:
        raise ArchiveError(f"{folder / CARD_FILE}: format_version is {version!r}. Expected {FORMAT_VERSION}.")
    if version > FORMAT_VERSION:
        writer = values.get("versions")
        written_by = writer.get("kennel", "unknown") if isinstance(writer, dict) else "unknown"
        raise ArchiveError(
            f"{folder / CARD_FILE} is of format {version}, written by Kennel {written_by}; this is Kennel "
            f"{metadata.version('kennel')}, which reads formats up to {FORMAT_VERSION}. Serve it with a newer "
            f"kennel-serve image, or train again with this version."
        )


def _check_files(folder: Path, values: Mapping[str, Any]) -> None:
    """Every file that is listed is there, and has the digest that is listed."""
    files = values.get("files")
    if not isinstance(files, dict) or not {STATE_FILE, GOLDEN_FILE} <= set(files):
        raise ArchiveError(
            f"{folder / CARD_FILE}: 'files' does not list {STATE_FILE} and {GOLDEN_FILE}. {_UNPACK_AGAIN}"
        )
    for name, digest in files.items():
        path = folder / _inside(name)
        if not path.is_file():
            raise ArchiveError(f"{path} is missing, though {CARD_FILE} lists it. {_UNPACK_AGAIN}")
        if _sha256(path) != digest:
            raise ArchiveError(
                f"{path} is cut short or changed: its SHA-256 is not the one {CARD_FILE} lists. {_UNPACK_AGAIN}"
            )


def _inside(name: str) -> PurePosixPath:
    """A listed name, which must stay within the archive."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ArchiveError(f"{CARD_FILE} lists '{name}', which is outside of the archive. Do not use this archive.")
    return path


def _load_state(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ArchiveError(f"{path} is no safetensors file ({error}).") from error


def _read_golden(folder: Path, classes: int) -> tuple[GoldenExample, ...]:
    examples = _read_json(folder / GOLDEN_FILE).get("examples")
    if not isinstance(examples, list) or not examples:
        raise ArchiveError(f"{folder / GOLDEN_FILE} lists no examples. {_UNPACK_AGAIN}")
    return tuple(_golden_example(folder, values, classes) for values in examples)


def _golden_example(folder: Path, values: Any, classes: int) -> GoldenExample:  # noqa: ANN401  whatever the file held
    place = folder / GOLDEN_FILE
    try:
        name, probabilities = str(values["file"]), tuple(float(each) for each in values["probabilities"])
        data = (folder / "golden" / _inside(name)).read_bytes()
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ArchiveError(f"{place}: {values!r} is no golden example ({error}). {_UNPACK_AGAIN}") from error
    if len(probabilities) != classes:
        raise ArchiveError(
            f"{place}: {name} has {len(probabilities)} probabilities for {classes} classes. {_UNPACK_AGAIN}"
        )
    return GoldenExample(name, data, probabilities)


def _golden_mismatch(archive: Archive, example: GoldenExample, found: Tensor, worst: int, tolerance: float) -> str:
    """What to say of a picture that is answered differently; `worst` is the class furthest off."""
    here, there = package_versions(), archive.card.versions
    changed = [f"{name} {there.get(name)} -> {here[name]}" for name in here if there.get(name) != here[name]]
    return (
        f"Golden picture {archive.folder / 'golden' / example.name}: expected '{archive.card.labels[worst]}' at "
        f"{example.probabilities[worst]:.6f}, found {float(found[worst]):.6f} (tolerance {tolerance:g}). "
        f"This server would answer differently from training. Packages changed since: {', '.join(changed) or 'none'}."
    )


def _class_entry(values: Any) -> ClassEntry:  # noqa: ANN401  whatever the JSON file held
    if not isinstance(values, dict):
        raise ContractError(f"Model card: classes holds {values!r}. Expected {{'folder': ..., 'label': ...}}.")
    return ClassEntry(_value(values, "folder", (str,)), _value(values, "label", (str,)))


def _value(values: Mapping[str, Any], name: str, kinds: tuple[type, ...]) -> Any:  # noqa: ANN401  any JSON value
    if name not in values:
        raise ContractError(f"Model card: '{name}' is missing.")
    if type(values[name]) not in kinds:
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ContractError(f"Model card: '{name}' is {values[name]!r}. Expected {expected}.")
    return values[name]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
