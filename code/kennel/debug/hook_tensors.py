"""smdebug's hook, told step by step what to save: its collections, configuration and reductions, our writer and pace.

It registers nothing with a network; kennel.debug.hook_steps does that, for the steps that are saved and no longer.
Against smdebug's own: errors are raised (it logs them and goes on without saving), the folder may be there already (a
training that is resumed), step numbers are given and not counted, nothing is read by eval(), one worker writes.
"""

import atexit
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from kennel.debug.hook_config import HookOrder
from kennel.debug.hook_files import WORKER, StepFiles
from kennel.debug.hook_statistics import describe, thinned, unit_activity, update_ratio
from kennel.debug.quiet import quiet_import
from kennel.debug.statistics import ACTIVITY, VECTOR

with quiet_import():
    import smdebug.pytorch as smd
    from smdebug.core.json_config import add_collections_to_manager, collect_hook_config_params
    from smdebug.core.modes import ModeKeys
    from smdebug.core.reductions import REDUCTIONS_PREFIX, get_reduction_tensor_name
    from smdebug.core.save_config import SaveConfig, SaveConfigMode

# What a collection of this name holds, where its regex is not given.
KNOWN: Final = {
    "relu_input": ".*relu_input",
    "relu_output": ".*relu_output",
    "inputs": "^inputs(_mean)?$",
    "outputs": "^logits$",
    "labels": "^labels$",
    "predictions": "^predictions$",
    "scalars": "^scalar/",
}
# By default: these as they are, and of these statistics only.
RAW: Final = ("losses", "labels", "predictions", "scalars")
DESCRIBED: Final = ("weights", "gradients", "relu_input", "relu_output", "inputs", "outputs")
LOSS: Final = "CrossEntropyLoss_output_0"
# Elsewhere than where smdebug looks for configurations that it would eval().
_NOWHERE: Final = {"SMPROFILER_CONFIG_PATH": "/nonexistent", "CHECKPOINT_CONFIG_FILE_PATH": "/nonexistent"}


class TensorHook(smd.Hook):  # type: ignore[misc]  # smdebug has no types
    """What is saved of a step, by smdebug's collections.

    names: of the tensors saved so far. bytes: on disk. limit: not to be passed. is_full: whether it would have been.
    """

    def __init__(self, order: HookOrder, *, interval: int, eval_interval: int) -> None:
        self._order = order
        self.writer: StepFiles | None
        self.tensorboard_dir: str | None
        self.names: set[str] = set()
        self.bytes, self.limit, self.is_full = 0, order.max_bytes, False
        self._vectors: list[tuple[str, Tensor]] = []
        self._is_exported = False
        self._before: dict[str, Tensor] = {}  # weights when they were last saved: as much memory as the network's
        options = self._options(interval, eval_interval)
        with _no_configuration():
            # Without the wrapper that swallows errors; the folder is named when smdebug has seen that it is new.
            smd.Hook.__init__.__wrapped__(self, out_dir=f"/nonexistent/{uuid.uuid4().hex}", **options)
        atexit.unregister(self._cleanup)  # it would mark the job as ended
        self.out_dir, self.first_process, self.worker = str(order.folder), True, WORKER
        if self.tensorboard_dir and self.tensorboard_dir.startswith("/nonexistent"):
            self.tensorboard_dir = str(order.folder / "tensorboard")
        self._add_collections()
        self._prepare_collections()
        self.prepared_collections = True
        self.described = {self.collection_manager.get(name) for name in DESCRIBED} if order.has_defaults else set()

    def wants(self, mode: str, step: int) -> bool:
        """Whether a collection is to be saved at a step of this mode."""
        return any(each.save_config.should_save_step(ModeKeys[mode], step) for each in self._collections_to_save)

    def intervals(self) -> dict[str, int]:
        """The shortest save interval of each mode."""
        return {
            mode: min(
                each.save_config.get_save_config(ModeKeys[mode]).save_interval for each in self._collections_to_save
            )
            for mode in ("TRAIN", "EVAL")
        }

    def takes(self, name: str) -> bool:
        """Whether a tensor of this name would be saved at the open step."""
        return bool(self._get_collections_with_tensor(name) & self._get_collections_to_save_for_step())

    def open_step(self, mode: str, step: int, global_step: int, *, only: Iterable[str] | None = None) -> None:
        """Begins to save a step. only: the names of the collections, where not all that are due."""
        self.mode, self.step = ModeKeys[mode], global_step
        self.mode_steps[self.mode] = step
        self.mode_steps[ModeKeys.GLOBAL] = global_step
        self.written_tensor_name_for_step.clear()
        self._collections_to_save_for_step = None
        if only is not None:
            self._collections_to_save_for_step = {self.collection_manager.get(name) for name in only}
        elif self._order.has_defaults:
            self._collections_to_save_for_step = set(self._collections_to_save)
        self.writer = StepFiles(self._order.folder, global_step)

    def save(self, name: str, tensor: Tensor) -> None:
        """Saves a tensor as its collections want it, if one of them does."""
        self._save_for_tensor(name, tensor.detach())

    def save_vector(self, name: str, vector: Tensor) -> None:
        """Saves a row of numbers when the step is closed: until then it may stay where it was computed."""
        self._vectors.append((name, vector))

    def save_statistics(self, name: str, vector: Tensor) -> None:
        """Saves the statistics of a tensor that were computed already."""
        if self._is_described(name):
            self._vectors.append((get_reduction_tensor_name(name, VECTOR, False), vector))

    def save_activity(self, name: str, output: Tensor) -> None:
        """Of an activation's output: which of its units are awake."""
        if self._is_described(name):
            self._vectors.append((get_reduction_tensor_name(name, ACTIVITY, False), unit_activity(thinned(output))))

    def close_step(self) -> int:
        """Writes what is left of it. The number of tensors that were saved."""
        for name, vector in _fetched(self._vectors):
            self._write_raw_tensor_simple(name, vector)
        self._vectors = []
        self.scalar_cache.clear()  # for SageMaker's metrics, which our printed lines are
        count = self._files.count
        self._files.close()
        self.bytes += self._files.size_bytes
        self.writer = None
        if not self._is_exported:
            self._is_exported = True
            self.export_collections()
        self._close_tb_writer()
        return count

    def abandon_step(self) -> None:
        """Leaves nothing of a step that could not be finished."""
        self._vectors = []
        if self.writer is not None:
            self.writer.abandon()
            self.writer = None

    @property
    def _files(self) -> StepFiles:
        if self.writer is None:
            raise RuntimeError("no step is open")
        return self.writer

    def _write_for_tensor(
        self,
        tensor_name: str,
        tensor_value: Tensor,
        save_collections: set[Any],
        tensor_ref: None = None,
    ) -> None:
        """smdebug's: in our default collections, a tensor's statistics in place of itself."""
        if save_collections & self.described:
            self._vectors.append(
                (
                    get_reduction_tensor_name(tensor_name, VECTOR, False),
                    self._vector(tensor_name, tensor_value, {each.name for each in save_collections}),
                )
            )
            return
        super()._write_for_tensor(tensor_name, tensor_value, save_collections, tensor_ref)

    def _write_raw_tensor_simple(
        self,
        tensor_name: str,
        tensor_value: Any,  # noqa: ANN401  a tensor or an array
        tensor_ref: None = None,
        timestamp: float | None = None,
    ) -> None:
        """smdebug's, within the limit of what may be written; numbers are always written."""
        size = getattr(tensor_value, "nbytes", 8)
        if size > 64 and self.bytes + self._files.size_bytes + size > self.limit:
            self.is_full = True
            return
        self.names.add(_bare(tensor_name))
        super()._write_raw_tensor_simple(tensor_name, tensor_value, tensor_ref, timestamp)

    def _vector(self, name: str, tensor: Tensor, collections: set[str]) -> Tensor:
        """Its statistics; of a weight also how far it moved since it was last saved."""
        if "weights" in collections:
            before, self._before[name] = self._before.get(name), tensor.clone()
            ratio = tensor.new_full((), float("nan")) if before is None else update_ratio(before, tensor)
            return torch.cat([describe(tensor), ratio.float().reshape(1)])
        return describe(tensor if "gradients" in collections else thinned(tensor))

    def _is_described(self, name: str) -> bool:
        return bool(self._get_collections_with_tensor(name) & self.described & self._get_collections_to_save_for_step())

    def _options(self, interval: int, eval_interval: int) -> dict[str, Any]:
        """Of smdebug's hook: what HookParameters say, and the collections."""
        found = collect_hook_config_params({"HookParameters": dict(self._order.parameters)})
        save_config = SaveConfig.from_dict(found["save_config_modes"])
        if self._order.has_defaults and not self._order.has_schedule:
            save_config = SaveConfig(
                {
                    ModeKeys.TRAIN: SaveConfigMode(save_interval=interval),
                    ModeKeys.EVAL: SaveConfigMode(save_interval=eval_interval),
                }
            )
        names = [*RAW, *DESCRIBED] if self._order.has_defaults else list(self._order.collections)
        return {
            "save_config": save_config,
            "include_collections": names,
            "include_regex": found.get("include_regex"),
            "reduction_config": found.get("reduction_config"),
            "save_all": found.get("save_all", False),
            "export_tensorboard": found.get("export_tensorboard", False),
            "tensorboard_dir": found.get("tensorboard_dir"),
            "dry_run": self._order.parameters.get("dry_run", "").lower() in ("true", "1"),
        }

    def _add_collections(self) -> None:
        entries = [
            {"CollectionName": name, "CollectionParameters": dict(parameters)}
            for name, parameters in self._order.collections.items()
        ]
        parameters = collect_hook_config_params({"HookParameters": dict(self._order.parameters)})
        add_collections_to_manager(self.collection_manager, {"CollectionConfigurations": entries}, parameters)
        for name, regex in KNOWN.items():
            if name in self.include_collections and not self.collection_manager.get(name).include_regex:
                self.collection_manager.get(name).include(regex)
        if self._order.has_defaults:
            for name in DESCRIBED:
                self.collection_manager.get(name).reduction_config = smd.ReductionConfig(save_raw_tensor=False)

    def _get_num_workers(self) -> int:
        return 1

    def _get_worker_name(self) -> str:
        return WORKER


def _fetched(vectors: list[tuple[str, Tensor]]) -> Iterator[tuple[str, Any]]:
    """Names and arrays: all of them in one transfer from the device."""
    if not vectors:
        return
    whole = torch.cat([vector.detach().float().reshape(-1) for _, vector in vectors]).cpu().numpy()
    begin = 0
    for name, vector in vectors:
        yield name, whole[begin : begin + vector.numel()]
        begin += vector.numel()


def _bare(name: str) -> str:
    """The tensor of a reduction, or the name itself."""
    return name.removeprefix(REDUCTIONS_PREFIX).partition("/")[2] if name.startswith(REDUCTIONS_PREFIX) else name


@contextmanager
def _no_configuration() -> Iterator[None]:
    """smdebug finds no configuration files but what it is given."""
    before = {name: os.environ.get(name) for name in _NOWHERE}
    os.environ.update(_NOWHERE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
