"""Reads what a hook saved: a finished training's tensors, or those of one that still runs.

    trial = open_trial(Path("runs/job/ml/output/tensors"))
    for step in trial.steps("TRAIN"):
        print(trial.statistic("gradient/Linear_weight", step, "abs_mean", "TRAIN"))
    trial.refresh()                            # sees the steps that were saved since

The files are smdebug's, whoever wrote them; statistics come from raw tensors, from smdebug's reductions, or from the
numbers that Kennel's own hook saves in place of them, whatever is there. Beside the network's tensors that hook saves:

    CrossEntropyLoss_output_0     the loss of the step's images (TRAIN, EVAL)
    labels, predictions           int classes of the step's images (TRAIN, EVAL)
    scalar/accuracy               share of them that was right
    inputs, logits                statistics only
    inputs_mean                   float (C,) or (D,): the mean of each channel of pictures, each number of features

Steps count as smdebug counts: within their mode, or over all modes (GLOBAL). Exercise it: pytest tests/unit/debug
"""

import json
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kennel.debug.quiet import quiet_import
from kennel.debug.statistics import (
    ACTIVITY,
    STATISTICS,
    VECTOR,
    describe_array,
    from_reductions,
    unit_activity,
    update_ratio,
)
from kennel.errors import ContractError, UserError
from kennel.rule_files import END_FILE

with quiet_import():
    from smdebug.core.modes import ModeKeys
    from smdebug.core.tensor import Tensor
    from smdebug.exceptions import TensorUnavailableForStep
    from smdebug.trials.local_trial import LocalTrial

FACTS_FILE: Final = "kennel.json"
MODES: Final = ("TRAIN", "EVAL", "GLOBAL")


def open_trial(folder: Path) -> "Trial":
    """The trial of a folder; it may be empty or not there yet. Raises ContractError for files that cannot be read."""
    return Trial(folder)


class Trial:
    """The tensors of a training, as far as they were saved when `refresh` was last called.

    facts: what the hook wrote of the training (kennel.json), or {}.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self._trial: LocalTrial | None = None
        self._described: dict[tuple[str, int], dict[str, float]] = {}
        self._steps: dict[tuple[str, str], dict[int, None]] = {}  # as sets that keep their order
        self.refresh()

    def __repr__(self) -> str:
        return f"Trial({self.folder}, {len(self.steps())} steps)"

    @property
    def is_complete(self) -> bool:
        """Whether the training has ended: nothing is saved any more."""
        return (self.folder / END_FILE).exists()

    def refresh(self) -> None:
        """Looks for steps that were saved since. Raises ContractError for files that cannot be read."""
        self.facts = self._read_facts()
        self._steps.clear()
        if self._trial is None and any((self.folder / "collections").rglob("*_collections.json")):
            self._trial = self._open()  # it would wait for this file without end
        elif self._trial is not None:
            self._reading(self._trial.refresh_data)

    def steps(self, mode: str = "GLOBAL") -> list[int]:
        """The steps of which something was saved, ascending."""
        return self._trial.steps(mode=_mode(mode), show_incomplete_steps=True) if self._trial else []

    def names(self, *, collection: str | None = None, regex: str | None = None) -> list[str]:
        """The tensors of a collection, those with a match of `regex` in their name, or all, sorted.

        Raises UserError for a regex that is none.
        """
        if self._trial is None:
            return []
        found: list[str] = self._trial.tensor_names(collection=collection)
        if regex is None:
            return found
        try:
            return [name for name in found if re.search(regex, name)]
        except re.error as error:
            raise UserError(f"'{regex}' is no regular expression ({error}). For example: .*relu_output") from error

    def steps_of(self, name: str, mode: str = "GLOBAL") -> list[int]:
        """The steps at which the tensor or anything about it was saved, ascending; none for an unknown name."""
        return list(self._steps_of(name, mode))

    def value(self, name: str, step: int, mode: str = "GLOBAL") -> NDArray[Any] | None:
        """The raw tensor, or None where it was not saved. Raises ContractError for a file that cannot be read."""
        tensor = self._tensor_at(name, step, mode)
        if tensor is None:
            return None
        try:
            return np.asarray(self._reading(tensor.value, step, mode=_mode(mode)))
        except TensorUnavailableForStep:
            return None

    def statistic(self, name: str, step: int, which: str, mode: str = "GLOBAL") -> float | None:
        """One of kennel.debug.statistics.STATISTICS of a tensor, or None where nothing says it.

        update_ratio: mean|w - w_before| / mean|w|, since the step before at which the tensor was saved.
        """
        if which not in STATISTICS:
            raise UserError(f"There is no statistic '{which}'. Known are: {', '.join(STATISTICS)}.")
        tensor = self._tensor_at(name, step, mode)
        if tensor is None or self._trial is None:
            return None
        key = (name, self._trial.global_step(_mode(mode), step))
        if key not in self._described:
            self._described[key] = self._describe(tensor, step, mode)
        if which == "update_ratio" and which not in self._described[key]:
            ratio = self._update_ratio(name, step, mode)
            return ratio if ratio is None else self._described[key].setdefault(which, ratio)
        return self._described[key].get(which)

    def activity(self, name: str, step: int, mode: str = "GLOBAL") -> NDArray[np.float64] | None:
        """float64 (units,): of an activation's output, the share of positive values of each channel or neuron."""
        raw = self.value(name, step, mode)
        if raw is not None:
            return unit_activity(raw)
        tensor = self._tensor_at(name, step, mode)
        return None if tensor is None else self._reduction(tensor, step, ACTIVITY, mode)

    def _describe(self, tensor: Tensor, step: int, mode: str) -> dict[str, float]:
        """Everything the files say of a tensor: its raw value first, then smdebug's reductions, then ours."""
        raw = self.value(tensor.name, step, mode)
        if raw is not None:
            return describe_array(raw)
        reductions = self._reading(tensor.reduction_values, step, mode=_mode(mode))
        vector = reductions.pop((VECTOR, False), ())
        ours = {name: float(number) for name, number in zip(STATISTICS, vector, strict=False)}
        theirs = {key: float(array) for key, array in reductions.items() if np.size(array) == 1}
        described = ours | from_reductions(theirs)
        if np.isnan(described.get("update_ratio", 0.0)) and np.isfinite(described.get("abs_mean", 0.0)):
            del described["update_ratio"]  # the first step that was saved: there was none before
        return described

    def _update_ratio(self, name: str, step: int, mode: str) -> float | None:
        """From raw values: those of this step and of the one before it, of the same mode."""
        if mode == "GLOBAL" and self._trial is not None:
            key, step = self._trial.mode_modestep(step)
            mode = key.name
        before = [earlier for earlier in self.steps_of(name, mode) if earlier < step]
        now, then = self.value(name, step, mode), self.value(name, before[-1], mode) if before else None
        return None if now is None or then is None else update_ratio(then, now)

    def _reduction(self, tensor: Tensor, step: int, which: str, mode: str) -> NDArray[np.float64] | None:
        try:
            found = self._reading(tensor.reduction_value, step, which, mode=_mode(mode))
        except TensorUnavailableForStep:
            return None
        return np.asarray(found, dtype=np.float64)

    def _tensor(self, name: str) -> Tensor | None:
        return self._trial.tensor(name) if self._trial and self._trial.has_tensor(name) else None

    def _tensor_at(self, name: str, step: int, mode: str) -> Tensor | None:
        return self._tensor(name) if step in self._steps_of(name, mode) else None

    def _steps_of(self, name: str, mode: str) -> dict[int, None]:
        if (name, mode) not in self._steps:
            tensor = self._tensor(name)
            found = tensor.steps(mode=_mode(mode), show_incomplete_steps=True) if tensor else []
            self._steps[name, mode] = dict.fromkeys(found)
        return self._steps[name, mode]

    def _open(self) -> LocalTrial:
        trial = self._reading(LocalTrial, self.folder.name, str(self.folder))
        trial.dynamic_refresh = False  # it would list the folder at every question
        trial.index_reader.event_file_retry_limit = 0  # it would wait minutes for a file that was never copied
        return trial

    def _reading(self, read: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401  smdebug has no types
        """What smdebug reads. Raises ContractError for files it cannot read, TensorUnavailableForStep as it does."""
        try:
            return read(*args, **options)
        except TensorUnavailableForStep:
            raise
        except Exception as error:
            raise ContractError(
                f"The tensors in {self.folder} cannot be read: {type(error).__name__}: {error}. They are smdebug's "
                f"files: was the folder copied as a whole?"
            ) from error

    def _read_facts(self) -> dict[str, Any]:
        path = self.folder / FACTS_FILE
        try:
            return dict(json.loads(path.read_text())) if path.exists() else {}
        except (ValueError, TypeError) as error:
            raise ContractError(f"{path} is not JSON ({error}). The hook writes it; copy it again.") from error


def _mode(name: str) -> ModeKeys:
    if name not in MODES:
        raise UserError(f"There is no mode '{name}'. Known are: {', '.join(MODES)}.")
    return ModeKeys[name]
