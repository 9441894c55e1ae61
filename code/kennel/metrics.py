"""The metric lines a training prints, and the regexes SageMaker reads them by, side by side.

The platform scans the log with each job's `MetricDefinitions`; a name that changes here changes in both.
Print from rank 0 only.
"""

import re
from collections.abc import Mapping
from typing import Final, TypedDict

# One group, anchored on the left so that `loss` never matches inside `valid_loss`; nan and inf stay out.
_NUMBER: Final = r"([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"

# Name in SageMaker -> key in the printed line.
EPOCH_METRICS: Final[Mapping[str, str]] = {
    "train:loss": "train_loss",
    "train:accuracy": "train_accuracy",
    "validation:loss": "valid_loss",
    "validation:accuracy": "valid_accuracy",
    "validation:top5": "valid_top5",
    "train:images_per_second": "images_per_s",
    "train:epoch_seconds": "seconds",
}
# The last line says again what the kept epoch's line said: of a tuning job's objective the last value counts, and the
# last epoch is not the one that is kept.
FINAL_METRICS: Final[Mapping[str, str]] = {
    "validation:loss": "valid_loss",
    "validation:accuracy": "valid_accuracy",
    "validation:top5": "valid_top5",
    "test:loss": "test_loss",
    "test:accuracy": "test_accuracy",
    "test:top5": "test_top5",
    "test:macro_f1": "test_macro_f1",
}


class MetricDefinition(TypedDict):
    """One entry of CreateTrainingJob's MetricDefinitions."""

    Name: str
    Regex: str


def metric_definitions() -> list[MetricDefinition]:
    """What a job description passes as MetricDefinitions, in the order the line prints them."""
    return [
        {"Name": name, "Regex": rf"(?:^|\s){key}={_NUMBER}"} for name, key in {**EPOCH_METRICS, **FINAL_METRICS}.items()
    ]


def epoch_line(epoch: int, epochs: int, values: Mapping[str, float]) -> str:
    """`epoch=3/10 train_loss=0.4312 ... seconds=3.21`, with every key of EPOCH_METRICS."""
    return f"epoch={epoch}/{epochs} " + _pairs(EPOCH_METRICS, values)


def final_line(values: Mapping[str, float]) -> str:
    """`final valid_loss=... test_loss=...`: what is there of FINAL_METRICS; without test images there is no test_*."""
    return "final " + _pairs({name: key for name, key in FINAL_METRICS.items() if key in values}, values)


def read_metrics(line: str) -> dict[str, float]:
    """SageMaker's names and values found in one log line; empty if it is not a metric line."""
    found = {}
    for definition in metric_definitions():
        match = re.search(definition["Regex"], line)
        if match:
            found[definition["Name"]] = float(match.group(1))
    return found


def _pairs(metrics: Mapping[str, str], values: Mapping[str, float]) -> str:
    return " ".join(f"{key}={values[key]:.6g}" for key in metrics.values())
