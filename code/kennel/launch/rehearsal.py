"""A training on a few of its pictures here, before machines are paid for: does it run, and how long will it take?

    found = rehearse(job, place, pictures=200)          # job: as it would be created on AWS; prints what it does
    print("\n".join(found.lines))
    clear_jobs(place, resources, ..., expected_s=found.expected_s)

Runs `kennel train --on local` in a process of its own: this process's environment stays AWS's.
Exercise it: pytest tests/unit/launch/test_rehearsal.py tests/aws/test_rehearsal_road.py
"""

from dataclasses import dataclass

from kennel.launch.jobs import TrainingJob
from kennel.launch.places import Place


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal measured, on this machine.

    name: of the training here (`kennel report NAME`). expected_s: what the whole job would take here, from its start to
    its end: an upper bound on AWS only where the instance is faster. lines: for a person.
    """

    name: str
    expected_s: float
    lines: tuple[str, ...]


def rehearse(job: TrainingJob, place: Place, *, pictures: int) -> Rehearsal:
    """Trains for two epochs on about that many of the job's pictures; those in S3 are fetched with `place`'s client.

    pictures: at least 6; one batch is the least that is taken. Raises UserError with its reason for a rehearsal that
    fails: nothing has been created on AWS then; and KeyboardInterrupt when it was stopped.
    """
    raise NotImplementedError
