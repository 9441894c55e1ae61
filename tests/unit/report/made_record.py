"""Records of runs for the verdict's tests: a sound one, as measured on photos, and what makes it otherwise."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kennel.report.record import RunRecord

CLASSES = [f"{number:03d}.Class_{number}" for number in range(20)]
SETTINGS = {
    "epochs": 30,
    "lr": 0.003,
    "optimizer": "adamw",
    "batch-size": 32,
    "trainable": "head",
    "weights": "auto",
    "image-size": 224,
    "views": 1,
    "mixup": 0.0,
    "patience": 5,
}
LABELS = 32


class MadeTrial:
    """A trial in memory: values[name, mode] and statistics[name, mode] by step."""

    facts: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], dict[int, NDArray[Any]]] = {}
        self.statistics: dict[tuple[str, str], dict[int, dict[str, float]]] = {}

    def names(self, *, collection: str | None = None, regex: str | None = None) -> list[str]:
        pattern = {"losses": "loss", "gradients": "gradient/"}[str(collection)]
        return sorted({name for name, _ in {**self.values, **self.statistics} if pattern in name})

    def steps_of(self, name: str, mode: str = "GLOBAL") -> list[int]:
        return sorted({**self.values.get((name, mode), {}), **self.statistics.get((name, mode), {})})

    def value(self, name: str, step: int, mode: str = "GLOBAL") -> NDArray[Any] | None:
        return self.values.get((name, mode), {}).get(step)

    def statistic(self, name: str, step: int, which: str, mode: str = "GLOBAL") -> float | None:
        return self.statistics.get((name, mode), {}).get(step, {}).get(which)


def made_trial(
    *,
    shift: float = 0.0,
    numbers: int = 512,
    logits: tuple[float, float, float] = (-16.0, 11.0, -3.5),
    zero_share: float = 0.0,
    gradient: float = 0.1,
    nonfinite: float = 0.0,
    losses: Sequence[float] = (3.0, 2.0, 1.0, 0.5, 0.2, 0.1),
) -> MadeTrial:
    """shift: of the validation pictures, in standard deviations of a picture. logits: min, max, mean."""
    trial, draw = MadeTrial(), np.random.default_rng(0)
    steps = list(range(0, 5 * len(losses), 5))
    trial.values["loss_output_0", "TRAIN"] = {step: np.array(loss) for step, loss in zip(steps, losses, strict=True)}
    trial.values["labels", "TRAIN"] = {step: np.zeros(LABELS) for step in steps}
    trial.values["labels", "EVAL"] = {3: np.zeros(200), 7: np.zeros(200)}
    trial.values["inputs_mean", "TRAIN"] = {step: draw.normal(0, LABELS**-0.5, numbers) for step in steps}
    mean = draw.normal(0, 200**-0.5, numbers) + shift
    trial.values["inputs_mean", "EVAL"] = {3: mean, 7: mean}
    low, high, middle = logits
    first = {"min": 0.0, "max": 0.0, "mean": 0.0, "zero_share": 1.0}
    later = {"min": low, "max": high, "mean": middle, "zero_share": zero_share}
    trial.statistics["logits", "TRAIN"] = {step: later if step else first for step in steps}
    trial.statistics["logits", "EVAL"] = {3: later, 7: later}
    trial.statistics["inputs", "TRAIN"] = {step: {"nonfinite_share": nonfinite} for step in steps}
    trial.statistics["gradient/Linear_weight", "TRAIN"] = {step: {"abs_mean": gradient} for step in steps}
    return trial


def epochs(
    *, train_loss: Sequence[float], train: Sequence[float], valid_loss: Sequence[float], valid: Sequence[float]
) -> list[dict[str, float]]:
    rows = zip(train_loss, train, valid_loss, valid, strict=True)
    return [
        {
            "epoch": number,
            "train_loss": row[0],
            "train_accuracy": row[1],
            "valid_loss": row[2],
            "valid_accuracy": row[3],
            "seconds": 0.5,
        }
        for number, row in enumerate(rows, start=1)
    ]


SOUND = epochs(
    train_loss=[1.99, 0.62, 0.2, 0.06, 0.04, 0.039],
    train=[0.47, 0.93, 0.97, 0.99, 0.99, 0.99],
    valid_loss=[1.16, 0.6, 0.43, 0.387, 0.386, 0.387],
    valid=[0.755, 0.83, 0.86, 0.92, 0.92, 0.92],
)


def evaluation(*, valid: float = 0.92, test: float | None = 0.925, images: int = 200, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    def of(accuracy: float) -> dict[str, Any]:
        rows = [{"class": name, "images": images // 20, "accuracy": accuracy} for name in CLASSES]
        return {"images": images, "accuracy": accuracy, "loss": 0.4, "per_class": rows}

    return {
        "classes": CLASSES,
        "best_epoch": 5,
        "temperature": 1.1,
        "abstain_threshold": 0.0,
        "ece_before": 0.05,
        "ece_after": 0.04,
        "valid": of(valid),
        "test": None if test is None else of(test),
        **more,
    }


def made_record(**changes: Any) -> RunRecord:  # noqa: ANN401
    """A sound run with changes; settings=... are hyperparameters that differ."""
    settings = {**SETTINGS, **changes.pop("settings", {})}
    sound = RunRecord(
        name="made",
        status="Completed",
        hyperparameters=settings,
        history=SOUND,
        best_epoch=5,
        evaluation=evaluation(),
        facts={"classes": CLASSES, "is_pretrained": True, "uses_features": True, "activations": []},
        split={"train": [f"train/{CLASSES[number % 20]}/{number}.jpg" for number in range(800)]},
        trial=made_trial(),  # type: ignore[arg-type]  # a trial in memory
        timeline=made_timeline(),
    )
    return dataclasses.replace(sound, **changes)


def made_timeline(*, data_wait: float = 0.1, **more: float) -> dict[str, Any]:
    """Seconds in all; ten epochs of 25 steps."""
    phases = {"data_wait": data_wait, "forward": 1.0, "backward": 1.0, "optimizer": 0.5, "eval": 0.2, **more}
    return {
        "phases": {**phases, "start": 5.0, "features": 20.0},
        "epochs": [{"epoch": 1, "phases": phases, "steps": 250, "seconds": sum(phases.values())}],
        "steps": {"TRAIN": {"count": 250}},
        "readers": 2,
    }


def made_rule(name: str, *, status: str = "IssuesFound", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "RuleName": name,
        "RuleConfigurationName": name,
        "kind": "debug",
        "RuleEvaluationStatus": status,
        "StatusDetails": f"{name} looked at 30 steps",
        "findings": [{"message": f"{name} saw it at step 15"}] if status == "IssuesFound" else [],
        "violations": 3 if status == "IssuesFound" else 0,
        "steps_seen": 30,
        "meaning": f"what {name} means",
        "remedy": f"what to do about {name}",
        **more,
    }
