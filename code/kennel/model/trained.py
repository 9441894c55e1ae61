"""A trained classifier in torch: its probabilities, how its archive is written, and how one is read back.

    archive = read_archive(Path("/opt/ml/model"))
    model = load_classifier(archive)
    probabilities = predict_probabilities(model, images, temperature=archive.card.temperature)

The archive itself, and reading one without torch: kennel.model.archive. Exercise it: pytest tests/unit/model
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from kennel.errors import ArchiveError, ContractError, HyperparameterError
from kennel.images.decode import image_format
from kennel.model.archive import (
    CARD_FILE,
    FORMAT_VERSION,
    GOLDEN_FILE,
    STATE_FILE,
    Archive,
    GoldenExample,
    ModelCard,
    Predict,
    check_shapes,
    digest_of,
    predict_file,
    unusable,
)
from kennel.model.classifier import Classifier, build_classifier

MAX_GOLDEN: Final = 4

_EXTENSIONS: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}


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


def array_predictor(model: nn.Module, *, temperature: float) -> Predict:
    """predict_probabilities of a model on the CPU, from arrays to arrays: what replay_golden and a server call."""

    def predict(images: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = predict_probabilities(
            model, torch.from_numpy(images), temperature=temperature
        ).numpy()
        return found

    return predict


def load_classifier(archive: Archive) -> Classifier:
    """The classifier of an archive: on the CPU, in eval mode, float32, without gradients.

    Raises ArchiveError where card and tensors do not belong together.
    """
    try:
        return _rebuild(archive.card, {name: torch.from_numpy(array) for name, array in archive.state.items()})
    except (ContractError, HyperparameterError) as error:
        raise unusable(archive.folder, error) from error


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


def _plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state as float32 on the CPU, contiguous; counters keep their type. What is so already is not copied."""
    return {name: _plain(tensor) for name, tensor in model.state_dict().items()}


def _plain(tensor: Tensor) -> Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    plain = tensor.detach().to("cpu", dtype).contiguous()
    # Of 1 x 1 convolutions channels-last is contiguous too, but for its strides, which change the last digits.
    return plain.view(-1).view(plain.shape)


def _rebuild(card: ModelCard, state: Mapping[str, Tensor]) -> Classifier:
    """A new Classifier without hooks, of the card's shape, in eval mode; its tensors are those of `state`.

    Raises ArchiveError naming the first tensors that do not fit, HyperparameterError for an unknown backbone or head.
    """
    with torch.random.fork_rng(devices=[]):  # the head's random weights must not move a training's generator
        model = build_classifier(card.backbone, card.head, len(card.classes), has_empty_backbone=True)
    check_shapes(card, _shapes(model.state_dict()), _shapes(state))
    model.load_state_dict(dict(state), assign=True)
    return model.eval().requires_grad_(False)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _golden_examples(model: Classifier, card: ModelCard, golden: Sequence[bytes]) -> list[GoldenExample]:
    predict = array_predictor(model, temperature=card.temperature)
    examples = []
    for index, data in enumerate(golden):
        probabilities = predict_file(data, card, predict)
        if not np.isfinite(probabilities).all():
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
    digests = {name: digest_of(path) for name, path in files.items()}
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
