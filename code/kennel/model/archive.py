"""A trained classifier as files, without pickle: written by training, read by serving and by whoever trains further.

This module reads and checks one with numpy alone; kennel.model.trained, which needs torch, writes them.

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
    model = load_classifier(archive)                # kennel.model.trained; or whatever else computes from archive.state
    replay_golden(archive, array_predictor(model, temperature=archive.card.temperature))

Exercise it: pytest tests/unit/model
"""

import dataclasses
import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from kennel.errors import ArchiveError, ContractError, ImageError
from kennel.images.decode import decode_image
from kennel.images.transforms import EvalTransform

# Images (N, 3, H, W) that went through the card's eval transform, to class probabilities (N, C).
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]

FORMAT_VERSION: Final = 1
CARD_FILE: Final = "model.json"
STATE_FILE: Final = "model.safetensors"
GOLDEN_FILE: Final = "golden/expected.json"

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
    """A model that was read. state: the tensors of the Classifier by name, float32 (counters int64)."""

    folder: Path
    card: ModelCard
    state: Mapping[str, NDArray[Any]]
    golden: tuple[GoldenExample, ...]


def package_versions() -> dict[str, str]:
    """Versions of what a prediction depends on, as the card stores them; without packages that are not installed."""
    installed = ((name, _version(name)) for name in _PACKAGES)
    return {"python": platform.python_version(), **{name: version for name, version in installed if version}}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def read_archive(model_dir: Path) -> Archive:
    """The model in `model_dir`, or in the one folder in it that holds an archive.

    Raises ArchiveError where a file is missing, cut short or changed, and where the format is newer than this program.
    Whether the tensors are those of the card's network says who builds it (check_shapes). Golden pictures are read, not
    replayed (replay_golden).
    """
    folder = _find_card(model_dir)
    values = _read_json(folder / CARD_FILE)
    _check_format(folder, values)
    _check_files(folder, values)
    try:
        card = ModelCard.from_json(values)
    except ContractError as error:
        raise unusable(folder, error) from error
    return Archive(folder, card, _load_state(folder / STATE_FILE), _read_golden(folder, len(card.classes)))


def unusable(folder: Path, reason: Exception) -> ArchiveError:
    """The error for an archive whose files are whole, and whose content no network can be built from."""
    return ArchiveError(f"The archive in {folder} cannot be used. {reason} {_UNPACK_AGAIN}")


def check_shapes(
    card: ModelCard, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises ArchiveError naming the first tensors of a state that are not those of the card's network."""
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if wrong:
        shapes = "; ".join(f"{name}: expected {expected.get(name)}, found {found.get(name)}" for name in wrong[:3])
        raise ArchiveError(
            f"The tensors are not those of backbone {card.backbone}, head {card.head}, {len(card.classes)} classes: "
            f"{len(wrong)} do not fit ({shapes})."
        )


def replay_golden(archive: Archive, predict: Predict, *, tolerance: float = 1e-3) -> None:
    """Decodes the golden pictures again, predicts them with what was built from the archive, and compares.

    Raises ArchiveError naming the picture, what was expected and what was found, if any probability is further than
    `tolerance` from the stored one.
    """
    for example in archive.golden:
        try:
            found = predict_file(example.data, archive.card, predict)
        except ImageError as error:
            raise ArchiveError(f"Golden picture {archive.folder / 'golden' / example.name}: {error}") from error
        expected = np.array(example.probabilities, np.float32)
        difference = np.nan_to_num(np.abs(found - expected), nan=math.inf)
        if not (difference <= tolerance).all():
            raise ArchiveError(_golden_mismatch(archive, example, found, int(difference.argmax()), tolerance))


def predict_file(data: bytes, card: ModelCard, predict: Predict) -> NDArray[np.float32]:
    """Probabilities (C,) of one golden picture's bytes: decoded, transformed, predicted."""
    image = card.eval_transform.array(decode_image(data, name="golden picture"))
    probabilities: NDArray[np.float32] = predict(image[np.newaxis])[0]
    return probabilities


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
        if digest_of(path) != digest:
            raise ArchiveError(
                f"{path} is cut short or changed: its SHA-256 is not the one {CARD_FILE} lists. {_UNPACK_AGAIN}"
            )


def _inside(name: str) -> PurePosixPath:
    """A listed name, which must stay within the archive."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ArchiveError(f"{CARD_FILE} lists '{name}', which is outside of the archive. Do not use this archive.")
    return path


def _load_state(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return load_file(path)
    except (SafetensorError, TypeError, KeyError) as error:  # the last two: numbers of a type that numpy has not
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


def _golden_mismatch(
    archive: Archive, example: GoldenExample, found: NDArray[np.float32], worst: int, tolerance: float
) -> str:
    """What to say of a picture that is answered differently; `worst` is the class furthest off."""
    here, there = package_versions(), archive.card.versions
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    changed = [f"{name} {there.get(name)} -> {here.get(name, 'not installed')}" for name in names]
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


def digest_of(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
