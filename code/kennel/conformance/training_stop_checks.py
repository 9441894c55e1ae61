"""A training that is stopped in the middle and started again, and one that must fail.

The stopped run also gets its hyperparameters quoted as the SDK sends them, and the restarted one goes on from its
checkpoints as a spot job does: two runs for four checks.
"""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kennel.conformance.checks import Subject, check, failed, passed, skipped, warned
from kennel.conformance.findings import Finding
from kennel.conformance.ml_folder import lay_out
from kennel.conformance.training_checks import ordinary
from kennel.conformance.training_runs import (
    SIGTERM_GRACE_S,
    StartedRun,
    TrainingRun,
    comparable_metrics,
    difference,
    job_of,
    new_folder,
    start_host,
    start_training,
)

_STOPPED: Final = "stopped_training"
_FAILING: Final = "failing_training"
_SAME: Final = 0.01
_AT_ONCE_S: Final = 2.0  # a training that is over that soon after the signal may have been over anyway
_COUNT_S: Final = 0.05
# Address resolution alone is a kilobyte or two; the gradients of one step are far more than this.
_HARDLY_SPOKE_BYTES: Final = 10_000
_FAILURE_CHARACTERS: Final = 1024
_GARBAGE_FILES: Final = 200
_GOES_ON: Final = re.compile(
    r"(?i)\b(resum\w*|restor\w*|going on|goes on|continu\w*|from checkpoint|load\w* checkpoint)\b"
)
_EPOCH: Final = re.compile(r"(?i)\bepoch\D{0,4}(\d+)")
# What sagemaker-training writes when the script gave no reason.
_NO_REASON: Final = re.compile(r'ErrorMessage ""')


@dataclass(frozen=True)
class Stopped:
    """middle: what showed that the run was in the middle; None if it ended before it could be told to stop."""

    run: TrainingRun
    middle: str | None
    is_quoted: bool


def stopped(subject: Subject) -> Stopped:
    """The run that gets SIGTERM in the middle, run once: quoted, or plain if it cannot bear that."""
    if _STOPPED not in subject.shared:
        found = _stop_in_the_middle(subject, "stopped", is_quoted=True)
        subject.shared["quoted_training"] = found
        if found.middle is None and not found.run.is_completed:
            found = _stop_in_the_middle(subject, "stopped_plain", is_quoted=False)
        subject.shared[_STOPPED] = found
    result: Stopped = subject.shared[_STOPPED]
    return result


@check("train.quoted_values", kind="train", needs=("train.completes",))
def quoted_values(subject: Subject) -> Finding:
    r"""Hyperparameters as the SDK and the tuner send them: `"\"16\""`."""
    tried = r'the same hyperparameters doubly quoted ("\"16\"")'
    if not subject.exercise.hyperparameters:
        return skipped(tried, "the training has none (-p key=value, or the image's label)")
    stopped(subject)
    quoted: Stopped = subject.shared["quoted_training"]
    if quoted.middle is None and not quoted.run.is_completed:
        return failed(
            tried,
            f"{quoted.run.ending()}: {quoted.run.last_words(2)}",
            "jobs of the SageMaker SDK's framework estimators and of its tuner fail at their start",
            "read values with json.loads where that succeeds, and take the text as it is where it does not",
        )
    return _compare_quoted(subject, quoted, tried)


@check("train.sigterm", kind="train", needs=("train.completes",))
def sigterm(subject: Subject) -> Finding:
    """StopTrainingJob, a spot reclaim, the end of MaxRuntime: SIGTERM, 120 s, SIGKILL."""
    grace_s = _grace(subject)
    tried = f"SIGTERM in the middle of a training, {grace_s:.0f} s to end"
    found = stopped(subject)
    if found.middle is None:
        return skipped(tried, _too_short(found.run))
    if found.run.exit.seconds < _AT_ONCE_S and _ran_to_its_end(subject, found.run):
        return skipped(tried, _too_short(found.run))
    after = f"told to stop after {found.middle}: "
    if found.run.exit.was_killed:
        return failed(
            tried,
            f"{after}still running after {grace_s:.0f} s, and killed",
            "SIGKILL after 120 s: whatever was not yet in /opt/ml/model or /opt/ml/checkpoints is lost",
            "run the script as the container's first process (exec), or pass SIGTERM on to it; let it save and end",
        )
    ended = f"{after}ended by itself after {found.run.exit.seconds:.1f} s with status {found.run.exit.status}"
    if _ran_to_its_end(subject, found.run):
        return failed(
            tried,
            f"{ended}, having trained to its end as if it had not been told",
            "a training that needs more than 120 s to its end is killed there",
            "handle SIGTERM: finish the step, save, and end",
        )
    return passed(tried, ended)


@check("train.stopped_work", kind="train", needs=("train.completes", "train.sigterm"))
def stopped_work(subject: Subject) -> Finding:
    """What a stopped job leaves is uploaded: a model, or a checkpoint to go on from."""
    tried = "what a stopped training leaves in /opt/ml/model and /opt/ml/checkpoints"
    found = stopped(subject)
    if found.middle is None:
        return skipped(tried, _too_short(found.run))
    kept = [f"model: {len(found.run.model)} files"] if found.run.model else []
    kept += [f"checkpoints: {', '.join(list(found.run.checkpoints)[:4])}"] if found.run.checkpoints else []
    if kept:
        return passed(tried, "; ".join(kept))
    return failed(
        tried,
        "nothing",
        "the job reads Stopped with an empty model.tar.gz: every hour paid for is lost",
        "on SIGTERM save the model so far, or a checkpoint, before ending",
    )


@check("train.resume", kind="train", needs=("train.completes", "train.stopped_work"))
def resume(subject: Subject) -> Finding:
    """A spot job is started again on another machine, with its checkpoints and nothing else."""
    tried = "the same job again with the checkpoints of the stopped one"
    before = stopped(subject)
    if before.middle is None:
        return skipped(tried, _too_short(before.run))
    if not before.run.checkpoints:
        return warned(
            tried,
            "not tried: the stopped training left no checkpoint",
            "a spot job starts from the beginning after every interruption",
            "write checkpoints to /opt/ml/checkpoints and read the last one at start",
        )
    conditions = ordinary(subject).conditions
    run = start_training(
        subject,
        "resumed",
        conditions=conditions,
        is_quoted=before.is_quoted,
        changes=subject.exercise.long_hyperparameters,
        checkpoints_dir=before.run.ml.checkpoints_dir,
    ).wait()
    if not run.is_completed or not run.model:
        return failed(
            tried,
            f"{run.ending()}, {len(run.model)} files in /opt/ml/model: {run.last_words(2)}",
            "a spot job never completes once it was interrupted",
            "accept what an interrupted run leaves, also a checkpoint that was half written",
        )
    return _judge_resume(subject, before.run, run, tried)


@check("train.failing_status", kind="train", needs=("train.completes",))
def failing_status(subject: Subject) -> Finding:
    """SageMaker knows by the exit status alone whether a job failed."""
    run, tried = _failing(subject)
    if run.exit.status is None:
        return failed(
            tried, run.ending(), "the job runs on and costs until MaxRuntime", "end with a status other than 0"
        )
    if run.is_completed:
        return failed(
            tried,
            f"exit status 0; log ends: {run.last_words(2)}",
            "the job would read Completed, and its model would be deployed",
            "let the error's status reach the container's: `set -e` and `exec` in shell, no `|| true`, no bare except; "
            "256 wraps to 0. If the image can train on such data, name settings that must fail in its label "
            "(failing_hyperparameters)",
        )
    return passed(tried, run.ending())


@check("train.failure_file", kind="train", needs=("train.failing_status",))
def failure_file(subject: Subject) -> Finding:
    """Its first 1,024 characters become the job's FailureReason."""
    run, tried = _failing(subject)
    consequence = "DescribeTrainingJob's FailureReason does not say why; somebody has to read the log"
    if run.failure is None:
        remedy = "write the error's type and message to /opt/ml/output/failure before ending"
        return warned(tried, "no /opt/ml/output/failure", f"`AlgorithmError: , exit code: {run.exit.status}`", remedy)
    text = " ".join(run.failure.split())
    if len(text) < 10 or _NO_REASON.search(text):
        return warned(tried, f"it gives no reason: `{text[:200]}`", consequence, "write the exception's message there")
    if len(run.failure) > _FAILURE_CHARACTERS:
        return warned(
            tried,
            f"{len(run.failure)} characters, where {_FAILURE_CHARACTERS} are read; it begins `{text[:120]}`",
            "the rest is cut off; a traceback's reason stands at its end",
            "write the reason first, and no more than 1,024 characters",
        )
    return passed(tried, f"{len(run.failure)} characters: `{text[:160]}`")


@check("train.two_hosts", kind="train", needs=("train.completes",))
def two_hosts(subject: Subject) -> Finding:
    """Two containers that find each other by the names in resourceconfig.json."""
    tried = "two hosts, algo-1 and algo-2, on a network of their own"
    if not subject.exercise.distributed:
        return skipped(tried, "the image does not say that it trains on several hosts (label: distributed)")
    runs, exchanged = _run_hosts(subject, ("algo-1", "algo-2"))
    wrong = {host: run for host, run in runs.items() if not run.is_completed}
    if wrong or not runs["algo-1"].model:
        said = "; ".join(f"{host}: {run.ending()}: {run.last_words(2)}" for host, run in (wrong or runs).items())
        remedy = "rendezvous at the first of `hosts` by name, with retries; bind to network_interface_name"
        return failed(tried, said, "the job fails, or hangs until MaxRuntime", remedy)
    if exchanged is not None and exchanged < _HARDLY_SPOKE_BYTES:
        return failed(
            tried,
            f"both exit 0, but they exchanged {exchanged} bytes: each trains by itself",
            "every further instance is paid for and adds nothing",
            "average gradients over the hosts in resourceconfig.json (torchrun over gloo or NCCL, Horovod)",
        )
    return _compare_hosts(subject, runs, tried)


def _stop_in_the_middle(subject: Subject, name: str, *, is_quoted: bool) -> Stopped:
    started = start_training(
        subject,
        name,
        conditions=ordinary(subject).conditions,
        is_quoted=is_quoted,
        changes=subject.exercise.long_hyperparameters,
    )
    middle = started.wait_for_progress()
    if middle is not None and started.container.is_running():
        return Stopped(started.finish(started.container.stop(grace_s=_grace(subject))), middle, is_quoted)
    return Stopped(started.wait(), None, is_quoted)


def _compare_quoted(subject: Subject, quoted: Stopped, tried: str) -> Finding:
    """The first values of the two runs; where they differ, a second plain run says whether that is chance."""
    if subject.exercise.long_hyperparameters:
        plain: Mapping[str, Sequence[float]] = _plain_beginning(subject, quoted)
    else:
        plain = ordinary(subject).run.metrics
    pairs = _first_values(subject, plain, quoted.run.metrics)
    if not pairs:
        return passed(tried, f"training got as far as {quoted.middle or 'its end'}; there is no metric to compare")
    if all(difference(*values) <= _SAME for values in pairs.values()):
        return passed(tried, f"as with plain ones: {_side_by_side(pairs)}")
    again = _first_values(subject, plain, _plain_beginning(subject, quoted))
    if any(difference(*values) > _SAME for values in again.values()):
        chance = f"two equal runs differ too ({_side_by_side(again)}), so nothing can be said; {_side_by_side(pairs)}"
        return skipped(tried, chance)
    return failed(
        tried,
        f"plain and quoted differ: {_side_by_side(pairs)}; two plain runs agree",
        "a job of the SDK silently trains with other settings than asked for",
        "read values with json.loads where that succeeds, and take the text as it is where it does not",
    )


def _plain_beginning(subject: Subject, quoted: Stopped) -> Mapping[str, Sequence[float]]:
    """Metrics of a plain run with the settings of the quoted one, stopped as early."""
    number = sum(1 for _ in subject.folder.glob("plain_*"))
    started = start_training(
        subject,
        f"plain_{number}",
        conditions=ordinary(subject).conditions,
        changes=subject.exercise.long_hyperparameters,
    )
    if quoted.middle is None or started.wait_for_progress() is None:
        return started.wait().metrics
    return started.finish(started.container.stop(grace_s=_grace(subject))).metrics


def _first_values(
    subject: Subject, first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]
) -> dict[str, tuple[float, float]]:
    """name -> the first value in either run, of metrics that both have."""
    names = [name for name in comparable_metrics(subject) if first.get(name) and second.get(name)]
    return {name: (first[name][0], second[name][0]) for name in names}


def _judge_resume(subject: Subject, before: TrainingRun, run: TrainingRun, tried: str) -> Finding:
    """Whether it went on, as far as a foreign log shows it: by words, epochs, or the number of rounds."""
    evidence = [*_words_of_resuming(run), *_later_epochs(before, run), *_fewer_rounds(subject, run)]
    untouched = sum(1 for path, digest in before.checkpoints.items() if run.checkpoints.get(path) == digest)
    files = f"{untouched} of {len(before.checkpoints)} checkpoint files left as they were"
    if evidence:
        return passed(tried, f"{run.ending()}; {'; '.join(evidence)}; {files}")
    return warned(
        tried,
        f"{run.ending()}, but neither words, epochs nor the number of metric lines show that it went on; {files}",
        "a spot job that was interrupted starts from the beginning, and may never end",
        "read the last checkpoint at start, go on from there, and say so in the log",
    )


def _words_of_resuming(run: TrainingRun) -> list[str]:
    lines = [line.strip() for line in run.log.splitlines() if _GOES_ON.search(line)]
    return [f"the log says `{lines[0][:120]}`"] if lines else []


def _later_epochs(before: TrainingRun, run: TrainingRun) -> list[str]:
    """Evidence by the numbers beside the word epoch."""
    first, second = (_EPOCH.search(each.log) for each in (before, run))
    if first is None or second is None or int(second[1]) <= int(first[1]):
        return []
    return [f"its first epoch is {second[1]}, where the stopped run began with {first[1]}"]


def _fewer_rounds(subject: Subject, run: TrainingRun) -> list[str]:
    """Evidence by the number of metric lines; nothing can be said where a whole training was of another length."""
    whole, rounds = _rounds(subject, ordinary(subject).run), _rounds(subject, run)
    if subject.exercise.long_hyperparameters or not 0 < rounds < whole:
        return []
    return [f"{rounds} rounds of metric lines, where a whole training has {whole}"]


def _rounds(subject: Subject, run: TrainingRun) -> int:
    """How often the most frequent comparable metric was printed: rounds of training, mostly epochs."""
    names = comparable_metrics(subject) or list(run.metrics)
    return max([len(run.metrics.get(name, ())) for name in names] + [0])


def _ran_to_its_end(subject: Subject, run: TrainingRun) -> bool:
    """Whether a stopped run printed all the rounds that a whole training has, and those are enough to tell."""
    whole = _rounds(subject, ordinary(subject).run)
    return (
        not subject.exercise.long_hyperparameters
        and whole >= 3
        and run.exit.status == 0
        and _rounds(subject, run) >= whole
    )


def _failing(subject: Subject) -> tuple[TrainingRun, str]:
    """A run that must fail, and what was done to make it: the label's settings, or no data, or else garbage."""
    if _FAILING not in subject.shared:
        subject.shared[_FAILING] = _make_fail(subject)
    found: tuple[TrainingRun, str] = subject.shared[_FAILING]
    return found


def _make_fail(subject: Subject) -> tuple[TrainingRun, str]:
    conditions = ordinary(subject).conditions
    changes = subject.exercise.failing_hyperparameters
    if changes:
        run = start_training(subject, "failing", conditions=conditions, changes=changes).wait()
        return run, f"a training with {json.dumps(dict(changes))}, which must fail"
    channels = {name: Path(folder) for name, folder in subject.exercise.channels.items()}
    empty = {name: _empty(new_folder(subject, f"empty_{name}")) for name in channels}
    run = start_training(subject, "failing", conditions=conditions, channels=empty).wait()
    if not run.is_completed:
        return run, "a training on empty channels"
    garbage = {name: _garbage(folder, new_folder(subject, f"garbage_{name}")) for name, folder in channels.items()}
    run = start_training(subject, "failing_garbage", conditions=conditions, channels=garbage).wait()
    return run, "trainings on empty channels (status 0) and on files of random bytes"


def _empty(folder: Path) -> Path:
    return folder


def _garbage(source: Path, target: Path) -> Path:
    """The same files by name, with random bytes in them."""
    files = [path for path in sorted(source.rglob("*")) if path.is_file()][:_GARBAGE_FILES]
    for path in files:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(os.urandom(256))
    return target


def _run_hosts(subject: Subject, hosts: Sequence[str]) -> tuple[dict[str, TrainingRun], int | None]:
    """Every host's run, all started before any is waited for; and the bytes the first exchanged, None if unknown."""
    conditions = ordinary(subject).conditions
    network = subject.containers.network(is_internal=not conditions.has_network)
    job = replace(job_of(subject, conditions), hosts=hosts)
    started = {}
    for host in hosts:
        ml = lay_out(new_folder(subject, host), job, host=host)
        container = start_host(subject, ml, host=host, network=network)
        started[host] = StartedRun(subject, host, ml, container)
    exchanged = _watch_traffic(started[hosts[0]])
    return {host: run.wait() for host, run in started.items()}, exchanged


def _watch_traffic(run: StartedRun) -> int | None:
    """What a host sent and received until it ended; the count ends with it, so it is read all along."""
    counted = None
    deadline = time.monotonic() + run.subject.exercise.timeout_s
    while run.container.is_running() and time.monotonic() < deadline:
        now = run.container.network_bytes()
        counted = counted if now is None else now
        time.sleep(_COUNT_S)
    return counted


def _compare_hosts(subject: Subject, runs: Mapping[str, TrainingRun], tried: str) -> Finding:
    """The last values of two hosts and of one."""
    one = ordinary(subject).run.metrics
    two = runs["algo-1"].metrics
    names = [name for name in comparable_metrics(subject) if one.get(name) and two.get(name)]
    pairs = {name: (one[name][-1], two[name][-1]) for name in names}
    seconds = runs["algo-1"].exit.seconds
    if not pairs:
        return passed(tried, f"both exit 0 after {seconds:.1f} s; there is no metric to compare")
    off = {name: values for name, values in pairs.items() if difference(*values) > subject.exercise.tolerance}
    printed_twice = [name for name in names if runs["algo-2"].metrics.get(name)]
    if off:
        return failed(
            tried,
            f"both exit 0, but one host and two end differently: {_side_by_side(off)}",
            "more instances change what is learned",
            "average gradients over all hosts, shard the data without overlap, and keep the global batch; or name the "
            "tolerance in the label",
        )
    if printed_twice:
        return warned(
            tried,
            f"both exit 0, same metrics ({_side_by_side(pairs)}), but algo-2 prints {', '.join(printed_twice)} too",
            "a tuning job takes the value of the host that reports last",
            "print metrics from rank 0 alone",
        )
    return passed(tried, f"both exit 0 after {seconds:.1f} s; one host and two: {_side_by_side(pairs)}")


def _side_by_side(pairs: Mapping[str, tuple[float, float]]) -> str:
    return ", ".join(f"{name} {first:g} and {second:g}" for name, (first, second) in pairs.items())


def _too_short(run: TrainingRun) -> str:
    return (
        f"the training was over before it could be stopped in the middle ({run.ending()}); "
        "name settings for a longer one in the image's label (long_hyperparameters)"
    )


def _grace(subject: Subject) -> float:
    return subject.stop_grace_s or SIGTERM_GRACE_S
