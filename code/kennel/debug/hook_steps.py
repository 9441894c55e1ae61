"""The hook that listens: which steps are saved, what of them, and what it costs.

The network is hooked during the steps that are saved and at no other time, so that all others cost nothing and what is
evaluated, checkpointed or archived is the plain network. ReLUs that work in place are told not to meanwhile: their
input would be their output. Weights do not depend on any of it, to the last bit.

By default every fifth of an epoch is saved, and each validation as its last step (the loss over all of it). What that
takes is bounded: above FREE_S and FULL_SHARE of the time since the job began, a step is saved without statistics, and
above LIGHT_SHARE not at all. Steps that a configuration names are always saved.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from kennel.debug.hook import SAVES_PER_EPOCH, Hook, Plan, failure_line
from kennel.debug.hook_config import HookOrder
from kennel.debug.hook_folder import prepare_folder, write_facts
from kennel.debug.hook_statistics import describe, merged, thinned, unit_means
from kennel.debug.hook_tensors import LOSS, TensorHook

# With 0.6 s for smdebug's import, at most 3 % of a job of a minute, and less of a longer one.
FREE_S: Final = 0.25
FULL_SHARE: Final = 0.012
LIGHT_SHARE: Final = 0.016
# A step saved for little: and all of it that is written once the disk's share is used up.
LIGHT: Final = ("losses", "labels", "predictions", "scalars")
VALIDATION: Final = (*LIGHT, "inputs", "outputs")
# Activations that AWS's rules look for by their names, and what is added to a name that does not tell.
_TOLD: Final = {nn.ReLU: "relu", nn.ReLU6: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}


class StepHook(Hook):
    """Saves steps of one training; see kennel.debug.hook for how it is told of them."""

    is_on = True

    def __init__(
        self,
        order: HookOrder,
        plan: Plan,
        network: nn.Module,
        *,
        phase: Callable[[str], AbstractContextManager[None]],
        started: float,
        began: float,
    ) -> None:
        """began: time.perf_counter() before smdebug was imported.

        Raises ContractError, OSError and smdebug's errors for an order that cannot be followed.
        """
        self._order, self._plan, self._network, self._phase, self._started = order, plan, network, phase, started
        self._tensors = TensorHook(order, interval=plan.interval, eval_interval=plan.eval_steps)
        self._tensors.bytes = prepare_folder(order.folder, is_resumed=plan.first_step > 0)
        self._root = type(network).__name__
        self._names = _tensor_names(network)
        self._handles: list[Any] = []
        self._inplace: list[nn.Module] = []
        self._is_off = self._is_saving = self._is_checked = self._is_full_told = False
        self._epoch = self._batch = self._first_size = 0
        self._targets = torch.empty(0, dtype=torch.int64)
        self._parts: dict[str, list[Tensor]] = {}
        self._counts: list[int] = []
        self._spent_s, self._saved_steps = 0.0, 0
        self._setup_s = time.perf_counter() - began
        self._write_facts()
        for line in _notes(order, plan):
            print(line, flush=True)

    def begin_step(self, number: int) -> None:
        if not self._is_off and self._tensors.wants("TRAIN", number):
            is_short = self._has_spent(FULL_SHARE)
            if not ((self._tensors.is_full or is_short) and self._has_spent(LIGHT_SHARE)):
                # Of inputs and logits there is little to save, and a verdict compares them with those of validation.
                only = LIGHT if self._tensors.is_full else VALIDATION if is_short else None
                self._open("TRAIN", number, only=only)

    def see(self, targets: Tensor, logits: Tensor) -> None:
        if self._is_saving:
            with self._guard():
                self._detach()
                self._tensors.save("labels", targets)
                self._tensors.save("predictions", logits.argmax(dim=1))

    def see_gradients(self) -> None:
        if self._is_saving:
            with self._guard():
                for name, parameter in self._network.named_parameters():
                    if parameter.grad is not None:
                        self._tensors.save(f"gradient/{self._root}_{name}", parameter.grad)

    def end_step(self, loss: float, accuracy: float) -> None:
        if self._is_saving:
            with self._guard():
                self._close_step(loss, accuracy)

    def begin_validation(self, epoch: int, targets: Tensor) -> None:
        self._epoch, self._targets, self._batch = epoch, targets, 0
        self._parts, self._counts = {"inputs": [], "logits": [], "inputs_mean": []}, []
        if not self._is_off and self._order.has_defaults:
            with self._guard():
                self._handles.append(self._network.register_forward_hook(self._see_eval_batch))

    def begin_eval_batch(self) -> None:
        number = (self._epoch - 1) * self._plan.eval_steps + self._batch
        if not self._is_off and not self._order.has_defaults and self._tensors.wants("EVAL", number):
            self._open("EVAL", number)

    def end_eval_batch(self, probabilities: Tensor) -> None:
        self._batch += 1
        if self._is_saving:
            with self._guard():
                self._detach()
                self._save_eval_batch(probabilities)

    def end_validation(self, probabilities: Tensor, loss: float) -> None:
        if self._is_off or not self._order.has_defaults:
            return
        with self._guard():
            self._detach()
            number = self._epoch * self._plan.eval_steps - 1
            self._tensors.open_step("EVAL", number, self._plan.global_step("EVAL", number), only=VALIDATION)
            predictions = probabilities.argmax(dim=1)
            self._tensors.save("labels", self._targets)
            self._tensors.save("predictions", predictions)
            self._save_parts()
            self._close_step(loss, float((predictions == self._targets).float().mean()))
            self._write_facts()

    def close(self) -> None:
        if self._is_off:
            return
        with self._guard():
            self._detach()
            self._tensors.abandon_step()  # of a training that was stopped in it
            self._write_facts()
            found = self._overhead()
            print(
                f"debug saved_steps={self._saved_steps} tensors={len(self._tensors.names)} "
                f"mb={self._tensors.bytes / 1e6:.1f} overhead_s={found['seconds']:.2f} "
                f"overhead_share={found['share']:.4f} per_saved_step_ms={found['per_saved_step_ms']:.1f} "
                f"setup_s={self._setup_s:.2f}",
                flush=True,
            )
        self._is_off = True

    def _has_spent(self, share: float) -> bool:
        """Whether the time for saving is used up; never where a configuration says when to save."""
        if self._order.has_schedule or not self._order.has_defaults:
            return False
        return self._spent_s > FREE_S + share * (time.perf_counter() - self._started)

    def _open(self, mode: str, number: int, *, only: tuple[str, ...] | None = None) -> None:
        with self._guard():
            self._tensors.open_step(mode, number, self._plan.global_step(mode, number), only=only)
            self._is_saving = True
            self._save_weights()
            self._attach()

    def _save_weights(self) -> None:
        for name, parameter in self._network.named_parameters():
            if parameter.requires_grad or not self._order.has_defaults:
                self._tensors.save(f"{self._root}_{name}", parameter)

    def _attach(self) -> None:
        """Hooks the modules of which something is saved, for the forward pass that comes."""
        for module, name in self._names.items():
            if self._tensors.takes(f"{name}_input_0") or self._tensors.takes(f"{name}_output_0"):
                self._handles.append(module.register_forward_hook(self._see_module))
                if getattr(module, "inplace", False):
                    module.inplace = False  # type: ignore[assignment]  # a plain attribute
                    self._inplace.append(module)
        self._handles.append(self._network.register_forward_hook(self._see_network))

    def _detach(self) -> None:
        """Leaves the network as it was."""
        for handle in self._handles:
            handle.remove()
        for module in self._inplace:
            module.inplace = True  # type: ignore[assignment]  # as it was
        self._handles, self._inplace = [], []

    def _see_module(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401  any module's
        if self._is_off:
            return  # in the very call in which it failed
        with self._guard():
            name = self._names[module]
            index = self._tensors.written_tensor_name_for_step.get(f"{name}_output_", 0)
            self._tensors._write_inputs(name, inputs)
            self._tensors._write_outputs(name, output)
            if type(module) in (nn.ReLU, nn.ReLU6):
                self._tensors.save_activity(f"{name}_output_{index}", output)

    def _see_network(self, _module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        if self._is_off:
            return  # in the very call in which it failed
        with self._guard():
            self._tensors.save("inputs", inputs[0])
            self._tensors.save("logits", logits)
            if self._tensors.takes("inputs_mean"):
                self._tensors.save_vector("inputs_mean", unit_means(thinned(inputs[0])))

    def _see_eval_batch(self, _module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        if self._is_off:
            return  # in the very call in which it failed
        with self._guard():
            self._counts.append(len(logits))
            self._parts["inputs"].append(describe(thinned(inputs[0])))
            self._parts["inputs_mean"].append(unit_means(thinned(inputs[0])))
            self._parts["logits"].append(describe(logits))

    def _save_parts(self) -> None:
        """Of a whole validation, what was gathered batch by batch."""
        if not self._counts:
            return  # another worker saw the only batch
        self._tensors.save_statistics("inputs", merged(self._parts["inputs"], self._counts))
        self._tensors.save_statistics("logits", merged(self._parts["logits"], self._counts))
        means, counts = torch.stack(self._parts["inputs_mean"]), torch.tensor(self._counts)
        weights = (counts / counts.sum()).to(means)
        self._tensors.save_vector("inputs_mean", (means * weights[:, None]).sum(0))

    def _save_eval_batch(self, probabilities: Tensor) -> None:
        """A batch of the validation as a step of its own. Batches are dealt to the workers in turn."""
        size = len(probabilities) if self._batch == 1 else self._first_size
        self._first_size = size
        begin = (self._batch - 1) * self._plan.workers * size
        targets = self._targets[begin : begin + len(probabilities)].to(probabilities.device)
        predictions = probabilities.argmax(dim=1)
        self._tensors.save("labels", targets)
        self._tensors.save("predictions", predictions)
        tiny = torch.finfo(torch.float32).tiny
        loss = -probabilities.gather(1, targets[:, None]).clamp_min(tiny).log().mean()
        self._close_step(float(loss), float((predictions == targets).float().mean()))

    def _close_step(self, loss: float, accuracy: float) -> None:
        self._tensors.save(LOSS, torch.tensor(loss))
        self._tensors.save_vector("scalar/accuracy", torch.tensor([accuracy]))
        count = self._tensors.close_step()
        self._is_saving = False
        self._saved_steps += 1
        self._check(count)

    def _check(self, count: int) -> None:
        """Says, once each, that nothing was saved, or not all."""
        if not self._is_checked:
            self._is_checked = True
            if count <= 1:
                print("debug: the first saved step holds no tensor: no collection has a regex that matches", flush=True)
        if self._tensors.is_full and not self._is_full_told:
            self._is_full_told = True
            print(
                f"debug: {self._order.max_bytes / 1e6:.0f} MB of tensors are reached: from here on losses only. "
                f"For more: HookParameters kennel.max_mb, or a longer save_interval",
                flush=True,
            )

    def _overhead(self) -> dict[str, Any]:
        elapsed = time.perf_counter() - self._started
        seconds = self._setup_s + self._spent_s
        return {
            "seconds": round(seconds, 4),
            "saved_steps": self._saved_steps,
            "per_saved_step_ms": round(1000 * self._spent_s / max(self._saved_steps, 1), 3),
            "share": round(seconds / max(elapsed, 1e-9), 5),
            "bytes": self._tensors.bytes,
            "stopped_at_limit": self._tensors.is_full,
            "setup_s": round(self._setup_s, 4),
        }

    def _write_facts(self) -> None:
        trained = self._network.named_parameters()
        modules = dict(self._network.named_modules())
        write_facts(
            self._order.folder,
            {
                **self._plan.facts,
                "steps_per_epoch": self._plan.train_steps,
                "save_interval": self._tensors.intervals(),
                "parameters": [_describe_parameter(self._root, modules, name, each) for name, each in trained],
                "activations": [
                    {"name": name, "kind": type(module).__name__}
                    for module, name in self._names.items()
                    if type(module).__module__ == "torch.nn.modules.activation"
                ],
                "overhead": self._overhead(),
            },
        )

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Counts the time; what fails takes the hook off, and the training goes on. Not for one that is off."""
        began = time.perf_counter()
        try:
            with self._phase("hook"), torch.no_grad():
                yield
        except Exception as error:  # whatever it is, debugging never ends a training
            self._is_off, self._is_saving = True, False
            self._detach()
            self._tensors.abandon_step()
            print(failure_line(error), flush=True)
        finally:
            self._spent_s += time.perf_counter() - began


def _tensor_names(network: nn.Module) -> dict[nn.Module, str]:
    """Modules by smdebug's names of them; activations have theirs in it, as the rules' regexes want."""
    names = {}
    for name, module in network.named_modules():
        told = _TOLD.get(type(module), "")
        whole = name or type(network).__name__
        names[module] = whole if told in whole.rpartition(".")[2].lower() else f"{whole}.{told}"
    return names


def _describe_parameter(root: str, modules: dict[str, nn.Module], name: str, parameter: Tensor) -> dict[str, Any]:
    layer = name.rpartition(".")[0]
    return {
        "name": f"{root}_{name}",
        "layer": layer or root,
        "kind": type(modules[layer]).__name__,
        "is_frozen": not parameter.requires_grad,
        "elements": parameter.numel(),
    }


def _notes(order: HookOrder, plan: Plan) -> Iterator[str]:
    """What a user should know of what was asked for."""
    if order.unknown:
        yield f"debug: nobody knows the parameters {', '.join(order.unknown)}; they are passed over"
    if order.parameters.get("include_workers", "one") != "one" and plan.workers > 1:
        yield "debug: include_workers=all is not followed: the first worker saves"
    longest = max((_interval(values) for values in (order.parameters, *order.collections.values())), default=0)
    if longest > plan.train_steps:
        yield (
            f"debug: save_interval={longest} is more than an epoch of {plan.train_steps} steps: rules will see little. "
            f"{plan.interval} would be {SAVES_PER_EPOCH} steps an epoch"
        )


def _interval(parameters: Mapping[str, str]) -> int:
    return int(parameters.get("train.save_interval") or parameters.get("save_interval") or 0)
