"""What the epochs say: the curves, the epoch that was kept, and where the training should have stopped."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

# Less than this share of the validation loss is noise of a validation set of some hundred pictures.
WORTHWHILE: Final = 0.01
_NUMBER: Final = re.compile(r"(\w+)=([-+.\dEe]+|[-+]?nan|[-+]?inf)(?=\s|$)")


def learning(history: list[dict[str, float]], best_epoch: int | None) -> dict[str, Any]:
    """The section: the epochs as they are, and what to say of them. Empty `epochs` where no epoch ended."""
    stop = should_stop(history)
    return {
        "epochs": history,
        "kept_epoch": best_epoch,
        "stop_epoch": stop,
        "worthwhile_share": WORTHWHILE,
        "sentence": _sentence(history, best_epoch, stop),
    }


def history_of_log(lines: list[str]) -> list[dict[str, float]]:
    """The epochs that a log's metric lines tell of: all there is of a training that failed on its way."""
    epochs = [values for line in lines if (values := history_line_epoch(line))]
    latest = {values["epoch"]: values for values in epochs}  # one that went on from a checkpoint may repeat an epoch
    return [latest[epoch] for epoch in sorted(latest)]


def history_line_epoch(line: str) -> dict[str, float] | None:
    """The numbers of an epoch's line, as history.json has them; None for another line."""
    match = re.search(r"(?:^|\s)epoch=(\d+)/\d+\s(.*)", line)
    if match is None:
        return None
    return {"epoch": int(match[1]), **{key: float(value) for key, value in _NUMBER.findall(match[2])}}


def best_epoch(history: list[dict[str, float]]) -> int | None:
    """The epoch with the smallest validation loss, which is the one a training keeps."""
    known = [row for row in history if math.isfinite(_loss(row))]
    return int(min(known, key=lambda row: row["valid_loss"])["epoch"]) if known else None


def should_stop(history: list[dict[str, float]]) -> int | None:
    """The first epoch after which the validation loss never fell by another 1 %; None if that is the last one.

    An epoch without a finite validation loss is no epoch to stop at.
    """
    known = [(int(row["epoch"]), _loss(row)) for row in history if math.isfinite(_loss(row))]
    for index, (epoch, loss) in enumerate(known[:-1]):
        if min(later for _, later in known[index + 1 :]) > loss * (1 - WORTHWHILE):
            return epoch
    return None


def _loss(row: Mapping[str, float]) -> float:
    """The validation loss; no number where there is none, or something else."""
    value = row.get("valid_loss")
    return float(value) if isinstance(value, int | float) else math.nan


def _sentence(history: list[dict[str, float]], kept: int | None, stop: int | None) -> str:
    if not history:
        return ""
    last = int(history[-1]["epoch"])
    losses = {int(row["epoch"]): _loss(row) for row in history}
    if kept is None:
        return f"{last} epochs, none of them with a finite validation loss: there was nothing to keep."
    smallest = f"its validation loss, {losses.get(kept, math.nan):.4g}, is the smallest"
    begin = f"Of {last} epochs, epoch {kept} was kept: {smallest}."
    if last == 1:
        return "One epoch, which was kept. Where to stop can be said of several only."
    if stop is None:
        return f"{begin} The loss was still falling at the end: more epochs may help."
    best = min(loss for loss in losses.values() if math.isfinite(loss))
    return (
        f"{begin} After epoch {stop} ({losses[stop]:.4g}) it never fell by another 1 % (best {best:.4g}): "
        f"stopping there would have saved {last - stop} of {last} epochs."
    )
