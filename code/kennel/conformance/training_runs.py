"""Runs of a trainer's container, and what is left of each: status, log, metrics, files. Checks share them."""

import hashlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kennel.conformance.checks import Subject
from kennel.conformance.containers import Exit, RunningContainer
from kennel.conformance.ml_folder import Job, MlFolder, lay_out

SIGTERM_GRACE_S: Final = 120.0
# A line of progress, where no metric definition says what one looks like.
_PROGRESS: Final = re.compile(r"(?i)\b(epoch|step|iter\w*|loss|acc\w*)\b\W{0,3}\d")
_COMPARABLE: Final = re.compile(r"(?i)loss|acc|err|f1|auc")
_LOOK_S: Final = 0.1
_LINE_AFTER_CHECKPOINT_S: Final = 1.0


@dataclass(frozen=True)
class Conditions:
    """How strict the surroundings are: SageMaker can be as strict as the default. What must be eased is the fault."""

    has_network: bool = False
    is_input_read_only: bool = True
    has_extras: bool = True


@dataclass(frozen=True)
class TrainingRun:
    """What one container did. metrics: every value of every definition in the order of the log.

    model, checkpoints: path -> sha256 of the files left there. changed: paths written outside the mounts, if compared.
    """

    exit: Exit
    log: str
    metrics: Mapping[str, Sequence[float]]
    model: Mapping[str, str]
    checkpoints: Mapping[str, str]
    failure: str | None
    changed: Sequence[str]
    ml: MlFolder

    @property
    def is_completed(self) -> bool:
        return self.exit.status == 0

    def last_words(self, lines: int = 4) -> str:
        """The end of the log on one line, for a person."""
        tail = [line.strip() for line in self.log.splitlines() if line.strip()][-lines:]
        return " | ".join(line[:200] for line in tail) or "nothing in the log"

    def ending(self) -> str:
        """`exit status 1 after 3.2 s`."""
        if self.exit.status is None:
            return f"still running after {self.exit.seconds:.0f} s, and killed"
        memory = " (out of memory)" if self.exit.is_out_of_memory else ""
        return f"exit status {self.exit.status}{memory} after {self.exit.seconds:.1f} s"


@dataclass
class StartedRun:
    """A container under way. name: of its folder and log. is_compared: with the image afterwards, which takes 0.6 s."""

    subject: Subject
    name: str
    ml: MlFolder
    container: RunningContainer
    is_compared: bool = False

    def wait(self) -> TrainingRun:
        return self.finish(self.container.wait(timeout_s=self.subject.exercise.timeout_s))

    def wait_for_progress(self) -> str | None:
        """What shows that it is in the middle: a metric line or a checkpoint. None if it ended without either."""
        deadline = time.monotonic() + self.subject.exercise.timeout_s
        while time.monotonic() < deadline:
            if line := self._progress_line(_LOOK_S):
                return line
            if files := digests(self.ml.checkpoints_dir):
                # The line often comes right after; with it, what was learned can be compared.
                return self._progress_line(_LINE_AFTER_CHECKPOINT_S) or f"the checkpoint {min(files)}"
            if not self.container.is_running():
                return None
        return None

    def _progress_line(self, timeout_s: float) -> str | None:
        definitions = self.subject.exercise.metric_definitions
        line = self.container.wait_for(lambda text: shows_progress(text, definitions), timeout_s=timeout_s)
        return f"the line `{line.strip()[:120]}`" if line else None

    def finish(self, ended: Exit) -> TrainingRun:
        """Reads what the ended container left, keeps its log, and removes it."""
        log = self.container.log()
        self.subject.keep_log(self.name, log)
        changed = self.container.changed_paths() if self.is_compared else []
        self.subject.containers.remove(self.container)
        self.subject.containers.take_over(self.subject.image, [self.ml.base, self.ml.checkpoints_dir])
        return TrainingRun(
            exit=ended,
            log=log,
            metrics=read_metrics(log, self.subject.exercise.metric_definitions),
            model=digests(self.ml.model_dir),
            checkpoints=digests(self.ml.checkpoints_dir),
            failure=self.ml.failure(),
            changed=written_outside(changed),
            ml=self.ml,
        )


def start_training(
    subject: Subject,
    name: str,
    *,
    conditions: Conditions,
    is_quoted: bool = False,
    changes: Mapping[str, str] | None = None,
    channels: Mapping[str, Path] | None = None,
    checkpoints_dir: Path | None = None,
    is_compared: bool = False,
) -> StartedRun:
    """`docker run IMAGE train` on a folder of its own. changes: laid over the exercise's hyperparameters."""
    job = replace(
        job_of(subject, conditions),
        hyperparameters={**subject.exercise.hyperparameters, **(changes or {})},
        is_quoted=is_quoted,
    )
    if channels is not None:
        job = replace(job, channels=channels)
    ml = lay_out(new_folder(subject, name), job, checkpoints_dir=checkpoints_dir)
    network = "bridge" if conditions.has_network else "none"
    return StartedRun(subject, name, ml, start_host(subject, ml, host="algo-1", network=network), is_compared)


def job_of(subject: Subject, conditions: Conditions) -> Job:
    """The ordinary job of a subject."""
    exercise = subject.exercise
    return Job(
        channels={name: Path(folder) for name, folder in exercise.channels.items()},
        hyperparameters=exercise.hyperparameters,
        metric_definitions=exercise.metric_definitions,
        has_extras=conditions.has_extras,
        is_input_read_only=conditions.is_input_read_only,
    )


def start_host(subject: Subject, ml: MlFolder, *, host: str, network: str) -> RunningContainer:
    return subject.containers.start(
        subject.image,
        ["train"],
        mounts=ml.mounts(),
        environment={**ml.environment(), **subject.exercise.environment},
        network=network,
        hostname=host,
        memory_mb=subject.memory_mb,
    )


def new_folder(subject: Subject, name: str) -> Path:
    folder = subject.folder / name
    folder.mkdir(parents=True)
    return folder


def shows_progress(line: str, definitions: Sequence[Mapping[str, str]]) -> bool:
    """Whether a line of the log says that training is under way."""
    if not definitions:
        return bool(_PROGRESS.search(line))
    return any(_values(definition["Regex"], line) for definition in definitions)


def read_metrics(log: str, definitions: Sequence[Mapping[str, str]]) -> dict[str, list[float]]:
    """Every definition's values, line by line as the platform scans a log; what is no number is left out."""
    return {
        definition["Name"]: [value for line in log.splitlines() for value in _values(definition["Regex"], line)]
        for definition in definitions
    }


def comparable_metrics(subject: Subject) -> list[str]:
    """Metrics that two equal runs must agree in: the label's, or those that measure what was learned, not the time."""
    names = [definition["Name"] for definition in subject.exercise.metric_definitions]
    if subject.exercise.compare_metrics:
        return list(subject.exercise.compare_metrics)
    return [name for name in names if _COMPARABLE.search(name)]


def difference(first: float, second: float) -> float:
    """Relative difference of two metric values; nan equals nan."""
    if math.isnan(first) or math.isnan(second):
        return 0.0 if math.isnan(first) and math.isnan(second) else math.inf
    return abs(first - second) / max(abs(first), abs(second), 1e-9)


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file that is not empty. Files that vanish meanwhile are left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file() and path.stat().st_size:
                with path.open("rb") as file:
                    found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            continue
    return found


def written_outside(changed: Sequence[str]) -> list[str]:
    """Of `docker diff`'s paths those a program wrote: no parent folders, nothing under /opt/ml, /tmp and the like."""
    parents = {path.rpartition("/")[0] for path in changed}
    for path in list(parents):
        while path:
            parents.add(path)
            path = path.rpartition("/")[0]
    quiet = ("/opt/ml", "/tmp", "/dev", "/proc", "/sys", "/run", "/var/run")  # noqa: S108  names, never opened
    return [
        path
        for path in changed
        if path not in parents and not any(path == q or path.startswith(f"{q}/") for q in quiet)
    ]


def _values(regex: str, line: str) -> list[float]:
    """The numbers a metric definition finds in a line; the platform ignores what is no number."""
    found = []
    try:
        for match in re.finditer(regex, line):
            found.append(float(match.group(1)))
    except (re.error, IndexError, ValueError):
        return found
    return found
