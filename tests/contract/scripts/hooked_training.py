"""A training with smdebug's hook on float32 and bfloat16 layers, and what is read from its files afterwards.

python hooked_training.py FOLDER: prints JSON lines as it goes; the test that starts it judges them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import smdebug
import smdebug.pytorch as smd
import torch
from smdebug.core.utils import FRAMEWORK
from smdebug.exceptions import NoMoreData, RuleEvaluationConditionMet
from smdebug.profiler.profiler_config_parser import StepPhase
from smdebug.profiler.python_profiler import PyinstrumentPythonProfiler
from smdebug.rules import Rule, invoke_rule
from smdebug.trials import create_trial
from torch import nn

folder = Path(sys.argv[1])
STEPS = 4


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class Network(nn.Module):
    """Two layers, the second in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 5)
        self.second = nn.Linear(5, 3, dtype=torch.bfloat16)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(features)).bfloat16()).float()


class SmallGradient(Rule):
    """The built-in VanishingGradient: fires where a gradient's mean absolute value is under the threshold."""

    def __init__(self, base_trial: object, *, threshold: float) -> None:
        super().__init__(base_trial, action_str="")
        self.threshold, self.seen = threshold, []

    def set_required_tensors(self, step: int) -> None:
        for name in self.base_trial.tensor_names(collection="gradients"):
            self.req_tensors.add(name=name, steps=[step])

    def invoke_at_step(self, step: int) -> bool:
        self.seen.append(step)
        return any(tensor.reduction_value(step, "mean", abs=True) < self.threshold for tensor in self.req_tensors.get())


def run_rule(rule: Rule) -> str:
    """The exception that ended it: without an end step, NoMoreData is how a rule ends that found nothing."""
    try:
        invoke_rule(rule, raise_eval_cond=True)
    except (NoMoreData, RuleEvaluationConditionMet) as error:
        return type(error).__name__
    return "none"


torch.manual_seed(0)
network, criterion = Network(), nn.CrossEntropyLoss()
hook = smd.Hook(
    out_dir=str(folder / "tensors"),
    export_tensorboard=True,
    tensorboard_dir=str(folder / "tensorboard"),
    include_collections=["losses", "weights", "gradients"],
    save_config=smd.SaveConfig(save_interval=1),
)
hook.register_module(network)
hook.register_loss(criterion)
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
expected: list[dict[str, np.ndarray]] = []  # name in the files -> value, step for step
for step in range(STEPS):
    saved = {f"Network_{name}": value.float().numpy().copy() for name, value in network.state_dict().items()}
    optimizer.zero_grad()
    loss = criterion(network(torch.randn(8, 6)), torch.randint(3, (8,)))
    hook.save_scalar("learning_rate", 0.1 / (step + 1))
    loss.backward()
    for name, parameter in network.named_parameters():
        saved[f"gradient/Network_{name}"] = parameter.grad.float().numpy().copy()
    saved["CrossEntropyLoss_output_0"] = loss.detach().numpy().copy()
    expected.append(saved)
    optimizer.step()
hook.close()

trial = create_trial(str(folder / "tensors"))
say(version=smdebug.__version__, steps=trial.steps(), tensors=sorted(trial.tensor_names()))
read = [
    (name, trial.tensor(name).value(step), value)
    for step, saved in enumerate(expected)
    for name, value in saved.items()
    if name in trial.tensor_names()
]
say(compared=len(read), different=[name for name, value, wanted in read if not np.array_equal(value, wanted)])
say(dtypes={name: str(value.dtype) for name, value, _ in read})
for threshold in (0.0, 1e9):
    rule = SmallGradient(create_trial(str(folder / "tensors")), threshold=threshold)
    say(threshold=threshold, ended_by=run_rule(rule), seen=rule.seen)

profiler = PyinstrumentPythonProfiler(str(folder / "profiler"), FRAMEWORK.PYTORCH)
profiler.start_profiling(StepPhase.START)
torch.randn(500, 500) @ torch.randn(500, 500)
profiler.stop_profiling(StepPhase.END)
stats = [json.loads(path.read_text()) for path in (folder / "profiler").rglob("python_stats.json")]
say(profiled=[sorted(each) for each in stats], events=len(list((folder / "tensorboard").rglob("*.tfevents"))))
