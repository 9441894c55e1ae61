"""What the profiler costs a training: sampler and timeline, beside the same steps without, paired in one run.

    .venv/bin/python benchmarks/profiler.py [--rounds 20] [--steps 10]

A ResNet-18 trains on prepared pictures. Rounds of steps take turns: plain, with the timeline (without torch's profiler,
whose few steps are told apart). Shown are the median of the ratios of CPU time to the plain round before, the CPU time
of a sampler process beside a training, and what an empty phase and one sample cost alone.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from torch import nn
from torchvision.models import resnet18

from kennel.profile.readers import read_timeline
from kennel.profile.readings import Readings
from kennel.profile.timeline import OFF, Timeline, open_timeline

_SAMPLED_S = 10.0


def main() -> None:
    arguments = read_arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="kennel-benchmark-") as name:
        folder = Path(name)
        training = Training(arguments.steps, size_px=arguments.size)
        timeline = open_timeline(folder / "timeline", is_on=True)
        training.round(timeline)
        training.round(timeline)  # torch's profiler looks at steps of this one
        plain = [training.round(OFF) for _ in range(2)][-1]
        print(f"{torch.get_num_threads()} thread, batch 16, {plain / arguments.steps * 1e3:.0f} ms a step")
        report("timeline", paired(arguments.rounds, training, timeline))
        for interval_ms in (500, 100):
            with sampler(folder / str(interval_ms), interval_ms) as process:
                began, before = time.monotonic(), sum(process.cpu_times()[:2])
                training.round(OFF)
                time.sleep(max(_SAMPLED_S - (time.monotonic() - began), 0.0))
                own = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
            print(f"sampler at {interval_ms} ms: its own CPU time is {100 * own:.2f} % of a core")
        timeline.close()
        profiled = read_timeline(folder / "timeline")["phases"]["profiler"]
        print(f"torch's profiler over three steps, once a training: {profiled:.2f} s")
        print_single_costs(folder)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    parser.add_argument("--size", type=int, default=64, help="side of a picture, px")
    return parser.parse_args()


class Training:
    """Steps of a ResNet-18; CPU seconds are counted, which other work on the machine changes least."""

    def __init__(self, steps: int, *, size_px: int) -> None:
        self.steps, self.number = steps, 0
        self.model = resnet18(num_classes=20)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.001)
        self.images, self.targets = torch.rand(16, 3, size_px, size_px), torch.arange(16)

    def round(self, timeline: Timeline) -> float:
        """CPU seconds of this process for the round."""
        began = time.process_time()
        for batch in timeline.waiting([self.images] * self.steps):
            with timeline.step("TRAIN", self.number):
                self._step(batch, timeline)
            self.number += 1
        return time.process_time() - began

    def _step(self, batch: torch.Tensor, timeline: Timeline) -> None:
        with timeline.phase("transfer"):
            images = batch.to(memory_format=torch.channels_last)
        with timeline.phase("forward"):
            loss = nn.functional.cross_entropy(self.model(images), self.targets)
        with timeline.phase("backward"):
            self.optimizer.zero_grad()
            loss.backward()
        with timeline.phase("optimizer"):
            self.optimizer.step()


@contextmanager
def sampler(folder: Path, interval_ms: int) -> Iterator[psutil.Process]:
    order = [sys.executable, "-P", "-m", "kennel.profile.sampler", "--output", str(folder)]
    process = subprocess.Popen([*order, "--interval-ms", str(interval_ms)])
    try:
        time.sleep(2)  # it has started up
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def paired(rounds: int, training: Training, timeline: Timeline) -> list[float]:
    """Ratios of a round with `timeline` to the one before it without."""
    ratios = []
    for _ in range(rounds):
        plain = training.round(OFF)
        ratios.append(training.round(timeline) / plain)
    return ratios


def report(name: str, ratios: list[float]) -> None:
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"{name}: {100 * (middle - 1):+.2f} % (quartiles {100 * (low - 1):+.2f} to {100 * (high - 1):+.2f} %)")


def print_single_costs(folder: Path, count: int = 2000) -> None:
    timeline = open_timeline(folder / "single", is_on=True)
    readings = Readings(host="algo-1")
    costs = {
        "phase": _each_us(lambda: timeline.phase("forward").__enter__() or timeline._leave(), count),
        "phase, off": _each_us(lambda: OFF.phase("forward").__enter__(), count),
        "sample of all metrics": _each_us(readings.take, 100),
    }
    print(", ".join(f"{name} {taken:.1f} us" for name, taken in costs.items()))


def _each_us(action: "object", count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        action()  # type: ignore[operator]
    return (time.process_time() - began) / count * 1e6


if __name__ == "__main__":
    main()
