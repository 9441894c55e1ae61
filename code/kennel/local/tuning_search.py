"""Which hyperparameters to try next: Optuna's samplers and pruners behind a few plain calls.

    Bayesian    TPESampler: multivariate, and running trials count as bad ones so that no two try the same
    Random      RandomSampler
    Grid        GridSampler over the categories
    Hyperband   RandomSampler, and HyperbandPruner says which trials are stopped early

Every draw has a sampler of its own, seeded by the search's seed and the number of the draw: the n-th draw of a Random
search is the same whatever the trials took, and also when the service was started again in between.

The study is kept in Optuna's journal, runs/<tuning job>/search.log, so that what was learned survives a kill -9. Optuna
is imported when the first search begins (0.4 s).
"""

import importlib
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kennel.local.tuning_ranges import Range

# From here on "Auto" searches a range on a logarithmic scale: AWS does not tell its own rule, and a range over two
# orders of magnitude is one that nobody means linearly.
_AUTO_LOGARITHMIC_FROM: Final = 100.0
_REDUCTION: Final = 3  # of Hyperband: each rung keeps a third; AWS's too
_MOST_COUNTED: Final = 10_000
_MOST_RANDOM_FIRST: Final = 10
_FEWEST_RANDOM_FIRST: Final = 3


@dataclass(frozen=True)
class Plan:
    """What a search is. resources: the least and the most epochs of a trial, for Hyperband. most: of trials."""

    name: str
    strategy: str
    minimize: bool
    ranges: tuple[Range, ...]
    seed: int
    most: int
    resources: tuple[int, int] | None = None

    @property
    def combinations(self) -> float:
        """How many different trials there can be; mostly infinite."""
        return math.prod(each.size for each in self.ranges)

    @property
    def draws(self) -> float:
        """How many draws there are before the search is exhausted."""
        return self.combinations if self.strategy == "Grid" else math.inf


@dataclass(frozen=True)
class Proposal:
    """Hyperparameters to try, as strings. number: the study's own, for `report` and `tell`."""

    number: int
    parameters: dict[str, str]


class Search:
    """One study. Not for several threads at once."""

    def __init__(self, plan: Plan, journal: Path) -> None:
        """Opens the study in `journal`, or begins it."""
        self._plan = plan
        self._optuna = _optuna()
        self._scales = {each.name: _Scale(self._optuna, each) for each in plan.ranges}
        self._distributions = {name: scale.distribution for name, scale in self._scales.items()}
        self._plain = self._optuna.samplers.RandomSampler(seed=plan.seed)
        self._study = self._optuna.create_study(
            storage=self._optuna.storages.JournalStorage(_journal(self._optuna, journal)),
            study_name=plan.name,
            direction="minimize" if plan.minimize else "maximize",
            sampler=self._plain,
            pruner=self._pruner(),
            load_if_exists=True,
        )

    def ask(self, draw: int, *, tried: Sequence[Mapping[str, str]] = ()) -> Proposal:
        """The hyperparameters of the draw with this number, counted from 0.

        tried: those of the draws before. Where there are only so many combinations, one that was tried is replaced by
        one that was not; a search with the same seed is still the same, since `tried` is.
        """
        self._study.sampler = self._sampler(draw)
        trial = self._study.ask(self._distributions)
        proposal = Proposal(trial.number, self._as_sent(trial.params))
        if proposal.parameters in tried and (left := self._untried(tried)):
            self.tell(proposal.number, (), status="Failed")
            return self.again(left[_mixed(self._plan.seed, draw) % len(left)])
        return proposal

    def again(self, parameters: Mapping[str, str]) -> Proposal:
        """The same hyperparameters once more, as a trial of its own."""
        trial = self._frozen(parameters, state=self._optuna.trial.TrialState.RUNNING)
        self._study.add_trial(trial)
        return Proposal(len(self._study.get_trials(deepcopy=False)) - 1, dict(parameters))

    def learn(self, parameters: Mapping[str, str], objective: float) -> bool:
        """Takes in what an earlier tuning job found; False if that was outside the ranges of this one."""
        try:
            trial = self._frozen(parameters, state=self._optuna.trial.TrialState.COMPLETE, value=objective)
        except ValueError:
            return False
        self._study.add_trial(trial)
        return True

    def is_to_be_stopped(self, number: int, values: Sequence[float], *, epoch: int) -> bool:
        """Takes in a running trial's next objective values; whether the trial is pruned by one of them.

        epoch: of the first of `values`, counted from 1. False with strategies that prune nothing.
        """
        if self._plan.strategy != "Hyperband":
            return False
        trial = self._running(number)
        for step, value in enumerate(values, epoch):
            trial.report(value, step)
            if trial.should_prune():
                return True
        return False

    def tell(self, number: int, history: Sequence[float], *, status: str) -> None:
        """How a trial ended, with a TrainingJobStatus. Told a second time, nothing happens."""
        state = self._optuna.trial.TrialState
        if self._study.get_trials(deepcopy=False)[number].state.is_finished():
            return
        self._study.sampler = self._plain  # GridSampler ends optimize() when a trial is told, and there is none here
        if status == "Failed" or not history:
            self._study.tell(number, state=state.FAIL)
        elif status == "Completed":
            self._study.tell(number, history[-1])
        else:
            self._report_last(number, history)
            self._study.tell(number, state=state.PRUNED)

    def forget_running(self, known: set[int]) -> list[dict[str, str]]:
        """Fails the running trials that are not `known`; returns the hyperparameters of those that were complete.

        Such a trial was drawn just before the service was killed, and never became a training job.
        """
        lost = []
        for trial in self._study.get_trials(deepcopy=False):
            if trial.number not in known and not trial.state.is_finished():
                if trial.params.keys() == self._distributions.keys():
                    lost.append(self._as_sent(trial.params))
                self.tell(trial.number, (), status="Failed")
        return lost

    def _untried(self, tried: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """The combinations that are left; none where there are too many to count."""
        if self._plan.combinations > _MOST_COUNTED:
            return []
        gone = {tuple(each[name] for name in self._scales) for each in tried}
        every = itertools.product(*(scale.every_value() for scale in self._scales.values()))
        return [dict(zip(self._scales, each, strict=True)) for each in every if each not in gone]

    def _sampler(self, draw: int) -> Any:  # noqa: ANN401  as above
        samplers, plan = self._optuna.samplers, self._plan
        if plan.strategy == "Grid":  # its order is shuffled by the seed, and must stay the same from draw to draw
            return samplers.GridSampler({each.name: list(each.values) for each in plan.ranges}, seed=plan.seed)
        if plan.strategy != "Bayesian":
            return samplers.RandomSampler(seed=_mixed(plan.seed, draw))
        first = max(_FEWEST_RANDOM_FIRST, min(_MOST_RANDOM_FIRST, plan.most // 4))
        return samplers.TPESampler(
            n_startup_trials=first, multivariate=True, constant_liar=True, seed=_mixed(plan.seed, draw)
        )

    def _pruner(self) -> Any:  # noqa: ANN401  as above
        if self._plan.resources is None:
            return self._optuna.pruners.NopPruner()
        low, high = self._plan.resources
        return self._optuna.pruners.HyperbandPruner(low, high, reduction_factor=_REDUCTION)

    def _running(self, number: int) -> Any:  # noqa: ANN401  as above
        return self._optuna.trial.Trial(self._study, self._study.get_trials(deepcopy=False)[number]._trial_id)

    def _report_last(self, number: int, history: Sequence[float]) -> None:
        """A pruned trial counts by the last value that was reported."""
        if (self._study.get_trials(deepcopy=False)[number].last_step or 0) < len(history):
            self._running(number).report(history[-1], len(history))

    def _frozen(self, parameters: Mapping[str, str], **more: object) -> Any:  # noqa: ANN401  as above
        """A trial with these hyperparameters. Raises ValueError if they are not all in the ranges."""
        missing = self._scales.keys() - parameters.keys()
        if missing:
            raise ValueError(f"no value of {', '.join(sorted(missing))}")
        params = {name: scale.read(parameters[name]) for name, scale in self._scales.items()}
        return self._optuna.trial.create_trial(params=params, distributions=self._distributions, **more)

    def _as_sent(self, params: Mapping[str, Any]) -> dict[str, str]:
        return {name: scale.write(params[name]) for name, scale in self._scales.items()}


class _Scale:
    """Between a hyperparameter as it is sent and the variable that Optuna searches."""

    def __init__(self, optuna: Any, wanted: Range) -> None:  # noqa: ANN401  imported late
        self._range = wanted
        # x near 1 is searched as finely as 1 - x near 0.
        self._is_reversed = wanted.scaling == "ReverseLogarithmic"
        self.distribution = self._distribution(optuna.distributions)

    def write(self, value: Any) -> str:  # noqa: ANN401  what optuna gives
        """As a trial gets it."""
        if self._range.kind == "categorical":
            return str(value)
        if self._is_reversed:
            value = min(max(1.0 - value, float(self._range.low or 0)), float(self._range.high or 0))
        return repr(int(value) if self._range.kind == "integer" else float(value))

    def read(self, text: str) -> Any:  # noqa: ANN401  what optuna takes
        """The inverse of `write`. Raises ValueError for what is outside the range."""
        wanted = self._range
        if wanted.kind == "categorical":
            if text not in wanted.values:
                raise ValueError(f"{text} is not among {wanted.values}")
            return text
        number = int(text) if wanted.kind == "integer" else float(text)
        low, high = _ends(wanted)
        if not low <= number <= high:
            raise ValueError(f"{number} is not within {low} to {high}")
        if not self._is_reversed:
            return number
        return min(max(1.0 - number, self.distribution.low), self.distribution.high)

    def every_value(self) -> list[str]:
        """All there are, as a trial gets them; for a range that is finite."""
        if self._range.kind == "categorical":
            return list(self._range.values)
        low, high = _ends(self._range)
        return [repr(each) for each in range(int(low), int(high) + 1)] if self._range.kind == "integer" else [repr(low)]

    def _distribution(self, kinds: Any) -> Any:  # noqa: ANN401  imported late
        wanted = self._range
        if wanted.kind == "categorical":
            return kinds.CategoricalDistribution(list(wanted.values))
        low, high = _ends(wanted)
        if self._is_reversed:
            return kinds.FloatDistribution(1.0 - high, 1.0 - low, log=True)
        kind = kinds.IntDistribution if wanted.kind == "integer" else kinds.FloatDistribution
        return kind(low, high, log=is_logarithmic(wanted))


def is_logarithmic(wanted: Range) -> bool:
    """Whether a numeric range is searched on a logarithmic scale."""
    if wanted.scaling == "Auto" and wanted.kind != "categorical":
        low, high = _ends(wanted)
        return low > 0 and high / low >= _AUTO_LOGARITHMIC_FROM
    return wanted.scaling == "Logarithmic"


def _ends(wanted: Range) -> tuple[float, float]:
    if wanted.low is None or wanted.high is None:
        raise ValueError(f"range {wanted.name} has no ends")
    return wanted.low, wanted.high


def _mixed(*numbers: int) -> int:
    """One seed of 32 bits out of several numbers: neighbouring draws have unrelated ones."""
    numpy = importlib.import_module("numpy")
    return int(numpy.random.SeedSequence(numbers).generate_state(1)[0])


def _optuna() -> Any:  # noqa: ANN401  a module
    optuna = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # What is used here is settled enough for us; a warning per search would only fill the service's log.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def _journal(optuna: Any, path: Path) -> Any:  # noqa: ANN401  as above
    """The journal, mended after a kill -9: half a line at its end would spoil the next, and nobody holds its lock."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.is_file():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as stream:
                stream.truncate(whole)
    return optuna.storages.journal.JournalFileBackend(str(path))
