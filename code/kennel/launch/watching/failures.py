"""Why something failed on AWS, for a person: AWS's reason, the last lines of its log, and what to do.

    print("\\n".join(failure_lines(TRAINING, description, place)))

Exercise it: pytest tests/unit/launch/test_failures.py
"""

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from kennel.aws.remedies import remedy
from kennel.launch.places import Place
from kennel.launch.watching.kinds import ENDPOINT, TRAINING, Kind
from kennel.launch.watching.log_lines import last_lines

Json = dict[str, Any]
_LAST_LINES: Final = 20
_NO_REASON: Final = "no reason was left"
_SHOWN_NAMES: Final = 3
_NUMBERS: Final = re.compile(r"\d+(\.\d+)?([eE][-+]?\d+)?")


def failure_lines(kind: Kind, description: Json, place: Place) -> list[str]:
    """The end of the log and the remedy, of what did not end well; the reason itself is in its description."""
    if kind.status(description) not in ("Failed", "UpdateRollbackFailed"):
        return _remedy_lines(str(description.get("SecondaryStatus", "")), ())
    name = str(description[f"{kind.member}Name"])
    reason = str(description.get("FailureReason") or _NO_REASON)
    log = last_lines(kind, name, place, count=_LAST_LINES, since_ms=since_ms(kind, description))
    return [*_log_lines(log, kind), *_remedy_lines(reason, log)]


def trial_failure_lines(trials: Iterable[Json], place: Place) -> list[str]:
    """The reasons of a search's failed trainings, the most frequent first, and of the first the log and the remedy.

    trials: summaries, as ListTrainingJobsForHyperParameterTuningJob has them.
    """
    groups = grouped(trials)
    lines = []
    for reason, names in groups:
        shown = ", ".join(names[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")
        lines.append(f"{len(names)} failed ({shown}): {reason}")
    if groups:
        reason, names = groups[0]
        log = last_lines(TRAINING, names[0], place, count=_LAST_LINES)
        lines += [*_log_lines(log, TRAINING, of=names[0]), *_remedy_lines(reason, log)]
    return lines


def print_failure(lines: Sequence[str]) -> None:
    """For whoever reads along; nothing for what ended well."""
    if lines:
        print("\n".join(lines), file=sys.stderr, flush=True)


def grouped(trials: Iterable[Json]) -> list[tuple[str, list[str]]]:
    """(reason, names of the trainings) of those that failed, the most frequent first; numbers make no difference."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for trial in trials:
        if trial["TrainingJobStatus"] == "Failed":
            reason = " ".join(str(trial.get("FailureReason") or _NO_REASON).split())
            groups[_NUMBERS.sub("0", reason)].append((reason, str(trial["TrainingJobName"])))
    found = [(each[0][0], [name for _, name in each]) for each in groups.values()]
    return sorted(found, key=lambda each: -len(each[1]))


def since_ms(kind: Kind, description: Json) -> int | None:
    """Where the log of this one begins: a log group has the lines of earlier endpoints of the same name too."""
    if kind is not ENDPOINT:
        return None
    is_update = description["EndpointStatus"] in ("Updating", "RollingBack", "UpdateRollbackFailed")
    began = description["LastModifiedTime"] if is_update else description["CreationTime"]
    return int(began.timestamp() * 1000) - 1000


def _log_lines(log: Sequence[str], kind: Kind, *, of: str | None = None) -> list[str]:
    whose = f" of {of}" if of else ""
    if not log:
        started = "the container did not start" if kind is ENDPOINT else "it did not get that far"
        return [f"there is no log{whose}: {started}"]
    return [f"the last {len(log)} lines of the log{whose}:", *(f"  {each}" for each in log)]


def _remedy_lines(reason: str, log: Sequence[str]) -> list[str]:
    known = remedy(reason, log)
    return [f"what to do: {known}"] if known else []
