"""How to make a foreign image work: its hyperparameters, its metric lines, a request it can answer.

An image says it by its label `dev.kennel.conformance`, JSON with any of these keys (all optional):

    hyperparameters          {"epochs": "2"}      of every training run; few steps, fixed seed
    long_hyperparameters     {"epochs": "50"}     laid over them in the runs that are stopped and restarted
    failing_hyperparameters  {"epochs": "-1"}     laid over them in the run that must fail (its channels are empty)
    metric_definitions       [{"Name", "Regex"}]  as in CreateTrainingJob
    compare_metrics          ["train:loss"]       those that must agree between two equal runs (by default
                                                  those with loss, accuracy, error or f1 in their names)
    distributed              true                 it trains on several hosts: checked with two
    tolerance                0.02                 by which a metric of two hosts may differ from that of one (relative)
    environment              {"LOG_LEVEL": "20"}  variables of every run
    channels                 {"training": "."}    channel -> folder inside the data folder (this is the default)
    timeout_s                600                  the longest any one run may take
    request                  {"body" | "base64" | "file", "content_type", "accept"}   what /invocations can answer

Options of the command line win over the label.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from kennel.errors import UserError

LABEL: Final = "dev.kennel.conformance"


@dataclass(frozen=True)
class Exercise:
    """The label's keys under the same names. Channels of the command line are absolute paths."""

    channels: Mapping[str, str] = field(default_factory=lambda: {"training": "."})
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    long_hyperparameters: Mapping[str, str] = field(default_factory=dict)
    failing_hyperparameters: Mapping[str, str] = field(default_factory=dict)
    metric_definitions: tuple[Mapping[str, str], ...] = ()
    compare_metrics: tuple[str, ...] = ()
    distributed: bool = False
    tolerance: float = 0.02
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 600.0
    request: Mapping[str, Any] = field(default_factory=dict)


def read_label(labels: Mapping[str, str]) -> Exercise:
    """What the image says of itself. Raises UserError for a label that cannot be read or has an unknown key."""
    text = labels.get(LABEL)
    if not text:
        return Exercise()
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"Label {LABEL} is no JSON ({error}): {text[:200]}") from error
    known = {each.name for each in fields(Exercise)}
    if not isinstance(content, dict) or not set(content) <= known:
        unknown = sorted(set(content) - known) if isinstance(content, dict) else type(content).__name__
        raise UserError(f"Label {LABEL} has {unknown}. Expected an object with any of {sorted(known)}.")
    return Exercise(**{key: _typed(key, value) for key, value in content.items()})


def override(exercise: Exercise, **changes: Any) -> Exercise:  # noqa: ANN401
    """The exercise with what the command line gave; hyperparameters are laid over the label's one by one."""
    given = {key: value for key, value in changes.items() if value}
    if "hyperparameters" in given:
        given["hyperparameters"] = {**exercise.hyperparameters, **given["hyperparameters"]}
    return replace(exercise, **given)


def _typed(key: str, value: Any) -> Any:  # noqa: ANN401
    """A value of the label as Exercise holds it; UserError if it is of another kind."""
    empty = getattr(Exercise(), key)
    if key.endswith("hyperparameters") and isinstance(value, dict):
        return {name: each if isinstance(each, str) else json.dumps(each) for name, each in value.items()}
    wanted: tuple[type, ...] = {tuple: (list,), float: (int, float)}.get(type(empty), (type(empty),))
    if not isinstance(value, wanted):
        raise UserError(f"Label {LABEL}: '{key}' has value {value!r}. Expected {wanted[0].__name__}.")
    return type(empty)(value)
