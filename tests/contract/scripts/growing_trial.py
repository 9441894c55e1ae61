"""A net that trains as many steps as each line of standard input says, smdebug's own hook saving all of them.

growing_trial.py FOLDER

The newest step is written when the next one begins. At the end of input all is, and training_job_end.ts.
"""

import sys
from pathlib import Path

import smdebug.pytorch as smd
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(features)))


def main(folder: Path) -> None:
    torch.manual_seed(0)
    network, criterion = Network(), nn.CrossEntropyLoss()
    hook = smd.Hook(
        out_dir=str(folder), save_config=smd.SaveConfig(save_interval=1), include_collections=["losses", "gradients"]
    )
    hook.register_module(network)
    hook.register_loss(criterion)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    features, labels, made = torch.randn(32, 6), torch.randint(3, (32,)), 0
    for line in sys.stdin:
        for _ in range(int(line)):
            optimizer.zero_grad()
            criterion(network(features), labels).backward()
            optimizer.step()
            made += 1
    hook.close()
    (folder / "training_job_end.ts").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
