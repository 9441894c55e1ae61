"""A run folder as a debugged training leaves it, made up in a moment: for what reads runs and trains nothing."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kennel.profile.trace_files import TraceWriter

STARTED = 1_795_260_679.0


def make_run(
    folder: Path,
    *,
    classes: Sequence[str] = ("001.Red_setter", "002.Green_finch", "003.Blue_whale", "004.Grey_wolf"),
    images: int = 40,
    pictures: Path | None = None,
    is_debugged: bool = True,
    accuracy: float = 0.7,
) -> Path:
    """Writes the run's files, seeded. images: of each of validation and test. pictures: the data channel, which gets a
    noisy picture for each image that is not there yet."""
    rng = np.random.default_rng(0)
    results = folder / "ml" / "output" / "data"
    evaluation: dict[str, Any] = {"classes": list(classes), "best_epoch": 3, "temperature": 1.1}
    evaluation |= {"abstain_threshold": 0.4, "ece_before": 0.08, "ece_after": 0.05}
    split: dict[str, Any] = {"layout": "split", "seed": None, "train": []}
    split["train"] = [f"{name}/{number}.jpg" for name in classes for number in range(7)]
    for part in ("valid", "test"):
        rows = _answers(rng, classes, images, accuracy)
        evaluation[part] = _figures(rows, classes)
        split[part] = [row["path"] for row in rows]
        _write(results / f"predictions-{part}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        if pictures:
            _pictures(pictures / part, split[part])
    _write(results / "evaluation.json", json.dumps(evaluation))
    _write(results / "split.json", json.dumps(split))
    _write(results / "history.json", json.dumps(_history()))
    _write(folder / "ml" / "model" / "model.json", json.dumps(_card(classes)))
    _write(folder / "job.json", json.dumps({"request": {}, "description": _job(folder.name, pictures), "tags": []}))
    _write(folder / "log.txt", "settings epochs=5\ndone\n")
    if is_debugged:
        _debugged(folder)
    return folder


def _answers(rng: np.random.Generator, classes: Sequence[str], images: int, accuracy: float) -> list[dict[str, Any]]:
    rows = []
    for number in range(images):
        target = number % len(classes)
        winner = target if rng.random() < accuracy else int(rng.integers(len(classes)))
        logits = rng.normal(size=len(classes))
        logits[winner] = logits.max() + rng.exponential(2.0)
        probabilities = np.exp(logits) / np.exp(logits).sum()
        row = {"path": f"{classes[target]}/picture_{number:04}.jpg", "target": classes[target]}
        row |= {"label": classes[winner].split(".", 1)[-1], "probability": float(probabilities[winner])}
        rows.append({**row, "probabilities": [float(each) for each in probabilities]})
    return rows


def _figures(rows: list[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    matrix = np.zeros((len(classes), len(classes)), dtype=int)
    for row in rows:
        matrix[classes.index(row["target"]), int(np.argmax(row["probabilities"]))] += 1
    per_class = []
    for number, name in enumerate(classes):
        hits, of, answered = int(matrix[number, number]), int(matrix[number].sum()), int(matrix[:, number].sum())
        per_class.append(
            {
                "class": name,
                "images": of,
                "accuracy": hits / of if of else None,
                "precision": hits / answered if answered else None,
                "f1": 2 * hits / (of + answered) if of + answered else None,
            }
        )
    right = float(np.trace(matrix)) / len(rows)
    figures = {"images": len(rows), "loss": 0.93, "accuracy": right, "top5": 0.97, "macro_f1": right - 0.01}
    return {**figures, "per_class": per_class, "confusion_matrix": matrix.tolist()}


def _pictures(folder: Path, paths: Sequence[str]) -> None:
    noise = random.Random(0)
    for path in paths:
        target = folder / path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            tint = tuple(noise.randrange(256) for _ in range(3))
            picture = Image.effect_noise((200, 150), 60).convert("RGB")
            Image.blend(picture, Image.new("RGB", picture.size, tint), 0.5).save(target)


def _history() -> list[dict[str, float]]:
    train, valid = (1.9, 1.1, 0.7, 0.5, 0.4), (1.5, 1.0, 0.93, 0.94, 0.99)
    return [
        {
            "epoch": epoch,
            "lr": 0.001 / epoch,
            "train_loss": train[epoch - 1],
            "train_accuracy": 0.5 + epoch / 12,
            "valid_loss": valid[epoch - 1],
            "valid_accuracy": 0.5 + epoch / 25,
            "valid_top5": 0.9,
            "images_per_s": 1234.5,
            "seconds": 2.5,
        }
        for epoch in range(1, 6)
    ]


def _card(classes: Sequence[str]) -> dict[str, Any]:
    return {
        "format_version": 1,
        "backbone": "resnet18",
        "head": "linear",
        "classes": [{"folder": name, "label": name.split(".", 1)[-1]} for name in classes],
        "temperature": 1.1,
        "abstain_threshold": 0.4,
        "hyperparameters": {"backbone": "resnet18", "lr": 0.001, "epochs": 5},
        "data_digest": "d" * 64,
        "versions": {"kennel": "0.1.0", "torch": "2.15.0"},
        "git_commit": None,
        "created": "2026-11-21T11:31:32+00:00",
    }


def _job(name: str, pictures: Path | None) -> dict[str, Any]:
    channel = {"ChannelName": "data", "DataSource": {"S3DataSource": {"S3Uri": f"file://{pictures}"}}}
    return {
        "TrainingJobName": name,
        "TrainingJobStatus": "Completed",
        "CreationTime": "2026-11-21T11:31:19+00:00",
        "TrainingStartTime": "2026-11-21T11:31:19+00:00",
        "TrainingEndTime": "2026-11-21T11:31:39+00:00",
        "SecondaryStatusTransitions": [
            {"Status": "Training", "StartTime": "2026-11-21T11:31:19+00:00", "EndTime": "2026-11-21T11:31:38.500+00:00"}
        ],
        "InputDataConfig": [channel] if pictures else [],
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        "AlgorithmSpecification": {"TrainingImage": "kennel-train:0.1.0"},
        "BillableTimeInSeconds": 20,
        "HyperParameters": {"epochs": '"5"'},
    }


def _debugged(folder: Path) -> None:
    profiler = folder / "ml" / "output" / "profiler"
    _write(profiler / "kennel-timeline.json", json.dumps(_timeline()))
    _trace(profiler)
    _system(profiler)
    _write(folder / "ml" / "output" / "tensors" / "kennel.json", json.dumps({"version": 1, "overhead": _overhead()}))
    for rule in made_rules():
        _write(folder / "rules" / f"{rule['RuleConfigurationName']}.json", json.dumps(rule))


def _overhead() -> dict[str, Any]:
    return {"seconds": 0.21, "saved_steps": 12, "per_saved_step_ms": 17.5, "share": 0.0168, "bytes": 90_000}


def _timeline() -> dict[str, Any]:
    phases = {"start": 3.0, "data_wait": 1.5, "forward": 4.25, "backward": 6.0, "optimizer": 0.5, "eval": 1.0}
    epoch = {"data_wait": 0.3, "forward": 0.85, "backward": 1.2, "optimizer": 0.1, "eval": 0.2}
    inner = [{"name": "aten::mkldnn_convolution", "value_ms": 30.0, "children": []}]
    conv = [{"name": "aten::conv2d", "value_ms": 40.0, "children": inner}]
    step = {"count": 50, "mean_ms": 245.0, "p50_ms": 240.0, "p95_ms": 300.0, "max_ms": 512.25, "std_ms": 31.5}
    return {
        "version": 1,
        "started": STARTED,
        "first_step": STARTED + 4,
        "ended": STARTED + 20,
        "phases": phases,
        "epochs": [{"epoch": number, "phases": epoch, "steps": 10, "seconds": 2.65} for number in range(1, 6)],
        "steps": {"TRAIN": step, "EVAL": {**step, "count": 10}},
        "readers": 2,
        "operators": [
            {
                "name": "aten::conv2d",
                "calls": 20,
                "cpu_ms": 40.0,
                "cuda_ms": 0.0,
                "self_cpu_ms": 10.0,
                "phase": "forward",
            },
            {
                "name": "aten::add_",
                "calls": 60,
                "cpu_ms": 4.0,
                "cuda_ms": 0.0,
                "self_cpu_ms": 4.0,
                "phase": "optimizer",
            },
        ],
        "flame": [
            {"name": "forward", "value_ms": 60.0, "children": conv},
            {"name": "backward", "value_ms": 90.0, "children": []},
        ],
    }


def _trace(profiler: Path) -> None:
    writer = TraceWriter(profiler, host="algo-1")
    at = int((STARTED + 4) * 1e9)
    for number in range(12):
        begin = at
        for phase, ms in (("data_wait", 20), ("forward", 85), ("backward", 120), ("optimizer", 10)):
            writer.add(phase, at, ms * 10**6, mode="TRAIN", number=number)
            at += ms * 10**6
        writer.add_step("TRAIN", begin, at - begin, number=number)
        at += 10**6
    writer.flush([])


def _system(profiler: Path) -> None:
    lines = []
    for tick in range(40):
        sample = {"NodeId": "algo-1", "Timestamp": STARTED + tick / 2}
        values = [("cpu", f"cpu{core}", "CPUUtilization", 50 + core * 20 + tick % 7) for core in range(2)]
        values += [("cpu", f"cpu{core}", "I/OWaitPercentage", tick % 3) for core in range(2)]
        values += [("memory", "MemoryUsedPercent", "", 40 + tick / 10), ("i/o", "IOPS", "", tick * 3)]
        values += [("i/o", "ReadThroughputInBytesPerSecond", "", tick * 1e5)]
        values += [("network", "ReceiveBytesPerSecond", "Algorithm", tick * 1e3)]
        lines += [
            {"Type": kind, "Name": name, "Dimension": part, "Value": value, **sample}
            for kind, name, part, value in values
        ]
    path = profiler / "system" / "incremental" / "2026112111" / "1795260660.algo-1.json"
    _write(path, "".join(json.dumps(line) + "\n" for line in lines))


def made_rules() -> list[dict[str, Any]]:
    """One that fired, one with nothing to find, one that saw too little."""
    whole = {
        "kind": "debug",
        "LastModifiedTime": STARTED + 20,
        "steps_needed": 10,
        "datapoints": 12,
        "stop_training": False,
    }
    finding = {"step": 40, "mode": "EVAL", "tensor": "CrossEntropyLoss_output_0", "measure": "validation over training"}
    finding |= {"value": 0.4735, "threshold": 0.1, "message": "validation loss 0.99, training loss 0.4"}
    fired: dict[str, Any] = {
        "RuleConfigurationName": "Overfit",
        "RuleName": "Overfit",
        "RuleEvaluationStatus": "IssuesFound",
        "StatusDetails": "2 of 12 steps: validation loss is 47 % above training loss",
        "parameters": {"ratio_threshold": 0.1, "patience": 1},
        "steps_seen": 12,
        "too_few": False,
        "checks": [{"name": "ratio", "outcome": "fired", "detail": "0.47 > 0.1"}],
        "findings": [finding, {**finding, "step": 50, "value": "NaN"}],
        "violations": 2,
        "meaning": "The net learns its training pictures by heart.",
        "remedy": "More pictures, more augmentation, or fewer epochs.",
        "actions": [{"name": "StopTraining", "outcome": "not asked for"}],
    }
    quiet = {
        "parameters": {},
        "steps_seen": 12,
        "too_few": False,
        "checks": [],
        "findings": [],
        "violations": 0,
        "actions": [],
    }
    return [
        {**whole, **fired},
        {
            **whole, **quiet, "RuleConfigurationName": "LossNotDecreasing", "RuleName": "LossNotDecreasing",
            "RuleEvaluationStatus": "NoIssuesFound", "StatusDetails": "looked at 12 steps", "meaning": "", "remedy": "",
        },
        {
            **whole, **quiet, "RuleConfigurationName": "DeadRelu", "RuleName": "DeadRelu",
            "too_few": True, "steps_seen": 1, "RuleEvaluationStatus": "NoIssuesFound",
            "StatusDetails": "looked at 1 step, needs 10: nothing can be said",
            "meaning": "", "remedy": "",
        },
    ]  # fmt: skip


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
