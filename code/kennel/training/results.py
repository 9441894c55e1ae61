"""What a training leaves: the archive in the model folder, and the numbers behind it in output/data.

model/                      the archive: becomes model.tar.gz
output/data/                becomes output.tar.gz
  split.json                which picture was in which split
  history.json              one object an epoch
  evaluation.json           calibration; validation and test: loss, accuracy, top-5, macro F1, per class, confusion
  predictions-valid.jsonl   a line an image: path, target, label, probability, probabilities
  predictions-test.jsonl
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from kennel.dataset.folders import Dataset, Example
from kennel.hyperparameters import Hyperparameters
from kennel.images.transforms import EvalTransform
from kennel.metrics import final_line
from kennel.model.archive import ClassEntry, ModelCard, package_versions
from kennel.model.classifier import Classifier
from kennel.model.trained import write_archive
from kennel.paths import MlPaths
from kennel.training.calibration import Calibration
from kennel.training.evaluation import describe, predicted
from kennel.training.golden import golden_pictures
from kennel.training.provenance import git_commit
from kennel.training.writing import needs_space, write_json, write_whole

_SUMMARY: Final = ("loss", "accuracy", "top5", "macro_f1")


@dataclass(frozen=True)
class Outcome:
    """A trained network and what it said of the pictures.

    probabilities: split -> float32 (N, C) at the temperature of `calibration`; without splits that were not looked at.
    """

    model: Classifier
    transform: EvalTransform
    calibration: Calibration
    probabilities: Mapping[str, Tensor]
    history: Sequence[Mapping[str, float]]
    best_epoch: int


def write_results(
    paths: MlPaths, outcome: Outcome, dataset: Dataset, settings: Hyperparameters, *, digest: str
) -> None:
    """Writes everything, the archive last, and prints the final metric line.

    Raises DiskFullError; an archive that did not find room is no archive to whoever reads it.
    """
    folders = [each.folder for each in dataset.classes]
    metrics = {
        split: describe(probabilities, _targets(dataset.splits[split]), folders)
        for split, probabilities in outcome.probabilities.items()
    }
    folder = paths.output_data_dir
    write_json(folder / "split.json", dataset.split_record())
    write_json(folder / "history.json", list(outcome.history))
    write_json(folder / "evaluation.json", _evaluation(outcome, metrics, folders))
    for split, probabilities in outcome.probabilities.items():
        write_whole(folder / f"predictions-{split}.jsonl", _lines(dataset, split, probabilities))
    card = _card(outcome, metrics, dataset, settings, digest)
    size_bytes = sum(tensor.nbytes for tensor in outcome.model.state_dict().values())
    paths.model_dir.mkdir(parents=True, exist_ok=True)
    with needs_space(paths.model_dir, size_bytes=size_bytes):
        write_archive(paths.model_dir, outcome.model, card, golden=golden_pictures())
    tested = {f"test_{key}": metrics["test"][key] for key in _SUMMARY} if "test" in metrics else {}
    if not tested:
        print("no test images were evaluated: the final line says what the kept epoch's said", flush=True)
    print(final_line({**_kept_epoch(outcome), **tested}), flush=True)


def _kept_epoch(outcome: Outcome) -> dict[str, float]:
    """The numbers of the epoch whose weights are in the archive, as its own line gave them: before calibration."""
    epoch = next(each for each in outcome.history if each["epoch"] == outcome.best_epoch)
    return {key: epoch[key] for key in ("valid_loss", "valid_accuracy", "valid_top5")}


def _targets(examples: Sequence[Example]) -> Tensor:
    return torch.tensor([example.target for example in examples])


def _evaluation(outcome: Outcome, metrics: Mapping[str, Any], folders: Sequence[str]) -> dict[str, Any]:
    return {
        "classes": list(folders),
        "best_epoch": outcome.best_epoch,
        **asdict(outcome.calibration),
        "valid": metrics.get("valid"),
        "test": metrics.get("test"),
    }


def _lines(dataset: Dataset, split: str, probabilities: Tensor) -> bytes:
    lines = []
    for example, row, winner in zip(
        dataset.splits[split], probabilities.tolist(), predicted(probabilities).tolist(), strict=True
    ):
        line = {
            "path": example.relative,
            "target": dataset.classes[example.target].folder,
            "label": dataset.classes[winner].label,
            "probability": row[winner],
            "probabilities": row,
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return "".join(lines).encode()


def _card(
    outcome: Outcome, metrics: Mapping[str, Any], dataset: Dataset, settings: Hyperparameters, digest: str
) -> ModelCard:
    return ModelCard(
        backbone=settings.backbone,
        head=settings.head,
        classes=tuple(ClassEntry(each.folder, each.label) for each in dataset.classes),
        eval_transform=outcome.transform,
        temperature=outcome.calibration.temperature,
        abstain_threshold=outcome.calibration.abstain_threshold,
        metrics={split: {key: values[key] for key in _SUMMARY} for split, values in metrics.items()},
        hyperparameters=settings.to_mapping(),
        data_digest=digest,
        versions=package_versions(),
        git_commit=git_commit(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
