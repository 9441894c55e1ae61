"""What comes before a job on AWS: its inputs, a rehearsal, all checks; then it is created, or its request is shown.

    wanted = read_wanted(arguments)                                 # --instance, --max-cost, --dry-run and so on
    there = prepare(job, open_place("aws", ...), wanted)            # UserError for all that is wrong, at once
    if create(there, wanted, lambda place: create_training_job(there.job, place, wanted.resources)):
        follow_training(job.name, there.place)

Nothing is made before all checks have passed; the only thing then made before the job are its weights in S3.
Exercise it: pytest tests/aws/test_train_on_aws.py tests/aws/test_tune_on_aws.py
"""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from kennel.aws.instances import TRAIN
from kennel.errors import UserError
from kennel.launch import aws_inputs
from kennel.launch.dry_run import as_json, held
from kennel.launch.jobs import TrainingJob
from kennel.launch.places import AWS, Place, runs_folder
from kennel.launch.preflight.clear import clear_jobs
from kennel.launch.preflight.rehearsal import Rehearsal, rehearse, remember
from kennel.launch.resources import Resources, read_resources


@dataclass(frozen=True)
class Wanted:
    """What the options say beside the job. rehearse: with so many pictures; None for no rehearsal."""

    resources: Resources
    max_cost: Decimal | None = None
    is_dry: bool = False
    rehearse: int | None = None


@dataclass(frozen=True)
class Ready:
    """A job whose channels AWS can read, and a place that was checked. weights: of this machine, still to be sent."""

    job: TrainingJob
    place: Place
    weights: Path | None = None


def read_wanted(arguments: argparse.Namespace) -> Wanted:
    """Of add_machines' and add_training_machines' options. UserError for what cannot be, or not at this place."""
    wanted = Wanted(
        read_resources(arguments, arguments.on),
        arguments.max_cost,
        arguments.dry_run,
        getattr(arguments, "rehearse", None),
    )
    if wanted.is_dry and wanted.rehearse:
        raise UserError("--dry-run makes and fetches nothing, so there is nothing to rehearse. Leave one of them out.")
    return wanted


def check_data_is_there(data: Path | str, on: str) -> None:
    """UserError for a folder of this machine where AWS has to read it."""
    if on == AWS and isinstance(data, Path):
        raise UserError(
            f"--data {data} is a folder of this machine, which AWS cannot read. Upload it:\n"
            f"  scripts/upload.sh --data {shlex.quote(str(data))}\n"
            "and give the s3:// address that this prints."
        )


def prepare(job: TrainingJob, place: Place, wanted: Wanted, *, jobs: int = 1, at_once: int = 1) -> Ready:
    """All checks of `jobs` such trainings, `at_once` side by side; what was found is printed. Raises UserError."""
    place.need("role", "bucket")
    say = _to_stderr if wanted.is_dry else print
    weights = aws_inputs.local_weights(job)
    there = aws_inputs.with_weights_in_s3(job, place)
    cleared = clear_jobs(
        place,
        wanted.resources,
        use=TRAIN,
        inputs={name: uri for name, uri in job.channels.items() if uri.startswith("s3://")},
        jobs=jobs,
        at_once=at_once,
        measure=lambda: _measured_s(job, place, wanted),
        max_cost=wanted.max_cost,
        is_dry=wanted.is_dry,
    )
    _say_each(say, cleared.lines)
    if not wanted.is_dry:
        say(aws_inputs.data_line(job.channels["data"], place))
    return Ready(there, cleared.place, weights)


def create(ready: Ready, wanted: Wanted, send: Callable[[Place], None]) -> bool:
    """Whether it was made: in a dry run the requests are printed as JSON instead, and nothing is sent."""
    weights_uri = ready.job.channels.get(aws_inputs.WEIGHTS, "")
    if not wanted.is_dry:
        if ready.weights:
            print(aws_inputs.send_weights(ready.weights, weights_uri, ready.place), flush=True)
        send(ready.place)
        return True
    if ready.weights:
        _to_stderr(f"before that: aws s3 cp {shlex.quote(str(ready.weights))} {shlex.quote(weights_uri)}")
    place = dataclasses.replace(ready.place)  # its clients are still to be made, so that all their requests are held
    with held(place.boto) as requests:
        send(place)
    print(as_json(requests))
    return False


def _measured_s(job: TrainingJob, place: Place, wanted: Wanted) -> float | None:
    """What one job takes on this machine: in a rehearsal, else as an earlier one on the same pictures took."""
    if wanted.rehearse:
        found: Rehearsal | None = rehearse(dataclasses.replace(job, debugging=None), place, pictures=wanted.rehearse)
    else:
        manifest = aws_inputs.find_manifest(job.channels["data"], place)
        known = manifest.digest if manifest else None
        found = remember(job, digest=known, runs=runs_folder()) if known else None
    if found is None:
        return None
    _say_each(print, found.lines)
    return found.expected_s


def _say_each(say: Callable[[str], None], lines: "list[str] | tuple[str, ...]") -> None:
    for line in lines:
        say(line)


def _to_stderr(line: str) -> None:
    """In a dry run what is said is for a person; stdout has the requests, and nothing else."""
    print(line, file=sys.stderr)
