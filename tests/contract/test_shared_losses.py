"""With features shared and without, a training gives the same losses: on real photos, through train.py."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import train

PICTURES = {"train": 6, "valid": 4, "test": 3}
CLASSES = 3


@dataclass(frozen=True)
class Photos:
    """A few of the real photos, and trainings on them."""

    folder: Path
    weights: Path

    def train(self, name: str, settings: dict[str, str], *, shared: Path | None) -> dict[str, Any]:
        """history.json and evaluation.json of a training."""
        base = self.folder / name
        (base / "input" / "data").mkdir(parents=True)
        (base / "input" / "data" / "train").symlink_to(self.folder / "photos")
        os.environ["SAGEMAKER_BASE_DIR"] = str(base)
        os.environ["KENNEL_SHARED_DIR"] = str(shared or "")
        whole = {"weights": str(self.weights), "image-size": "64", "epochs": "3", "batch-size": "6", **settings}
        assert train.main([word for key, value in whole.items() for word in (f"--{key}", value)]) == 0
        data = base / "output" / "data"
        return {kind: json.loads((data / f"{kind}.json").read_text()) for kind in ("history", "evaluation")}


@pytest.fixture
def photos(shared: Path, tmp_path: Path) -> Iterator[Photos]:
    for split, count in PICTURES.items():
        for breed in sorted((shared / "data" / "dogs20" / split).iterdir())[:CLASSES]:
            target = tmp_path / "photos" / split / breed.name
            target.mkdir(parents=True)
            for photo in sorted(breed.iterdir())[:count]:
                (target / photo.name).symlink_to(photo)
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    yield Photos(tmp_path, shared / "weights" / "resnet18-half.pth")
    for signum, handler in before.items():
        signal.signal(signum, handler)


def losses(found: dict[str, Any]) -> list[float]:
    epochs = [epoch[key] for epoch in found["history"] for key in ("train_loss", "valid_loss", "valid_accuracy")]
    return [*epochs, *(found["evaluation"][split][key] for split in ("valid", "test") for key in ("loss", "accuracy"))]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("views", ["1", "3"])
def test_losses_are_the_same_with_sharing_on_and_off(
    photos: Photos, views: str, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"views": views, "precision": precision}
    folder = photos.folder / "shared"
    alone = photos.train("alone", settings, shared=None)
    assert "shared=off" in capsys.readouterr().out
    first = photos.train("first", settings, shared=folder)
    assert capsys.readouterr().out.count("shared=written") == 2  # train and valid; test
    second = photos.train("second", settings, shared=folder)
    assert capsys.readouterr().out.count("shared=read") == 2
    assert losses(first) == pytest.approx(losses(alone), abs=1e-5)
    assert losses(second) == pytest.approx(losses(alone), abs=1e-5)


def test_other_hyperparameters_read_the_same_features_and_learn_otherwise(
    photos: Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photos.folder / "shared"
    photos.train("first", {"views": "2"}, shared=folder)
    capsys.readouterr()
    found = photos.train("second", {"views": "2", "lr": "0.01", "batch-size": "9", "head": "8"}, shared=folder)
    assert capsys.readouterr().out.count("shared=read") == 2
    alone = photos.train("alone", {"views": "2", "lr": "0.01", "batch-size": "9", "head": "8"}, shared=None)
    assert losses(found) == pytest.approx(losses(alone), abs=1e-5)
    capsys.readouterr()
    # One more view keeps the two that are there; another seed draws others.
    photos.train("more", {"views": "3"}, shared=folder)
    assert len(list(folder.glob("train-view*.safetensors"))) == 3
    photos.train("seed", {"views": "2", "seed": "1"}, shared=folder)
    assert len(list(folder.glob("train-view*.safetensors"))) == 5
    assert len(list(folder.glob("valid-*.safetensors"))) == 1
