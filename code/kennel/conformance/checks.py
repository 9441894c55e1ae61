"""The checks and what they are told: a check is a small function that looks at a subject and says what it found.

    @check("train.exit_status", kind="train", needs=("train.completes",))
    def exit_status(subject: Subject) -> Finding:
        ...
        return failed("a job without data", "exit status 0", "the job would read Completed", "let `train` end with 1")

The findings of `passed`, `failed`, `warned` and `skipped` get the check's name and seconds from the runner.
A check whose needs failed is skipped with the reason; one that raises becomes a FAIL and the others go on.
The modules of this room named `*_checks.py` are imported by kennel.conformance.run; a new one needs no entry anywhere.
"""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from kennel.conformance.containers import ContainerError, Containers
from kennel.conformance.exercise import Exercise
from kennel.conformance.findings import Finding, Verdict

Kind = Literal["image", "train", "serve"]
KINDS: Final[tuple[Kind, ...]] = ("image", "train", "serve")  # in the order they are checked


@dataclass
class Subject:
    """One image under examination.

    attributes: what `docker inspect` says. kinds: what it is checked as. exercise: how to make it work.
    folder: a scratch folder of its own. model_folder: what a server gets as /opt/ml/model (may be empty; a training
    that completes puts its model there). logs: where logs of containers are kept, if anywhere.
    memory_mb: the limit of every container. stop_grace_s: from SIGTERM to SIGKILL, where it is not SageMaker's.
    shared: what checks leave for later checks, so that one run of a container can answer several.
    """

    image: str
    attributes: Mapping[str, Any]
    containers: Containers
    exercise: Exercise
    folder: Path
    model_folder: Path
    kinds: frozenset[Kind] = frozenset({"image"})
    logs: Path | None = None
    memory_mb: int | None = None
    stop_grace_s: float | None = None
    shared: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Mapping[str, Any]:
        """The image's configuration: Env, Entrypoint, Labels, User."""
        config: Mapping[str, Any] = self.attributes.get("Config") or {}
        return config

    @property
    def labels(self) -> Mapping[str, str]:
        return self.config.get("Labels") or {}

    def keep_log(self, name: str, text: str) -> None:
        """Writes a container's log to `<logs>/<image>/<name>.log`, where logs are kept."""
        if self.logs is None:
            return
        target = self.logs / self.image.replace("/", "_").replace(":", "_") / f"{name}.log"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


CheckFunction = Callable[[Subject], Finding | Iterable[Finding]]


@dataclass(frozen=True)
class Check:
    """name: `<kind>.<what>`. needs: checks that must not have failed (nor been skipped for that) before it."""

    name: str
    kind: Kind
    run: CheckFunction
    needs: tuple[str, ...] = ()


CHECKS: Final[list[Check]] = []


def check(name: str, *, kind: Kind, needs: Sequence[str] = ()) -> Callable[[CheckFunction], CheckFunction]:
    """Adds a function to the checks, which run in the order they were added."""

    def add(function: CheckFunction) -> CheckFunction:
        if any(each.name == name for each in CHECKS):
            raise ValueError(f"Check '{name}' exists twice.")
        CHECKS.append(Check(name, kind, function, tuple(needs)))
        return function

    return add


def passed(tried: str, seen: str) -> Finding:
    return Finding("", Verdict.PASS, tried, seen)


def failed(tried: str, seen: str, consequence: str, remedy: str) -> Finding:
    return Finding("", Verdict.FAIL, tried, seen, consequence, remedy)


def warned(tried: str, seen: str, consequence: str, remedy: str) -> Finding:
    return Finding("", Verdict.WARN, tried, seen, consequence, remedy)


def skipped(tried: str, reason: str) -> Finding:
    return Finding("", Verdict.SKIP, tried, reason)


@dataclass(frozen=True)
class Selection:
    """Which checks to run: names, or beginnings of names such as `train.`; everything if `only` is empty."""

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        return (not self.only or _matches(name, self.only)) and not _matches(name, self.skip)


def run_checks(
    subject: Subject, *, selection: Selection | None = None, checks: Sequence[Check] | None = None
) -> Iterator[Finding]:
    """Every finding as its check ends. With `only`, what a check needs runs too and is reported if it failed."""
    every = sorted(CHECKS if checks is None else checks, key=lambda each: KINDS.index(each.kind))
    selection = selection or Selection()
    wanted = _with_needs(every, selection)
    blocked: dict[str, str] = {}
    for each in every:
        if each.kind not in subject.kinds or each.name not in wanted:
            continue
        findings = _run_one(each, subject, blocked)
        if any(finding.verdict is Verdict.FAIL for finding in findings):
            blocked[each.name] = f"{each.name} failed"
        elif each.name not in blocked and _is_blocked(each, blocked):
            blocked[each.name] = f"{each.name} was skipped"
        yield from (finding for finding in findings if selection.has(each.name) or finding.verdict is Verdict.FAIL)


def _run_one(each: Check, subject: Subject, blocked: Mapping[str, str]) -> list[Finding]:
    reasons = [blocked[need] for need in each.needs if need in blocked]
    if reasons:
        return [Finding(each.name, Verdict.SKIP, "", reasons[0])]
    begun = time.monotonic()
    try:
        found = each.run(subject)
        findings = [found] if isinstance(found, Finding) else list(found)
    except ContainerError as error:
        findings = [failed("", str(error), "", "")]
    except Exception as error:  # one crashing check must not hide what the others would say
        traceback.print_exc()
        findings = [failed("", f"the check itself failed: {type(error).__name__}: {error}", "unknown", "")]
    seconds = time.monotonic() - begun
    return [replace(finding, check=finding.check or each.name, seconds=seconds) for finding in findings]


def _with_needs(checks: Sequence[Check], selection: Selection) -> set[str]:
    """Names of the selected checks and, where a selection was made, of all they need."""
    by_name = {each.name: each for each in checks}
    wanted: set[str] = set()
    pending = [each.name for each in checks if selection.has(each.name)]
    while pending:
        name = pending.pop()
        if name not in wanted and name in by_name and not _matches(name, selection.skip):
            wanted.add(name)
            pending += by_name[name].needs
    return wanted


def _is_blocked(each: Check, blocked: Mapping[str, str]) -> bool:
    return any(need in blocked for need in each.needs)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(name == pattern or name.startswith(f"{pattern.rstrip('.')}.") for pattern in patterns)
