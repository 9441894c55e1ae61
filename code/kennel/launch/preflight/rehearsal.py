"""A training on a few of its pictures here, before machines are paid for: does it run, and how long will it take?

    found = rehearse(job, place, pictures=200)          # job: as it would be created on AWS; prints what it does
    print("\n".join(found.lines))
    clear_jobs(place, resources, ..., expected_s=found.expected_s)

Runs `kennel train --on local` in a process of its own: this process's environment stays AWS's.
Exercise it: pytest tests/unit/launch/test_rehearsal.py tests/aws/test_rehearsal_road.py
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kennel.aws.words import in_words
from kennel.errors import KennelError, UserError
from kennel.hyperparameters import Hyperparameters, read_hyperparameters
from kennel.launch.jobs import TrainingJob, new_name
from kennel.launch.places import Place, runs_folder
from kennel.launch.preflight.rehearsal_pictures import Counts, bring_file, find_pictures
from kennel.metrics import read_metrics

LEAST: Final = 6
_WEIGHTS: Final = "weights"
_EPOCHS: Final = 2  # the first one also warms up; the last one counts
_DATA: Final = re.compile(r"^data classes=\d+ train=(\d+) valid=(\d+) test=(\d+) ", re.MULTILINE)
_FEATURES: Final = re.compile(r"^features pictures=(\d+) took_s=([\d.]+)", re.MULTILINE)
_DEVICE: Final = re.compile(r"^(device=.+)$", re.MULTILINE)
_SETTINGS: Final = re.compile(r"^settings (.+)$", re.MULTILINE)
_SHARED: Final = re.compile(r"^features .* shared=(?!off)", re.MULTILINE)
# What decides how long a picture takes.
_DECIDING: Final = ("backbone", "trainable", "head", "views", "image-size", "precision", "batch-size", "debug")
# Whose account, region and service: of no concern to what runs here.
_OF_AWS: Final = ("AWS_", "BOTOCORE_", "SAGEMAKER_")
_TAIL: Final = 15


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal measured, on this machine.

    name: of the training here (`kennel report NAME`). expected_s: what the whole job would take here, from its start to
    its end: an upper bound on AWS only where the instance is faster. lines: for a person.
    """

    name: str
    expected_s: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Pace:
    """How fast a training went. start_s: before, between and after. once_s: a picture, for its features.

    train_s, valid_s: a picture in an epoch. device: as the log names it.
    """

    start_s: float
    once_s: float
    train_s: float
    valid_s: float
    device: str

    def expected_s(self, counts: Counts, settings: Hyperparameters) -> float:
        """Of a training of so many pictures, if it has all its epochs."""
        views = settings.views if self.once_s else 1
        once = self.once_s * (counts.train * views + counts.valid + counts.test)
        epoch = self.train_s * counts.train + self.valid_s * counts.valid
        return self.start_s + once + settings.epochs * epoch + (0 if self.once_s else self.valid_s * counts.test)


def rehearse(job: TrainingJob, place: Place, *, pictures: int, say: Callable[[str], None] = print) -> Rehearsal:
    """Trains for two epochs on about that many of the job's pictures; those in S3 are fetched with `place`'s client.

    pictures: at least 6; one batch is the least that is taken. say: is told what begins. Raises UserError with its
    reason for a rehearsal that fails: nothing has been created on AWS then; and KeyboardInterrupt when it was stopped.
    """
    if pictures < LEAST:
        raise UserError(f"--rehearse {pictures} is too few: give {LEAST} pictures or more.")
    settings = read_hyperparameters(job.hyperparameters)
    s3 = place.client("s3")
    with tempfile.TemporaryDirectory(prefix="kennel-rehearsal-") as folder, in_words():
        whole = find_pictures(job.channels, s3)
        few = whole.sample(max(pictures, settings.batch_size))
        name = new_name("rehearsal")
        say(f"rehearsal {name}: {len(few.pictures)} of {whole.counts.all} pictures, {_EPOCHS} epochs, on this machine")
        weights = bring_file(job.channels[_WEIGHTS], Path(folder), s3) if _WEIGHTS in job.channels else None
        data = Path(folder, "data")
        few.bring(data, s3)
        _train(name, data, _assignments(job, weights))
    pace = read_pace(runs_folder() / name)
    return Rehearsal(name, pace.expected_s(whole.counts, settings), _lines(pace, whole.counts, settings))


def remember(job: TrainingJob, *, digest: str, runs: Path) -> Rehearsal | None:
    """The same of the newest training here on the very pictures (`digest`) that went as this one will; None without.

    Its epochs may differ, and what does not change the time. One that took features from others says nothing.
    """
    settings = read_hyperparameters(job.hyperparameters)
    for file in sorted(runs.glob("*/job.json"), key=lambda each: each.stat().st_mtime, reverse=True):
        run = file.parent
        log = _text(run / "log.txt")
        data = _DATA.search(log)
        if data is None or f" digest={digest[:16]}" not in log or not _is_alike(log, settings):
            continue
        if json.loads(_text(file))["description"]["TrainingJobStatus"] != "Completed":
            continue
        pace, counts = read_pace(run), Counts(*map(int, data.groups()))
        found = Rehearsal(run.name, pace.expected_s(counts, settings), ())
        first = f"time: as {run.name} took on these pictures, on this machine"
        return replace(found, lines=(first, *_lines(pace, counts, settings)))
    return None


def read_pace(run: Path) -> Pace:
    """Of a training that has ended, by its folder. Raises KennelError for one whose log does not say it."""
    log = (run / "log.txt").read_text(errors="replace")
    description = json.loads((run / "job.json").read_text())["description"]
    epochs = [found for line in log.splitlines() if "train:epoch_seconds" in (found := read_metrics(line))]
    data = _DATA.search(log)
    if data is None or not epochs:
        raise KennelError(f"{run / 'log.txt'} does not say how fast the training was.")
    train, valid = int(data[1]), int(data[2])
    seconds = [each["train:epoch_seconds"] for each in epochs]
    features = [(int(each[1]), float(each[2])) for each in _FEATURES.finditer(log)]
    features_s = sum(took_s for _, took_s in features)
    train_s = min(1 / epochs[-1]["train:images_per_second"], seconds[-1] / train)
    device = _DEVICE.search(log)
    return Pace(
        start_s=max(0.0, float(description["TrainingTimeInSeconds"]) - features_s - sum(seconds)),
        once_s=features_s / sum(pictures for pictures, _ in features) if features else 0.0,
        train_s=train_s,
        valid_s=max(0.0, seconds[-1] - train_s * train) / valid,
        device=device[1] if device else "",
    )


def _is_alike(log: str, settings: Hyperparameters) -> bool:
    """Whether a training that said this in its log did the same work for each picture."""
    said = _SETTINGS.search(log)
    if said is None or _SHARED.search(log):
        return False
    before = dict(word.split("=", 1) for word in said[1].split())
    now = settings.to_mapping()
    return all(before.get(name) == str(now[name]) for name in _DECIDING)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def _assignments(job: TrainingJob, weights: Path | None) -> list[str]:
    """The job's hyperparameters as -p has them, but for the epochs."""
    values = {**job.hyperparameters, "epochs": str(_EPOCHS)} | ({_WEIGHTS: str(weights)} if weights else {})
    return [f"{key}={value}" for key, value in values.items()]


def _train(name: str, data: Path, assignments: Sequence[str]) -> None:
    """In a session of its own, so that Ctrl-C reaches it once, from here: it then stops its job as ever."""
    command = [sys.executable, "-P", "-m", "kennel.cli", "train", "--on", "local", "--data", str(data), "--name", name]
    command += [word for each in assignments for word in ("-p", each)]
    process = subprocess.Popen(
        command,
        env=_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with process:
        try:
            said, _ = process.communicate()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.communicate()
            raise
    if process.returncode:
        tail = "\n  ".join(said.strip().splitlines()[-_TAIL:])
        raise UserError(f"The rehearsal failed on this machine, so nothing was made on AWS. It said last:\n  {tail}")


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environ.items() if not key.startswith(_OF_AWS)}


def _lines(pace: Pace, counts: Counts, settings: Hyperparameters) -> tuple[str, ...]:
    once = f"{pace.once_s * 1000:.1f} ms a picture once, " if pace.once_s else ""
    expected_s = pace.expected_s(counts, settings)
    return (
        f"  measured: {pace.start_s:.0f} s to begin and end, {once}{pace.train_s * 1000:.2f} ms a picture and epoch "
        f"({pace.device})",
        f"  the whole job: {counts.train} pictures to train on, {counts.valid} to validate, {settings.epochs} epochs: "
        f"{expected_s / 60:.1f} min here",
        "  AWS's machine is another one: that is an upper bound only if it is faster than this one",
    )
