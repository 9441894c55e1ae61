"""`kennel transform`: a batch transform job, from the checks to its outputs."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from kennel.launch.follow import FINISHED
from kennel.launch.places import Place, open_place, runs_folder
from kennel.launch.transform import Choices, Transform, describe_transform_job, plan_transform, transform_job

_POLL_S: Final = 0.3
_SHOWN: Final = 5
_WIDTH: Final = 60
_LONGEST: Final = 1 << 20


def run(arguments: argparse.Namespace) -> int:
    """The exit status: 0 only if every file has its output."""
    choices = Choices(
        name=arguments.job_name,
        content_type=arguments.content_type,
        accept=arguments.accept,
        split_type=arguments.split_type,
        strategy=arguments.strategy,
        max_payload_mb=arguments.max_payload,
        max_concurrent=arguments.max_concurrent,
        is_joined=arguments.join,
    )
    plan = plan_transform(arguments.name, arguments.input, arguments.output, choices)
    place = open_place(arguments.on, image=arguments.image)
    with transform_job(plan, place):
        print(
            f"transform job {plan.name}: {plan.files} files as {plan.content_type}, {plan.max_concurrent} at once\n"
            f"  logs: {runs_folder() / plan.name}\n  Ctrl-C stops it",
            flush=True,
        )
        description = follow_transform(plan, place)
    return _report(plan, description, place)


def follow_transform(plan: Transform, place: Place) -> dict[str, Any]:
    """Shows how many files are done, and returns the last description.

    Ctrl-C stops the job, and the files that are done stay; a second one leaves it running.
    """
    try:
        return _follow(plan, place)
    except KeyboardInterrupt:
        print(f"\nstopping {plan.name} (again Ctrl-C leaves it running)", file=sys.stderr)
        place.sagemaker.stop_transform_job(TransformJobName=plan.name)
        return _follow(plan, place)


def outputs(folder: Path) -> Iterator[Path]:
    """The outputs below a folder, in order."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(".out"))


def answers_table(folder: Path, count: int = _SHOWN) -> str:
    """The first answers, a line each: the file, and its label and probability or how its answer begins."""
    first = list(islice(outputs(folder), count))
    rows = [(path.relative_to(folder).as_posix().removesuffix(".out"), _in_short(path)) for path in first]
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"  {name:<{width}}  {answer}" for name, answer in rows)


def _follow(plan: Transform, place: Place) -> dict[str, Any]:
    bar = tqdm(
        total=plan.files, unit="file", disable=not sys.stderr.isatty(), leave=False, dynamic_ncols=True, desc=plan.name
    )
    with bar:
        while True:
            description = describe_transform_job(plan.name, place)
            bar.n = sum(1 for _ in outputs(plan.target))
            bar.set_description(f"{plan.name} {description['TransformJobStatus']}")
            if description["TransformJobStatus"] in FINISHED:
                return description
            time.sleep(_POLL_S)


def _report(plan: Transform, description: dict[str, Any], place: Place) -> int:
    status, done = description["TransformJobStatus"], sum(1 for _ in outputs(plan.target))
    began, ended = description.get("TransformStartTime"), description.get("TransformEndTime")
    whole_s = (ended - began).total_seconds() if began and ended else 0.0
    served_s = _served_s(plan.name, place, ended.timestamp() if ended else 0.0)
    rate = f", {done / served_s:.1f} files/s once the server was up" if done and served_s else ""
    print(f"transform job {plan.name}: {status}\n{done} of {plan.files} files in {whole_s:.1f} s{rate}")
    if done:
        print(f"{answers_table(plan.target)}\noutputs: {plan.target}/<file>.out")
    if status == "Failed":
        print(f"kennel: {description.get('FailureReason', 'no reason was left')}", file=sys.stderr)
        print(f"kennel: all reasons: {runs_folder() / plan.name / 'data-log.txt'}", file=sys.stderr)
    return 0 if status == "Completed" else 1


def _served_s(name: str, place: Place, ended: float) -> float:
    """Seconds from the first line on the data, which comes when the server is up."""
    streams = place.logs.describe_log_streams(
        logGroupName="/aws/sagemaker/TransformJobs", logStreamNamePrefix=f"{name}/"
    )["logStreams"]
    first = [each.get("firstEventTimestamp", 0) for each in streams if each["logStreamName"].endswith("/data-log")]
    return max(0.0, ended - first[0] / 1000) if first else 0.0


def _in_short(path: Path) -> str:
    """A Kennel model's answer as label and probability, another's by its first line."""
    with path.open(errors="replace") as stream:
        line = stream.readline(_LONGEST).strip()
    try:
        answer = json.loads(line)
        answer = answer.get("SageMakerOutput", answer)
        answer = (answer.get("predictions") or [answer])[0]
        return f"{answer['label']}{'?' if answer.get('abstain') else ''}  {answer['probability']:.1%}"
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}..."
