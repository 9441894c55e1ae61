"""One run as its files tell it: what the verdict judges and the page shows.

    record = read_run(Path("runs/look"))
    record.status, record.best_epoch, record.evaluation["test"]["accuracy"]

Whatever is not there is empty; whatever cannot be read is empty too, and named in `problems`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kennel.errors import KennelError, UserError
from kennel.profile.readers import read_timeline
from kennel.report.found_rules import found_rules
from kennel.report.layout import RunLayout
from kennel.report.learning import best_epoch, history_of_log
from kennel.report.machine import read_machine, read_spans
from kennel.report.timing import read_log_times

if TYPE_CHECKING:
    from kennel.debug.tensors import Trial

_SPLITS: Final = ("valid", "test")
_MAX_JSON_BYTES: Final = 256 * 2**20


@dataclass(frozen=True)
class RunRecord:
    """One run.

    status: SageMaker's (Completed, Failed, Stopped, InProgress), or Unknown where nothing says it.
    hyperparameters: as the training resolved them; as they were asked for where it did not get so far.
    history: one mapping an epoch. best_epoch: the epoch that was kept, from 1. facts: kennel.json of the hook.
    rules: one mapping a rule (common form); a ProfilerReport's own rules are among them. card: model.json.
    trial: the saved tensors, opened, where there are any.
    system, spans: as kennel.report.machine gives them. log: (seconds since 1970 or None, line).
    channels: channel -> folder or file on this machine, of those that are here. split: split.json.
    """

    name: str
    status: str
    failure: str | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int | None = None
    evaluation: dict[str, Any] | None = None
    predictions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    timeline: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] | None = None
    trial: "Trial | None" = None
    job: dict[str, Any] = field(default_factory=dict)
    spans: list[dict[str, Any]] = field(default_factory=list)
    split: dict[str, Any] = field(default_factory=dict)
    channels: dict[str, Path] = field(default_factory=dict)
    log: list[tuple[float | None, str]] = field(default_factory=list)
    source: str = ""
    problems: list[str] = field(default_factory=list)


def read_run(
    folder: Path,
    *,
    name: str | None = None,
    source: str | None = None,
    unpacked: Path | None = None,
    job: Mapping[str, Any] | None = None,
) -> RunRecord:
    """The run in a folder. name, source: what the page calls it, and says of where it came from.

    unpacked: see RunLayout. job: what DescribeTrainingJob says, where no job.json does.

    Raises UserError where the folder holds no run.
    """
    layout = RunLayout(folder, unpacked)
    reader = Reader()
    job = reader.json(layout.job, {}).get("description") or dict(job or {})
    card = reader.json(layout.model / "model.json", {}) or None
    evaluation = reader.json(layout.results / "evaluation.json", {}) or None
    log = reader.lines(layout.log)
    history = reader.json(layout.results / "history.json", []) or history_of_log(log)
    if not (job or card or evaluation or log or layout.tensors.is_dir() or layout.profiler.is_dir()):
        raise UserError(f"{folder} holds no run: neither job.json, log.txt nor a training's output is there.")
    return RunRecord(
        name=name or str(job.get("TrainingJobName") or folder.name),
        status=str(job.get("TrainingJobStatus") or "Unknown"),
        failure=_failure(job, reader, layout),
        hyperparameters=_hyperparameters(card, log, job),
        history=history,
        best_epoch=(evaluation or {}).get("best_epoch") or best_epoch(history),
        evaluation=evaluation,
        predictions={
            split: rows for split in _SPLITS if (rows := reader.rows(layout.results / f"predictions-{split}.jsonl"))
        },
        rules=found_rules((path, reader.json(path, {})) for path in layout.rule_files()),
        facts=reader.json(layout.tensors / "kennel.json", {}),
        timeline=read_timeline(layout.profiler),
        system=read_machine(layout.profiler),
        spans=read_spans(layout.profiler),
        card=card,
        trial=_trial(layout.tensors, reader),
        job=job,
        split=reader.json(layout.results / "split.json", {}),
        channels=channel_folders(layout.folder, job),
        log=read_log_times(layout.log, log),
        source=source or str(folder),
        problems=reader.problems,
    )


def channel_folders(folder: Path, job: Mapping[str, Any]) -> dict[str, Path]:
    """Where the input of each channel lies on this machine, of the channels whose input is still there."""
    found = {}
    for channel in job.get("InputDataConfig") or []:
        uri = str(((channel.get("DataSource") or {}).get("S3DataSource") or {}).get("S3Uri", ""))
        candidates = [folder / "ml" / "input" / "data" / str(channel.get("ChannelName"))]
        candidates += [Path(uri.removeprefix("file://"))] if uri.startswith("file:///") else []
        for path in candidates:
            if path.exists():
                found[str(channel["ChannelName"])] = path
                break
    return found


class Reader:
    """Reads files that may be missing (nothing is said) or broken (it is said in `problems`)."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def json(self, path: Path, default: Any) -> Any:  # noqa: ANN401
        text = self.text(path)
        if text is None:
            return default
        try:
            value = json.loads(text)
        except ValueError as error:
            self.problems.append(f"{path.name} is no JSON ({error}); its numbers are left out")
            return default
        if not isinstance(value, type(default)):
            self.problems.append(f"{path.name} holds a {type(value).__name__}; its numbers are left out")
            return default
        return value

    def rows(self, path: Path) -> list[dict[str, Any]]:
        text = self.text(path)
        try:
            return [json.loads(line) for line in (text or "").splitlines() if line.strip()]
        except ValueError as error:
            self.problems.append(f"{path.name} has a line that is no JSON ({error}); it is left out")
            return []

    def lines(self, path: Path) -> list[str]:
        return (self.text(path) or "").splitlines()

    def text(self, path: Path) -> str | None:
        try:
            if not path.is_file():
                return None
            if path.stat().st_size > _MAX_JSON_BYTES:
                self.problems.append(f"{path.name} has more than {_MAX_JSON_BYTES // 2**20} MiB; it is left out")
                return None
            return path.read_text(errors="replace")
        except OSError as error:
            self.problems.append(f"{path.name} cannot be read ({error}); it is left out")
            return None


def _trial(folder: Path, reader: Reader) -> "Trial | None":
    if not any(folder.glob("collections/*")):
        return None
    from kennel.debug.tensors import open_trial  # smdebug's import takes seconds

    try:
        return open_trial(folder)
    except KennelError as error:
        reader.problems.append(f"the saved tensors cannot be read ({error}); what they say is left out")
        return None


def _failure(job: Mapping[str, Any], reader: Reader, layout: RunLayout) -> str | None:
    if job.get("FailureReason"):
        return str(job["FailureReason"])
    return (reader.text(layout.failure) or "").strip() or None


def _hyperparameters(card: Mapping[str, Any] | None, log: list[str], job: Mapping[str, Any]) -> dict[str, Any]:
    if card and card.get("hyperparameters"):
        return dict(card["hyperparameters"])
    for line in log:
        if line.startswith("settings "):
            return {key: _plain(value) for key, value in re.findall(r"([\w-]+)=(\S*)", line)}
    asked: Mapping[str, str] = job.get("HyperParameters") or {}
    return {key: _plain(value) for key, value in asked.items() if not key.startswith("sagemaker_")}


def _plain(text: str) -> Any:  # noqa: ANN401  a number, a truth or a text
    """What a hyperparameter means, in whichever quoting SageMaker has sent it."""
    value: Any = text
    for _ in range(2):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                break
    return value
