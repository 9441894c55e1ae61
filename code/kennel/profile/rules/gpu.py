"""Rules on how GPUs are used: LowGPUUtilization, BatchSize, GPUMemoryIncrease, LoadBalancing.

Where AWS's published source of 2020 and its guide differ in a default, the guide's stands here (shown as source / guide
in the comments). The SDK sends the source's. On a machine without a GPU they have no data.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kennel.profile.readers import Series
from kennel.profile.rules.base import Check, Evidence, Finding, Floats, Judgement, Rule, no_gpu, windows
from kennel.profile.rules.parameters import Common, parameter


class LowGPUUtilization(Rule):
    """Per GPU, over windows of samples: a 95th percentile too low, or one high enough beside a 5th too low."""

    name = "LowGPUUtilization"
    is_about_gpus = True
    meaning = "A GPU is little used, or is busy and idle by turns: something else is what the training waits for."
    remedy = "Raise batch-size, give the data loader more cores, or take a smaller or no GPU."

    @dataclass(frozen=True)
    class Parameters(Common):
        threshold_p95: float = parameter(70.0, high=100)
        threshold_p5: float = parameter(10.0, high=100)
        window: int = parameter(500, is_open=True)
        patience: int = parameter(1000, is_open=True)

    def judge(self, evidence: Evidence) -> Judgement:
        gpus = evidence.gpus
        if not gpus:
            return no_gpu(self.name, evidence)
        findings = [finding for gpu in gpus for finding in self._of_gpu(gpu)]
        seen = max(len(gpu.values) for gpu in gpus)
        needed = max(self.parameters.patience, self.parameters.window)
        details = {gpu.name: gpu.statistics() for gpu in gpus}
        return Judgement(seen, needed, "samples", findings, datapoints=seen, details=details)

    def _of_gpu(self, gpu: Series) -> list[Finding]:
        parameters, found = self.parameters, []
        for window in windows(len(gpu.values), patience=parameters.patience, window=parameters.window):
            low, high = (float(value) for value in np.percentile(gpu.values[window], [5, 95]))
            if high < parameters.threshold_p95:
                message = f"{gpu.name} of {gpu.node}: 95 % of a window's samples are below {high:.0f} % use"
                found.append(Finding("p95 of GPU use, %", high, parameters.threshold_p95, message, subject=gpu.name))
            elif low < parameters.threshold_p5:
                message = f"{gpu.name} of {gpu.node}: use fluctuates between {low:.0f} % and {high:.0f} %"
                found.append(Finding("p5 of GPU use, %", low, parameters.threshold_p5, message, subject=gpu.name))
        return found


class BatchSize(Rule):
    """Per GPU, over windows: 95th percentiles of CPU use, GPU use and GPU memory are all low."""

    name = "BatchSize"
    is_about_gpus = True
    meaning = "CPU, GPU and GPU memory are all little used: the steps are too small for this machine."
    remedy = "Raise batch-size (and lr with it), or take a smaller machine."

    @dataclass(frozen=True)
    class Parameters(Common):
        cpu_threshold_p95: float = parameter(70.0, high=100)
        gpu_threshold_p95: float = parameter(70.0, high=100)
        gpu_memory_threshold_p95: float = parameter(70.0, high=100)
        patience: int = parameter(100, is_open=True)  # 1000 / 100
        window: int = parameter(500, is_open=True)

    def judge(self, evidence: Evidence) -> Judgement:
        gpus = evidence.gpus
        if not gpus:
            return no_gpu(self.name, evidence)
        memory = {(each.node, each.name): each for each in evidence.metric("gpu", "GPUMemoryUtilization")}
        findings = [
            finding for gpu in gpus for finding in self._of_gpu(evidence, gpu, memory.get((gpu.node, gpu.name)))
        ]
        seen = max(len(gpu.values) for gpu in gpus)
        needed = max(self.parameters.patience, self.parameters.window)
        return Judgement(seen, needed, "samples", findings, datapoints=seen)

    def _of_gpu(self, evidence: Evidence, gpu: Series, memory: Series | None) -> list[Finding]:
        found, parameters = [], self.parameters
        cores = [each for each in evidence.cpus if each.node == gpu.node]
        for window in windows(len(gpu.values), patience=parameters.patience, window=parameters.window):
            first, last = gpu.times[window][0], gpu.times[window][-1]
            cpu = _p95(np.concatenate([_between(each, first, last) for each in cores] or [np.zeros(0)]))
            used, held = _p95(gpu.values[window]), _p95(_between(memory, first, last) if memory else np.zeros(0))
            limits = (parameters.cpu_threshold_p95, parameters.gpu_threshold_p95, parameters.gpu_memory_threshold_p95)
            if all(value < limit for value, limit in zip((cpu, used, held), limits, strict=True)):
                message = (
                    f"{gpu.name} of {gpu.node}: 95 % of a window's samples are below {cpu:.0f} % CPU, {used:.0f} % GPU "
                    f"and {held:.0f} % GPU memory"
                )
                found.append(Finding("p95 of GPU use, %", used, limits[1], message, subject=gpu.name))
        return found


class GPUMemoryIncrease(Rule):
    """Per GPU: the mean of a window of memory is more than `increase` above that of the window before."""

    name = "GPUMemoryIncrease"
    is_about_gpus = True
    meaning = "The memory a GPU holds grows during the training, and may run out."
    remedy = "Look for tensors that are kept from step to step (losses summed with their graph), or lower batch-size."

    @dataclass(frozen=True)
    class Parameters(Common):
        increase: float = parameter(10.0, is_open=True)  # 5 / 10
        patience: int = parameter(100, is_open=True)  # 1000 / 100
        window: int = parameter(500, is_open=True)  # 10 / 500

    def judge(self, evidence: Evidence) -> Judgement:
        memory = evidence.metric("gpu", "GPUMemoryUtilization")
        if not memory:
            return no_gpu(self.name, evidence)
        findings = [finding for gpu in memory for finding in self._of_gpu(gpu)]
        seen = max(len(gpu.values) for gpu in memory)
        needed = self.parameters.patience + 2 * self.parameters.window
        details = {gpu.name: gpu.statistics() for gpu in memory}
        return Judgement(seen, needed, "samples", findings, datapoints=seen, details=details)

    def _of_gpu(self, gpu: Series) -> list[Finding]:
        parameters, values = self.parameters, gpu.values[self.parameters.patience :]
        means = [values[each].mean() for each in windows(len(values), patience=0, window=parameters.window)]
        found = []
        for before, after in zip(means, means[1:], strict=False):
            if after - before > parameters.increase:
                message = (
                    f"{gpu.name} of {gpu.node}: memory rose from {before:.0f} % to {after:.0f} % (means of windows)"
                )
                rise = float(after - before)
                found.append(Finding("rise of GPU memory, %", rise, parameters.increase, message, subject=gpu.name))
        return found


class LoadBalancing(Rule):
    """Pairs of GPUs: how far apart the distributions of their use are (root of the Jensen-Shannon divergence)."""

    name = "LoadBalancing"
    is_about_gpus = True
    meaning = "The GPUs are used differently: some wait for others."
    remedy = "Give every GPU the same share of a batch, and keep work of one alone (logs, validation) small."

    @dataclass(frozen=True)
    class Parameters(Common):
        threshold: float = parameter(0.5, high=1)  # 0.2 / 0.5
        patience: int = parameter(10, is_open=True)  # 1000 / 10

    def judge(self, evidence: Evidence) -> Judgement:
        gpus = evidence.gpus
        if not gpus:
            return no_gpu(self.name, evidence)
        seen = min(len(gpu.values) for gpu in gpus)
        if len(gpus) == 1:
            check = Check(self.name, "moot", "there is one GPU only")
            return Judgement(seen, 0, "samples", checks=[check], remark="one GPU has nothing to be balanced with")
        findings, distances = [], {}
        for one, other in combinations(gpus, 2) if seen >= self.parameters.patience else ():
            distance = jensen_shannon(one.values, other.values)
            pair = f"{one.node}/{one.name} and {other.node}/{other.name}"
            distances[pair] = round(distance, 4)
            if distance > self.parameters.threshold:
                message = f"{pair}: the distributions of their use are {distance:.2f} apart"
                threshold = self.parameters.threshold
                findings.append(Finding("Jensen-Shannon distance", distance, threshold, message, subject=one.name))
        details = {"distances": distances}
        return Judgement(seen, self.parameters.patience, "samples", findings, datapoints=seen, details=details)


def jensen_shannon(one: Floats, other: Floats) -> float:
    """The root of the divergence of two distributions of percentages, in bins of 2 %: 0 to 0.83 (natural logarithm)."""
    bins = np.arange(0, 102, 2)
    first, second = (np.histogram(values, bins)[0] / max(len(values), 1) for values in (one, other))
    middle = (first + second) / 2
    return float(np.sqrt(max((_divergence(first, middle) + _divergence(second, middle)) / 2, 0.0)))


def _divergence(share: Floats, middle: Floats) -> float:
    there = share > 0
    return float((share[there] * np.log(share[there] / middle[there])).sum())


def _between(series: Series, first: float, last: float) -> Floats:
    return series.values[(series.times >= first) & (series.times <= last)]


def _p95(values: Floats) -> float:
    """Of no values 0."""
    return float(np.percentile(values, 95)) if len(values) else 0.0
