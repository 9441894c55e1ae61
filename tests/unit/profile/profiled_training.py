"""Trainings that are timed for real: a small network, made pictures, and a loader that may sleep."""

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from kennel.profile.timeline import Timeline


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


def loader(steps: int, *, sleep_s: float = 0.0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    numbers = torch.Generator().manual_seed(0)
    for _ in range(steps):
        time.sleep(sleep_s)
        yield torch.rand(8, 3, 16, 16, generator=numbers), torch.arange(8) % 3


def train(
    folder: Path,
    *,
    epochs: int = 2,
    steps: int = 12,
    loader_sleeps_s: float = 0.0,
    slow_steps: tuple[int, ...] = (),
    slow_s: float = 0.0,
    work_s: float = 0.0,
    readers: int = 2,
) -> Timeline:
    """A training with its timeline in `folder`. slow_steps: numbers of those that take `slow_s` longer."""
    # Not open_timeline: it counts from the start of the process, which here is that of all the tests.
    timeline = Timeline(folder, host="algo-1", readers=readers, started=time.time() - 1.0)
    model = network()
    model(torch.zeros(1, 3, 16, 16))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    number = 0
    for epoch in range(1, epochs + 1):
        timeline.begin_epoch(epoch)
        for images, targets in timeline.waiting(loader(steps, sleep_s=loader_sleeps_s)):
            with timeline.step("TRAIN", number):
                with timeline.phase("forward"):
                    loss = nn.functional.cross_entropy(model(images), targets)
                    time.sleep(work_s + (slow_s if number in slow_steps else 0.0))
                with timeline.phase("backward"):
                    optimizer.zero_grad()
                    loss.backward()
                with timeline.phase("optimizer"):
                    optimizer.step()
            number += 1
        with timeline.phase("eval"), torch.no_grad():
            for index, (images, _) in enumerate(timeline.waiting(loader(2))):
                with timeline.step("EVAL", index), timeline.phase("forward"):
                    model(images)
        timeline.end_epoch()
    timeline.close()
    return timeline
