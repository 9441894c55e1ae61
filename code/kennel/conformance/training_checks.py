"""What one ordinary training shows: it completes with a model under SageMaker's own conditions, and prints its metrics.

A single run answers all of it. Only if that fails are conditions eased one by one, until it is plain which of them the
image cannot bear.
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from kennel.conformance.checks import Subject, check, failed, passed, skipped, warned
from kennel.conformance.findings import Finding
from kennel.conformance.image_files import ImageFiles
from kennel.conformance.training_runs import Conditions, TrainingRun, read_metrics, start_training

STARTS: Final = ("image.architecture", "image.words", "image.executable", "image.line_ends", "image.interpreter")
_KEY: Final = "ordinary_training"
_STRICT: Final = Conditions()
_EASED: Final = Conditions(has_network=True, is_input_read_only=False, has_extras=False)
# Words by which programs say that a condition is at fault. They decide what is tried first, not the verdict.
_NETWORK_WORDS: Final = re.compile(
    r"(?i)name or service not known|name resolution|network is unreachable|failed to resolve|getaddrinfo|"
    r"max retries exceeded|could not connect to|no route to host|could not resolve|urlopen error"
)
_READ_ONLY_WORDS: Final = re.compile(r"(?i)read-only file system")
_HOST: Final = re.compile(
    r"(?i)(?:host(?:name)?\s*[=:]\s*|https?://|resolve\s+(?:host:?\s*)?)['\"]?([a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)+)"
)
_DENIED: Final = re.compile(
    r"(?i)permission denied:?\s*['\"]?(/[^'\"\s]+)|['\"`]?(/[^'\"\s:]+)['\"`]?: permission denied"
)


@dataclass(frozen=True)
class Ordinary:
    """strict: the run under SageMaker's strictest conditions. run: the same, or the first that went well when eased.

    conditions: those of `run`, for the checks to come. blamed: the conditions that had to be eased.
    """

    strict: TrainingRun
    run: TrainingRun
    conditions: Conditions
    blamed: frozenset[str] = frozenset()


def ordinary(subject: Subject) -> Ordinary:
    """The ordinary training of this image, run once."""
    if _KEY not in subject.shared:
        subject.shared[_KEY] = _find_conditions(subject)
    found: Ordinary = subject.shared[_KEY]
    return found


@check("train.config", kind="train", needs=STARTS)
def config(subject: Subject) -> Finding:
    """Null members, keys and files nobody documented, `<channel>-manifest` beside the channels."""
    tried = "every file of /opt/ml/input/config that real jobs have, with nulls and new keys; <channel>-manifest files"
    if "has_extras" not in ordinary(subject).blamed:
        return _answered(tried, subject, "read or left alone")
    return failed(
        tried,
        f"{_ends(subject)}; with hyperparameters, inputdataconfig and resourceconfig alone it trains",
        "the job fails at its start, and not in a test without those files",
        "read only the keys that are needed; accept null for HookParameters and CollectionConfigurations; take "
        "channels from inputdataconfig.json, not from what stands in /opt/ml/input/data",
    )


@check("train.network", kind="train", needs=STARTS)
def network(subject: Subject) -> Finding:
    """Network isolation, and subnets without a way out."""
    tried = "training with --network none"
    found = ordinary(subject)
    speaks_of_network = not found.run.is_completed and _NETWORK_WORDS.search(found.run.log)
    if "has_network" not in found.blamed and not speaks_of_network:
        return _answered(tried, subject, "no network was needed")
    hosts = _wanted_hosts(found.strict.log)
    wants = f"; it wants {', '.join(hosts[:3])}" if hosts else ""
    return failed(
        tried,
        f"{_ends(subject)}{wants}",
        "the job fails under EnableNetworkIsolation, and in a VPC without a way out",
        "put weights and packages into the image, or make them an input channel; install nothing at start",
    )


@check("train.read_only_input", kind="train", needs=STARTS)
def read_only_input(subject: Subject) -> Finding:
    """FastFile mode, and file systems that are mounted `ro`."""
    tried = "training with /opt/ml/input mounted read-only"
    if "is_input_read_only" not in ordinary(subject).blamed:
        return _answered(tried, subject, "nothing was written there")
    return failed(
        tried,
        _ends(subject),
        "the job fails with FastFile channels and read-only file systems",
        "write to /tmp or /opt/ml/output; copy what must be changed",
    )


@check("train.memory", kind="train", needs=STARTS)
def memory(subject: Subject) -> Finding:
    tried = f"training under {subject.memory_mb} MB of memory, no swap" if subject.memory_mb else "training"
    if ordinary(subject).strict.exit.is_out_of_memory:
        return failed(
            tried,
            f"killed for want of memory: {_ends(subject)}",
            "the job fails on an instance of that size",
            "use smaller batches, fewer workers, or a larger instance",
        )
    if subject.memory_mb is None:
        return skipped(tried, "no limit was named (--memory-mb)")
    return _answered(tried, subject, "the limit was enough")


@check(
    "train.completes",
    kind="train",
    needs=(*STARTS, "train.config", "train.network", "train.read_only_input", "train.memory"),
)
def completes(subject: Subject) -> Finding:
    """Exit status 0 and something in /opt/ml/model; a server checked after it gets that."""
    run = ordinary(subject).run
    tried = "docker run IMAGE train, with all of /opt/ml and --hostname algo-1"
    if not run.is_completed:
        return _not_completed(subject, run, tried)
    if not run.model:
        return failed(
            tried,
            f"{run.ending()}, and nothing in /opt/ml/model",
            "the job would read Completed, with an empty model.tar.gz",
            "write the model to /opt/ml/model (SM_MODEL_DIR) before the script ends",
        )
    _hand_over(subject, run)
    return passed(tried, f"{run.ending()}; model: {_named(run.model)}")


@check("train.writes", kind="train", needs=("train.completes",))
def writes(subject: Subject) -> Finding:
    """What goes to the image's own file system is lost, and fails where that is read-only or not the user's."""
    tried = "files changed outside /opt/ml and /tmp (docker diff)"
    changed = ordinary(subject).run.changed
    if not changed:
        return passed(tried, "none")
    return warned(
        tried,
        f"{len(changed)}: {', '.join(changed[:5])}{', ...' if len(changed) > 5 else ''}",
        "lost when the container ends; they fill its disk, and an image that runs as a user may not write there",
        "write to /opt/ml/model, /opt/ml/output/data, /opt/ml/checkpoints or /tmp (caches: TORCH_HOME, XDG_CACHE_HOME)",
    )


@check("train.metrics", kind="train", needs=("train.completes",))
def metrics(subject: Subject) -> Iterator[Finding] | Finding:
    """Every metric definition finds a number in the log."""
    definitions = subject.exercise.metric_definitions
    tried = f"{len(definitions)} metric definitions on the log"
    if not definitions:
        return skipped("metric definitions on the log", "none were given (--metric NAME=REGEX, or the image's label)")
    log = ordinary(subject).run.log
    faults = [
        fault for definition in definitions if (fault := _metric_fault(definition["Name"], definition["Regex"], log))
    ]
    if len(definitions) > 40:
        faults.insert(0, f"{len(definitions)} definitions, where a job takes 40")
    if not faults:
        found = read_metrics(log, definitions)
        return passed(tried, ", ".join(f"{name} {values[-1]:g} ({len(values)}x)" for name, values in found.items()))
    return failed(
        tried,
        "; ".join(faults),
        "the metric has no value and no chart; a tuning job on it ends with `objective metric not found`",
        r"print name=value and read it with one group, such as (?:^|\s)name=([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)",
    )


def _find_conditions(subject: Subject) -> Ordinary:
    """Runs under the strictest conditions; if that fails, finds the fewest that must be eased."""
    strict = _train(subject, "ordinary", _STRICT)
    if strict.is_completed or strict.exit.is_out_of_memory or strict.exit.was_killed:
        return Ordinary(strict, strict, _STRICT)
    guess = _guess(strict.log)
    if guess is not None:
        run = _train(subject, "eased_guess", _ease(_STRICT, guess))
        if run.is_completed:
            return Ordinary(strict, run, _ease(_STRICT, guess), frozenset({guess}))
    return _tighten(subject, strict)


def _train(subject: Subject, name: str, conditions: Conditions) -> TrainingRun:
    return start_training(subject, name, conditions=conditions, is_compared=True).wait()


def _tighten(subject: Subject, strict: TrainingRun) -> Ordinary:
    """Everything eased, then strict again one by one wherever that still goes well."""
    conditions = _EASED
    run = _train(subject, "eased", conditions)
    if not run.is_completed:
        return Ordinary(strict, strict, _STRICT)
    for name in _EASED.__dataclass_fields__:
        stricter = replace(conditions, **{name: getattr(_STRICT, name)})
        attempt = _train(subject, f"strict_{name}", stricter)
        if attempt.is_completed:
            conditions, run = stricter, attempt
    blamed = {name for name in _EASED.__dataclass_fields__ if getattr(conditions, name) != getattr(_STRICT, name)}
    return Ordinary(strict, run, conditions, frozenset(blamed))


def _guess(log: str) -> str | None:
    """The condition that the log complains of, if it does."""
    if _NETWORK_WORDS.search(log):
        return "has_network"
    return "is_input_read_only" if _READ_ONLY_WORDS.search(log) else None


def _wanted_hosts(log: str) -> list[str]:
    """Hosts named in the lines that complain, or else in any line."""
    complaints = "\n".join(line for line in log.splitlines() if _NETWORK_WORDS.search(line))
    found = _HOST.findall(complaints) or _HOST.findall(log)
    return sorted({host.lower().rstrip(".") for host in found})


def _ease(conditions: Conditions, name: str) -> Conditions:
    return replace(conditions, **{name: getattr(_EASED, name)})


def _answered(tried: str, subject: Subject, seen: str) -> Finding:
    """A pass, if the training went well; nothing can be said of a condition if it never did."""
    found = ordinary(subject)
    if found.run.is_completed:
        return passed(tried, seen)
    return skipped(tried, f"the training fails for another reason: {found.run.ending()}")


def _ends(subject: Subject) -> str:
    strict = ordinary(subject).strict
    return f"{strict.ending()}: {strict.last_words(2)}"


def _not_completed(subject: Subject, run: TrainingRun, tried: str) -> Finding:
    denied = _denied_path(subject, run.log)
    if denied:
        user = subject.config.get("User")
        return failed(
            tried,
            f"{run.ending()}: the image's USER {user} may not read or write {denied}",
            "the job would read Failed: SageMaker runs the container as the image's USER",
            f"give {denied} to {user} in the Dockerfile (COPY --chown, chmod), or leave USER out",
        )
    if run.exit.status is None:
        remedy = "train on less data here (-p, --channel), or name a longer time in the label (timeout_s)"
        return failed(tried, f"{run.ending()}: {run.last_words()}", "the job would run on, and cost", remedy)
    failure = f"; failure file: {' '.join(run.failure.split())[:300]}" if run.failure else "; no failure file"
    return failed(
        tried,
        f"{run.ending()}{failure}; log ends: {run.last_words()}",
        "the job would read Failed",
        "mend what the log says; if the image needs other settings or data, give them by -p, --channel or its label",
    )


def _denied_path(subject: Subject, log: str) -> str | None:
    """The file of the image that its USER may not use, if the log names one."""
    if subject.config.get("User") in (None, "", "0", "root"):
        return None
    for first, second in _DENIED.findall(log):
        path: str = first or second
        if ImageFiles(subject).find(path) is not None:
            return path
    return None


def _metric_fault(name: str, regex: str, log: str) -> str | None:
    """What is wrong with a definition, on this log."""
    try:
        pattern = re.compile(regex)
    except re.error as error:
        return f"{name}: the regex is none ({error}): {regex}"
    if pattern.groups != 1:
        return f"{name}: the regex has {pattern.groups} groups where it needs 1: {regex}"
    if len(regex) > 500:
        return f"{name}: the regex has {len(regex)} characters, where 500 are allowed"
    found = [match.group(1) for line in log.splitlines() for match in pattern.finditer(line)]
    if not found:
        near = _near(name, log)
        return f"{name}: no line matches {regex}" + (f"; the nearest says `{near}`" if near else "")
    wrong = [text for text in found if not _is_number(text)]
    return f"{name}: {wrong[0]!r} is no number" if wrong else None


def _near(name: str, log: str) -> str | None:
    """The last line that has the metric's last word in it."""
    word = re.split(r"[:_/. -]", name)[-1].lower()
    lines = [line.strip() for line in log.splitlines() if word and word in line.lower() and re.search(r"\d", line)]
    return lines[-1][:120] if lines else None


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _hand_over(subject: Subject, run: TrainingRun) -> None:
    """Puts the model where a server of the same call finds it."""
    shutil.rmtree(subject.model_folder)
    shutil.copytree(run.ml.model_dir, subject.model_folder)


def _named(files: Iterable[str]) -> str:
    names = sorted(files)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
