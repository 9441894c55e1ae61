"""Everything the report of a search says, as one mapping: report.json, and all that its page is made from."""

import math
import os
import shlex
import statistics
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from kennel import __version__
from kennel.hyperparameters import RESERVED, unquoted
from kennel.report.search_advice import advise
from kennel.report.search_effects import at_end, effect
from kennel.report.search_record import SearchRange, SearchRecord
from kennel.rule_files import plain

Json = dict[str, Any]
_MOST_CURVES: Final = 100
_OUTCOMES: Final = {"Completed": "completed", "Failed": "failed", "Stopped": "stopped"}


def build_search_content(record: SearchRecord, output: Path) -> Json:
    """The report of a search, ready for JSON. output: the page, from which links to the trainings' files start."""
    ranges = record.ranges
    trials = [_trial(each, record, ranges, output.parent) for each in record.trials]
    _mark_best(trials, record)
    best = next((each for each in trials if each["is_best"]), None)
    content: Json = {
        "version": 1,
        "kind": "search",
        "kennel": __version__,
        "made": time.time(),
        "name": record.name,
        "source": str(record.source),
        "status": record.status,
        "failure": record.description.get("FailureReason"),
        "problems": record.problems,
        "strategy": record.config.get("Strategy"),
        "early_stopping": record.config.get("TrainingJobEarlyStoppingType") or "Off",
        "seed": record.config.get("RandomSeed"),
        "objective": record.objective,
        "limits": dict(record.config.get("ResourceLimits") or {}),
        "parents": [
            each.get("HyperParameterTuningJobName")
            for each in (record.description.get("WarmStartConfig") or {}).get("ParentHyperParameterTuningJobs") or []
        ],
        "statics": _statics(record),
        "channels": _channels(record),
        "times": _times(record, trials),
        "counts": _counts(trials),
        "results": _results(trials),
        "best": best and _best(best, ranges, record),
        "parameters": [_parameter(each, place, trials, best, record) for place, each in enumerate(ranges)],
        "trials": trials,
        "curves": _curves(trials),
    }
    content["advice"] = advise(content)
    whole: Json = plain(content)
    return whole


def _trial(trial: Mapping[str, Any], record: SearchRecord, ranges: Sequence[SearchRange], folder: Path) -> Json:
    run = record.source.parent / trial["name"]
    value = trial["objective"]
    is_number = isinstance(value, int | float) and math.isfinite(value)
    outcome = "stopped early" if trial["is_stopped_early"] else _OUTCOMES.get(trial["status"], "in progress")
    outcome = "interrupted" if trial["is_interrupted"] else outcome
    if outcome == "completed" and not is_number and trial["objective_status"] == "Failed":
        outcome = "no objective"
    return {
        **{key: trial[key] for key in ("number", "name", "status", "seconds", "reason", "is_parents")},
        "outcome": outcome,
        "objective": value if is_number else None,
        "values": [each.read(trial["parameters"].get(each.name)) for each in ranges],
        "history": trial["history"],
        "log": _link(run / "log.txt", folder),
        "report": _link(run / "report.html", folder),
    }


def _link(file: Path, folder: Path) -> str | None:
    """From the page's folder, as a relative address; None for a file that is not there."""
    if not file.is_file():
        return None
    return urllib.parse.quote(os.path.relpath(file, folder))


def _mark_best(trials: Sequence[Json], record: SearchRecord) -> None:
    """Adds is_best, as SageMaker tells it, and the best objective so far, to each trial."""
    sign = 1 if record.is_minimized else -1
    best: Json | None = None
    # As the search itself: only what has completed surely has a model.
    has_completed = any(each["status"] == "Completed" and each["objective"] is not None for each in trials)
    for trial in trials:
        value = trial["objective"] if trial["status"] == "Completed" or not has_completed else None
        if value is not None and (best is None or sign * value < sign * best["objective"]):
            best = trial
        trial["best_so_far"] = best and best["objective"]
    told = [each for each in trials if each["name"] == record.best_name and each["objective"] is not None]
    for trial in trials:
        trial["is_best"] = trial is (told[0] if told else best)


def _best(best: Json, ranges: Sequence[SearchRange], record: SearchRecord) -> Json:
    """The best training, and what a person types to use it."""
    sent = next(each["parameters"] for each in record.trials if each["name"] == best["name"])
    words = " ".join(f"-p {each.name}={shlex.quote(unquoted(sent[each.name]))}" for each in ranges if each.name in sent)
    data = _channels(record).get("data", "DIR")
    there = "--on aws " if data.startswith("s3:") else ""
    folder = shlex.quote(urllib.parse.unquote(data.removeprefix("file://")))
    return {
        **{key: best[key] for key in ("number", "name", "objective", "seconds", "is_parents", "values")},
        "place": record.trials.index(next(each for each in record.trials if each["name"] == best["name"])),
        "assignments": words,
        "command": f"scripts/train.sh {there}--data {folder} --best-of {record.name}",
    }


def _parameter(of: SearchRange, place: int, trials: Sequence[Json], best: Json | None, record: SearchRecord) -> Json:
    found = [each for each in trials if each["objective"] is not None]
    values = [each["values"][place] for each in found]
    objectives = [each["objective"] for each in found]
    return {
        "name": of.name,
        "kind": of.kind,
        "low": of.low,
        "high": of.high,
        "values": [of.read(value) for value in of.values],
        "scaling": of.scaling,
        "is_log": of.is_log,
        "is_number": of.is_number,
        "best": best and best["values"][place],
        "effect": effect(of, values, objectives, is_minimized=record.is_minimized),
        "at_end": at_end(of, best["values"][place], len(found)) if best else None,
    }


def _statics(record: SearchRecord) -> Json:
    found = record.definitions[0].get("StaticHyperParameters") or {}
    return {name: unquoted(str(text)) for name, text in found.items() if not name.startswith(RESERVED)}


def _channels(record: SearchRecord) -> dict[str, str]:
    """Where the input of each channel comes from."""
    found = {}
    for each in record.definitions[0].get("InputDataConfig") or []:
        source = (each.get("DataSource") or {}).get("S3DataSource") or {}
        found[str(each.get("ChannelName"))] = str(source.get("S3Uri", ""))
    return found


def _times(record: SearchRecord, trials: Sequence[Json]) -> Json:
    """Seconds since 1970, and seconds: of the search, and of all its trainings together."""
    started = _moment(record.description.get("CreationTime"))
    ended = _moment(record.description.get("HyperParameterTuningEndTime"))
    return {
        "started": started,
        "duration_s": ended - started if started is not None and ended is not None else None,
        "trainings_s": sum(each["seconds"] or 0 for each in trials if not each["is_parents"]),
    }


def _moment(text: object) -> float | None:
    if isinstance(text, int | float):
        return float(text)
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def _counts(trials: Sequence[Json]) -> dict[str, int]:
    own = [each for each in trials if not each["is_parents"]]
    counts = {"trainings": len(own), "parents": len(trials) - len(own)}
    for key, outcome in (
        ("completed", "completed"),
        ("stopped_early", "stopped early"),
        ("stopped", "stopped"),
        ("failed", "failed"),
        ("interrupted", "interrupted"),
        ("without_objective", "no objective"),
    ):
        counts[key] = sum(each["outcome"] == outcome for each in own)
    return counts


def _results(trials: Sequence[Json]) -> Json:
    values = [each["objective"] for each in trials if each["objective"] is not None]
    if not values:
        return {}
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _curves(trials: Sequence[Json]) -> list[int]:
    """The places of the trainings whose objective can be followed; of very many, the best and those stopped early."""
    found = [place for place, each in enumerate(trials) if len(each["history"]) > 1]
    found.sort(key=lambda place: (not trials[place]["is_best"], trials[place]["outcome"] != "stopped early", place))
    return sorted(found[:_MOST_CURVES])
