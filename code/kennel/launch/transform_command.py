"""`kennel transform`: a batch transform job, from the checks to its outputs, on this machine or on AWS."""

import argparse
import dataclasses
import json
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError
from tqdm import tqdm

from kennel.aws.instances import TRANSFORM as USE
from kennel.aws.simulation import denied
from kennel.aws.words import in_words
from kennel.errors import DataError, KennelError, UserError
from kennel.launch.dry_run import as_json, held
from kennel.launch.endpoint.endpoints import find_model
from kennel.launch.places import Place, open_place, runs_folder
from kennel.launch.preflight.clear import clear_jobs
from kennel.launch.resources import Resources, read_resources
from kennel.launch.transform import (
    Choices,
    Transform,
    concurrent,
    describe_transform_job,
    plan_transform,
    transform_job,
)
from kennel.launch.transform_files import Files, open_files, outputs
from kennel.launch.unsigned import nothing_there
from kennel.launch.watching.follow import FINISHED
from kennel.launch.watching.kinds import TRANSFORM, attach_command, stop_command
from kennel.launch.watching.watch import watch

# What Kennel's networks need on a CPU; GPUs pay for large networks only.
INSTANCE: Final = "ml.c7i.xlarge"
_POLL_S: Final = 0.3
_SHOWN: Final = 5
_WIDTH: Final = 60


def run(arguments: argparse.Namespace, settings: Mapping[str, object]) -> int:
    """The exit status: 0 only if every file has its output. settings: of the profile."""
    call = _Call(arguments, settings)
    if arguments.on == "aws":
        return _run_on_aws(call)
    if arguments.max_cost or arguments.dry_run:
        raise UserError(f"--max-cost and --dry-run need --on aws: --on {arguments.on} costs nothing.")
    resources = read_resources(arguments, arguments.on)
    plan = call.plan()
    with transform_job(plan, call.place, resources, artifacts=find_model(plan.training_job, call.place)):
        print(
            f"{_beginning(plan, call.place, resources)}\n  logs: {runs_folder() / plan.name}\n  Ctrl-C stops it",
            flush=True,
        )
        description = follow_transform(plan, call.place)
    return _report(plan, description, call.place)


def follow_transform(plan: Transform, place: Place) -> dict[str, Any]:
    """Shows how many files are done, on this machine, and returns the last description.

    Ctrl-C stops the job, and the files that are done stay; a second one leaves it running.
    """
    try:
        return _follow(plan, place)
    except KeyboardInterrupt:
        print(f"\nstopping {plan.name} (again Ctrl-C leaves it running)", file=sys.stderr)
        place.sagemaker.stop_transform_job(TransformJobName=plan.name)
        return _follow(plan, place)


def answers_table(files: Files, count: int = _SHOWN) -> str:
    """The first answers, a line each: the file, and its label and probability or how its answer begins."""
    first = list(islice(outputs(files), count))
    rows = [(name.removesuffix(".out"), _in_short(files.head(name).partition("\n")[0].strip())) for name in first]
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"  {name:<{width}}  {answer}" for name, answer in rows)


@dataclasses.dataclass(frozen=True)
class _Call:
    """What is asked for. The place is opened when it is needed: a folder is looked at before."""

    arguments: argparse.Namespace
    settings: Mapping[str, object]

    @cached_property
    def place(self) -> Place:
        given = self.arguments
        return open_place(given.on, image=given.image, settings=self.settings, is_dry=given.dry_run)

    def plan(self) -> Transform:
        given = self.arguments
        choices = Choices(
            name=given.job_name,
            content_type=given.content_type,
            accept=given.accept,
            split_type=given.split_type,
            strategy=given.strategy,
            max_payload_mb=given.max_payload,
            max_concurrent=given.max_concurrent,
            is_joined=given.join,
        )
        source, target = (open_files(each, self._s3) for each in (given.input, given.output))
        return plan_transform(given.name, source, target, choices, is_dry=given.dry_run)

    def _s3(self) -> Any:  # noqa: ANN401  boto3's
        return self.place.client("s3")


def _run_on_aws(call: _Call) -> int:
    given = call.arguments
    call.place.need("role", "bucket")
    _check_addresses(given, call.place)
    if given.volume:
        raise UserError(f"--volume {given.volume}: SageMaker lets nobody choose the disks of a transform's machines.")
    resources = read_resources(given, given.on, instance=INSTANCE)
    plan = call.plan()
    if not given.dry_run:
        _check_role(plan, call.place)
    artifacts = find_model(plan.training_job, call.place, is_dry=given.dry_run)
    cleared = clear_jobs(
        call.place,
        resources,
        use=USE,
        inputs={"input": plan.source.uri, "model": artifacts},
        max_cost=given.max_cost,
        is_dry=given.dry_run,
    )
    print(*cleared.lines, sep="\n", end="\n" * bool(cleared.lines), file=sys.stderr if given.dry_run else sys.stdout)
    if given.dry_run:
        return _show_requests(plan, cleared.place, resources, artifacts)
    with transform_job(plan, cleared.place, resources, artifacts=artifacts):
        print(
            f"{_beginning(plan, cleared.place, resources)}\n  output: {plan.target}/\n"
            f"  watch it again: {attach_command(plan.name, cleared.place)}\n"
            f"  stop it: {stop_command(TRANSFORM, plan.name, cleared.place)}",
            flush=True,
        )
        with _stopped_after(resources.max_run_s, plan, cleared.place):
            description = watch(TRANSFORM.name, plan.name, cleared.place)
    return _report(plan, description, cleared.place)


def _check_addresses(given: argparse.Namespace, place: Place) -> None:
    """UserError for folders of this machine, with the command that takes them there or back."""
    if isinstance(given.input, Path):
        raise UserError(
            f"--input {given.input} is a folder of this machine, which AWS cannot read. Copy it:\n"
            f"  aws s3 sync {shlex.quote(str(given.input))} {place.uri('transforms', given.input.resolve().name)}/\n"
            "and give that address."
        )
    if isinstance(given.output, Path):
        raise UserError(
            f"--output {given.output} is a folder of this machine, and jobs on AWS write to S3. Give such as "
            f"--output {place.uri('transforms', given.name)}/ and copy it when the job has ended: aws s3 sync."
        )


def _check_role(plan: Transform, place: Place) -> None:
    """UserError where the role may not read the inputs or write the outputs, as a job finds out after minutes."""
    source, target = (each.uri.removeprefix("s3://") for each in (plan.source, plan.target))
    partition = place.role.split(":")[1]
    wanted = {
        "s3:GetObject": f"arn:{partition}:s3:::{source.rstrip('/')}{'/kennel' if source.endswith('/') else ''}",
        "s3:PutObject": f"arn:{partition}:s3:::{target.rstrip('/')}/kennel.out",
    }
    try:
        refused = denied(place.client("iam"), place.role, wanted)
    except ClientError:  # nobody may ask, or the role is not there, which is told with all else
        return
    if refused:
        raise UserError(
            f"The role {place.role} may not {' and '.join(refused)} ({plan.source}, {plan.target}). With the policies "
            f"in iam/ jobs read below {place.uri()} and write below {place.uri('transforms')}. Take addresses there, "
            "or allow it."
        )


def _show_requests(plan: Transform, place: Place, resources: Resources, artifacts: str) -> int:
    fresh = dataclasses.replace(place)  # only clients that are made from here on are held
    with (
        held(fresh.boto) as requests,
        nothing_there(fresh.boto),
        transform_job(plan, fresh, resources, artifacts=artifacts, is_dry=True),
    ):
        pass
    print(as_json(requests))
    return 0


@contextmanager
def _stopped_after(limit_s: int, plan: Transform, place: Place) -> Iterator[None]:
    """Stops the job then. SageMaker has no such limit for transforms, so it holds only while somebody watches."""

    def stop() -> None:
        print(f"stopping {plan.name}: --max-run is over", file=sys.stderr)
        try:
            with in_words():
                TRANSFORM.send_stop(plan.name, place)
        except KennelError as error:
            print(f"{plan.name} could not be stopped: {error}", file=sys.stderr)

    timer = threading.Timer(limit_s, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _follow(plan: Transform, place: Place) -> dict[str, Any]:
    bar = tqdm(
        total=plan.files, unit="file", disable=not sys.stderr.isatty(), leave=False, dynamic_ncols=True, desc=plan.name
    )
    with bar:
        while True:
            description = describe_transform_job(plan.name, place)
            bar.n = _done(plan)
            bar.set_description(f"{plan.name} {description['TransformJobStatus']}")
            if description["TransformJobStatus"] in FINISHED:
                return description
            time.sleep(_POLL_S)


def _beginning(plan: Transform, place: Place, resources: Resources) -> str:
    count = f"{plan.files} files" if plan.files is not None else "more than 1000 files"
    at_once = concurrent(plan, place, resources)
    where = f" on {resources.instance_count} x {resources.instance_type}" if place.is_aws else ""
    return f"transform job {plan.name}: {count} as {plan.content_type}, {at_once} at once{where}"


def _report(plan: Transform, description: dict[str, Any], place: Place) -> int:
    status, done = description["TransformJobStatus"], _done(plan)
    began, ended = description.get("TransformStartTime"), description.get("TransformEndTime")
    whole_s = (ended - began).total_seconds() if began and ended else 0.0
    served_s = 0.0 if place.is_aws else _served_s(plan.name, place, ended.timestamp() if ended else 0.0)
    rate = f", {done / served_s:.1f} files/s once the server was up" if done and served_s else ""
    of_all = f" of {plan.files}" if plan.files is not None else ""
    print(f"transform job {plan.name}: {status}\n{done}{of_all} files in {whole_s:.1f} s{rate}")
    if done:
        print(f"{answers_table(plan.target)}\noutputs: {plan.target}/<file>.out")
    if status == "Failed" and not place.is_aws:  # there it was said, with the log's end
        print(f"kennel: {description.get('FailureReason', 'no reason was left')}", file=sys.stderr)
        print(f"kennel: all reasons: {runs_folder() / plan.name / 'data-log.txt'}", file=sys.stderr)
    return 0 if status == "Completed" else 1


def _done(plan: Transform) -> int:
    try:
        return sum(1 for _ in outputs(plan.target))
    except DataError:  # the folder comes with the first output
        return 0


def _served_s(name: str, place: Place, ended: float) -> float:
    """Seconds from the first line on the data, which comes when the server is up."""
    streams = place.logs.describe_log_streams(
        logGroupName="/aws/sagemaker/TransformJobs", logStreamNamePrefix=f"{name}/"
    )["logStreams"]
    first = [each.get("firstEventTimestamp", 0) for each in streams if each["logStreamName"].endswith("/data-log")]
    return max(0.0, ended - first[0] / 1000) if first else 0.0


def _in_short(line: str) -> str:
    """A Kennel model's answer as label and probability, another's by its first line."""
    try:
        answer = json.loads(line)
        answer = answer.get("SageMakerOutput", answer)
        answer = (answer.get("predictions") or [answer])[0]
        return f"{answer['label']}{'?' if answer.get('abstain') else ''}  {answer['probability']:.1%}"
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}..."
