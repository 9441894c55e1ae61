"""A search for hyperparameters as its files tell it: tuning.json and trials.json of the tuning job's folder.

record = read_search(Path("runs/dogs-1"))
record.status, record.best, record.ranges
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kennel.hyperparameters import unquoted
from kennel.report.record import Reader

Json = dict[str, Any]
SEARCH_FILE: Final = "tuning.json"
TRIALS_FILE: Final = "trials.json"
# Over that many times its low end, a range of numbers above 0 is searched on a logarithmic scale by itself.
_AUTO_LOG_RATIO: Final = 100


@dataclass(frozen=True)
class SearchRange:
    """What one hyperparameter could be. low, high: of numbers. values: of a list, unquoted."""

    name: str
    kind: str  # continuous, integer or categorical
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    scaling: str = "Auto"

    @property
    def is_log(self) -> bool:
        if self.low is None or self.high is None or self.low <= 0:
            return False
        return self.scaling == "Logarithmic" or (self.scaling == "Auto" and self.high / self.low >= _AUTO_LOG_RATIO)

    @property
    def is_number(self) -> bool:
        """Whether every value is a number, also those of a list."""
        return self.kind != "categorical" or all(_is_number(value) for value in self.values)

    def read(self, text: str | None) -> float | str | None:
        """A value as it was sent, as a number where it is one."""
        if text is None:
            return None
        plain = unquoted(text)
        if not (self.is_number and _is_number(plain)):
            return plain
        number = float(plain)
        return int(number) if number.is_integer() and self.kind != "continuous" else number


@dataclass(frozen=True)
class SearchRecord:
    """One search. description: as DescribeHyperParameterTuningJob, its times as text. trials: as in trials.json."""

    name: str
    source: Path
    description: Json
    trials: list[Json]
    problems: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        return str(self.description.get("HyperParameterTuningJobStatus") or "Unknown")

    @property
    def config(self) -> Json:
        return dict(self.description.get("HyperParameterTuningJobConfig") or {})

    @property
    def definitions(self) -> list[Json]:
        """Of the trainings, of each kind of them; at least one."""
        one = self.description.get("TrainingJobDefinition")
        return [dict(one)] if one else list(self.description.get("TrainingJobDefinitions") or [{}])

    @property
    def best_name(self) -> str | None:
        """Of the best training as SageMaker tells it, also of the searches that this one went on from."""
        best = self.description.get("OverallBestTrainingJob") or self.description.get("BestTrainingJob") or {}
        return best.get("TrainingJobName")

    @property
    def objective(self) -> Json:
        mine = self.config.get("HyperParameterTuningJobObjective") or self.definitions[0].get("TuningObjective") or {}
        return {"name": str(mine.get("MetricName", "objective")), "type": str(mine.get("Type", "Minimize"))}

    @property
    def is_minimized(self) -> bool:
        return bool(self.objective["type"] == "Minimize")

    @property
    def ranges(self) -> list[SearchRange]:
        """A range a name: where several kinds of trainings share a name, the first's."""
        groups = [self.config.get("ParameterRanges") or {}]
        groups += [each.get("HyperParameterRanges") or {} for each in self.definitions]
        found: dict[str, SearchRange] = {}
        for each in (each for group in groups for each in _ranges(group)):
            found.setdefault(each.name, each)
        return list(found.values())


def is_search(folder: Path) -> bool:
    """Whether a folder is a tuning job's."""
    return (folder / SEARCH_FILE).is_file()


def read_search(folder: Path) -> SearchRecord:
    """The search in a folder; what cannot be read is left out, and said in `problems`."""
    reader = Reader()
    description = reader.json(folder / SEARCH_FILE, {}).get("description") or {}
    trials = [each for each in reader.json(folder / TRIALS_FILE, []) if isinstance(each, dict)]
    return SearchRecord(
        name=str(description.get("HyperParameterTuningJobName") or folder.name),
        source=folder,
        description=description,
        trials=[_whole(each, place) for place, each in enumerate(trials)],
        problems=reader.problems,
    )


def _whole(trial: Mapping[str, Any], place: int) -> Json:
    """The trial with every member that a report asks for."""
    number = trial.get("number")
    return {
        "number": number if isinstance(number, int) else place + 1,
        "name": str(trial.get("TrainingJobName") or ""),
        "parameters": {str(key): str(text) for key, text in (trial.get("parameters") or {}).items()},
        "status": str(trial.get("status") or "Unknown"),
        "objective": trial.get("objective"),
        "objective_status": str(trial.get("objective_status") or "Pending"),
        "history": [float(each) for each in trial.get("history") or [] if isinstance(each, int | float)],
        "seconds": trial.get("seconds"),
        "is_stopped_early": bool(trial.get("stopped_early")),
        "is_parents": bool(trial.get("is_parents")),
        "is_interrupted": bool(trial.get("is_interrupted")),
        "reason": trial.get("reason"),
    }


def _ranges(found: Mapping[str, Any]) -> list[SearchRange]:
    return [
        *(_numbers(each, "continuous") for each in found.get("ContinuousParameterRanges") or []),
        *(_numbers(each, "integer") for each in found.get("IntegerParameterRanges") or []),
        *(_listed(each) for each in found.get("CategoricalParameterRanges") or []),
    ]


def _numbers(each: Mapping[str, Any], kind: str) -> SearchRange:
    return SearchRange(
        name=str(each["Name"]),
        kind=kind,
        low=float(each["MinValue"]),
        high=float(each["MaxValue"]),
        scaling=str(each.get("ScalingType") or "Auto"),
    )


def _listed(each: Mapping[str, Any]) -> SearchRange:
    return SearchRange(str(each["Name"]), "categorical", values=tuple(unquoted(str(value)) for value in each["Values"]))


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
