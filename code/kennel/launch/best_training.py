"""What `train --best-of` takes over from a tuning job: the best training's hyperparameters and pretrained weights.

taken = take_over("dogs-1", {"epochs": "20"}, open_place("local"))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kennel.errors import UserError
from kennel.hyperparameters import Hyperparameters
from kennel.launch.jobs import describe_training_job
from kennel.launch.places import Place
from kennel.launch.tuning import ENDED, bare_values, best_of, describe_tuning_job

Json = dict[str, Any]


@dataclass(frozen=True)
class TakenOver:
    """hyperparameters: the best training's under those given. weights_uri: of its weights channel. said: in words."""

    hyperparameters: Mapping[str, str]
    weights_uri: str | None
    said: str


def take_over(tuning_job: str, given: Mapping[str, str], place: Place) -> TakenOver:
    """The best training of a tuning job that has ended. given: what wins over it, from -p.

    Raises UserError where there is no such tuning job, it still searches, or it found nothing.
    """
    best = _best(tuning_job, place)
    training = describe_training_job(best["TrainingJobName"], place)
    found = bare_values(training.get("HyperParameters", {}))
    changed = {_plain(name) for name in given}
    kept = {name: value for name, value in found.items() if _plain(name) not in changed}
    weights = _weights(training)
    if weights and (_plain("weights") in changed or _is_other_backbone(found, given)):
        weights = None
    lines = [f"of {best['TrainingJobName']}, the best of {tuning_job}: {_words(kept)}"]
    if weights:
        lines.append(f"  weights: {weights}")
    if given:
        lines.append(f"  and given: {_words(given)}")
    return TakenOver({**kept, **given}, weights, "\n".join(lines))


def _best(tuning_job: str, place: Place) -> Json:
    description = describe_tuning_job(tuning_job, place)
    status, best = description["HyperParameterTuningJobStatus"], best_of(description)
    if status not in ENDED:
        raise UserError(
            f"Tuning job '{tuning_job}' is {status}: its best training is not known yet. Wait for its end, or stop it."
        )
    if best is None:
        reason = description.get("FailureReason") or "No training of it has ended with an objective."
        raise UserError(f"Tuning job '{tuning_job}' is {status} and has no best training. {reason}")
    return best


def _weights(training: Mapping[str, Any]) -> str | None:
    channels: Sequence[Json] = training.get("InputDataConfig") or []
    found = [each["DataSource"]["S3DataSource"]["S3Uri"] for each in channels if each["ChannelName"] == "weights"]
    return found[0] if found else None


def _is_other_backbone(found: Mapping[str, str], given: Mapping[str, str]) -> bool:
    """Whether the weights are those of another network than the one asked for."""
    return "backbone" in given and given["backbone"] != found.get("backbone", Hyperparameters.backbone)


def _words(hyperparameters: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in hyperparameters.items()) or "nothing"


def _plain(name: str) -> str:
    return name.replace("-", "_")
