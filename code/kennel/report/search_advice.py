"""What to do after a search: mend what failed, widen a range, go on."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Json = dict[str, Any]
_FEW: Final = 8
_LATE: Final = 0.75  # of the trainings: a best found later was hardly the last one to find


def advise(content: Mapping[str, Any]) -> list[Json]:
    """title, change, evidence and severity (fault, improvement, note) of each, faults first."""
    if content["best"] is None:
        return [_no_best(content)]
    return [*_failures(content), *_ends(content), *_late(content), *_few(content)]


def _advice(severity: str, title: str, change: str, *evidence: str) -> Json:
    return {"severity": severity, "title": title, "change": change, "evidence": [each for each in evidence if each]}


def _no_best(content: Mapping[str, Any]) -> Json:
    reasons = list(dict.fromkeys(str(each["reason"]) for each in content["trials"] if each["reason"]))
    if content["status"] == "InProgress":
        return _advice("note", "The search has only begun", "Report on it again when a training has ended.")
    if content["status"] == "Stopped":
        return _advice(
            "note", "It was stopped before a training ended with an objective", "Search again.", *reasons[:3]
        )
    if not content["trials"]:
        return _advice("fault", "No training was started", "Search again.", str(content["failure"] or ""))
    change = "Mend what the trainings' logs say, then search again." if reasons else "Search again."
    return _advice("fault", "No training has ended with an objective", change, *reasons[:3])


def _failures(content: Mapping[str, Any]) -> list[Json]:
    counts = content["counts"]
    bad = counts["failed"] + counts["without_objective"]
    if not bad:
        return []
    reasons = list(dict.fromkeys(str(each["reason"]) for each in content["trials"] if each["reason"]))
    title = f"{bad} of {counts['trainings']} trainings gave nothing"
    return [_advice("fault", title, "Take the values that make them fail out of the ranges.", *reasons[:3])]


def _ends(content: Mapping[str, Any]) -> list[Json]:
    made = []
    for each in content["parameters"]:
        if end := each["at_end"]:
            side = "lower" if end["end"] == "low" else "upper"
            ends = f"{each['low']:g} to {each['high']:g}" if each["low"] is not None else _listed(each["values"])
            made.append(
                _advice(
                    "improvement",
                    f"Widen the range of {each['name']}",
                    f"Let it go to {end['wider']:g}, and search on: --warm-start {content['name']}",
                    f"The best value, {end['best']:.4g}, lies at the {side} end of its range ({ends}).",
                )
            )
    return made


def _late(content: Mapping[str, Any]) -> list[Json]:
    trials = content["trials"]
    place = content["best"]["place"]
    if len(trials) < _FEW or place < _LATE * (len(trials) - 1):
        return []
    return [
        _advice(
            "improvement",
            "Search on",
            f"More trainings are likely to find better: --warm-start {content['name']}",
            f"The best was found late, in training {place + 1} of {len(trials)}.",
        )
    ]


def _few(content: Mapping[str, Any]) -> list[Json]:
    found = sum(each["objective"] is not None for each in content["trials"])
    if found >= _FEW:
        return []
    said = (
        f"With {found} result{'s' * (found != 1)}, which is best is largely chance, and what mattered cannot be said."
    )
    return [_advice("note", "Few trainings", "Raise --max-jobs.", said)]


def _listed(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values)
