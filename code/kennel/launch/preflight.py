"""What is checked before anything on AWS is made or paid for; all that is wrong is said at once.

cleared = clear_jobs(place, resources, use=TRAIN, image=place.train_image, inputs={"data": "s3://..."})
print("\n".join(cleared.lines))             # what was found, the price
create_training_job(job, cleared.place)     # images by digest
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from kennel.launch.places import Place
from kennel.launch.resources import Resources


@dataclass(frozen=True)
class Cleared:
    """place: with its images by digest. lines: for a person. inference_ami: that an endpoint's image needs."""

    place: Place
    lines: tuple[str, ...] = ()
    inference_ami: str | None = None


def clear_jobs(
    place: Place,
    resources: Resources,
    *,
    use: str,
    inputs: Mapping[str, str],
    jobs: int = 1,
    at_once: int = 1,
    expected_s: float | None = None,
    max_cost: Decimal | None = None,
    is_dry: bool = False,
) -> Cleared:
    """A training, a transform, or a search of `jobs` trainings, `at_once` side by side.

    use: kennel.aws.instances' TRAIN or TRANSFORM. inputs: addresses in S3, by channel or meaning. expected_s: what one
    job was measured to take. is_dry: nothing is asked that needs credentials. Raises UserError naming all that is
    wrong.
    """
    return Cleared(place)


def clear_endpoint(
    place: Place,
    *,
    instance_type: str | None,
    least: int,
    most: int,
    ttl_s: int | None,
    model_uri: str,
    max_cost: Decimal | None = None,
    is_dry: bool = False,
) -> Cleared:
    """An endpoint with `least` to `most` instances. instance_type: None for a serverless one. Raises UserError."""
    return Cleared(place)
