"""For tests of serving: an archive of a small network with random weights, and pictures for it."""

import io
import json
from pathlib import Path

import torch
from PIL import Image

from kennel.images.transforms import EvalTransform
from kennel.model.archive import ClassEntry, ModelCard, package_versions
from kennel.model.classifier import build_classifier
from kennel.model.trained import write_archive

LABELS = ("Red", "Green", "Löwchen")
CARD = ModelCard(
    backbone="resnet18",
    head="linear",
    classes=tuple(ClassEntry(f"{index:03}.{label}", label) for index, label in enumerate(LABELS, 1)),
    eval_transform=EvalTransform.for_size(32),
    temperature=1.5,
    abstain_threshold=0.99,
    metrics={},
    hyperparameters={},
    data_digest="ab" * 32,
    versions=package_versions(),
    git_commit=None,
    created="2026-11-21T08:15:00+00:00",
)


def picture(kind: str = "PNG", *, colour: str = "teal", size: tuple[int, int] = (48, 40), mode: str = "RGB") -> bytes:
    """A file with a picture whose halves differ."""
    image = Image.new("RGB", size, colour)
    image.paste("white", (0, 0, size[0] // 2, size[1] // 2))
    stream = io.BytesIO()
    image.convert(mode).save(stream, kind)
    return stream.getvalue()


def make_archive(model_dir: Path, *, seed: int = 0) -> Path:
    """An archive with two golden pictures."""
    model_dir.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model = build_classifier(CARD.backbone, CARD.head, len(CARD.classes))
    write_archive(model_dir, model, CARD, golden=[picture(), picture("JPEG", colour="olive")])
    return model_dir


def golden(model_dir: Path) -> list[tuple[bytes, list[float]]]:
    """The golden pictures of an archive with the probabilities they gave."""
    examples = json.loads((model_dir / "golden" / "expected.json").read_text())["examples"]
    return [((model_dir / "golden" / each["file"]).read_bytes(), each["probabilities"]) for each in examples]
