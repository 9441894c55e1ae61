"""What is checked before anything on AWS is made or paid for; all that is wrong is said at once.

cleared = clear_jobs(place, resources, use=TRAIN, inputs={"data": "s3://..."})
print("\n".join(cleared.lines))             # what was found, the price
create_training_job(job, cleared.place)     # images by digest

The services are asked side by side. What may not be asked (no permission) is said to be not known, and stops nothing.
Exercise it: pytest tests/aws/test_preflight.py
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from kennel.aws import prices, quotas
from kennel.aws.estimate import Estimate, estimate_endpoint, estimate_job, estimate_serverless
from kennel.aws.images import Image
from kennel.aws.instances import SERVE, TRAIN, ami_for, check_type, has_gpu
from kennel.aws.words import in_words
from kennel.errors import UserError
from kennel.launch.places import Place
from kennel.launch.preflight import checks
from kennel.launch.preflight.checks import Found
from kennel.launch.resources import Resources

# Of which the newest endpoint AMI is taken, where an image does not say what it has.
_NEWEST_CUDA: Final = (13, 0)
_DRY: Final = (
    "not checked in a dry run, for which nobody has to be signed in: role, bucket, inputs, image, quota, price"
)


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
    measure: Callable[[], float | None] | None = None,
    max_cost: Decimal | None = None,
    is_dry: bool = False,
) -> Cleared:
    """A training, a transform, or a search of `jobs` trainings, `at_once` side by side.

    use: kennel.aws.instances' TRAIN or TRANSFORM. inputs: addresses in S3, by channel or meaning. expected_s: what one
    job was measured to take; or `measure` does that (a rehearsal), once nothing is wrong that is seen without it.
    is_dry: nothing is asked that needs credentials, and nothing measured. Raises UserError naming all that is wrong.
    """
    kind, machine = ("train" if use == TRAIN else "serve"), resources.instance_type
    collected = _Collected()
    collected.take(checks.settings(place, "role", "bucket"))
    collected.take(_type(machine, use))
    if is_dry:
        return collected.cleared(place, (_DRY,))
    limits = _limits_of_jobs(resources, use, resources.instance_count * at_once)
    component = prices.TRAINING if use == TRAIN else prices.TRANSFORM
    asked = _Asked(place, machine, component, limits, kind=kind, inputs=inputs).ask()
    asked.collect(collected)
    if asked.image.value is not None:
        collected.take(checks.driver(asked.image.value, machine, use))
    if measure is not None and not collected.problems:
        expected_s = measure()
    estimate = estimate_job(
        asked.price.value,
        instances=resources.instance_count,
        most_s=resources.max_run_s,
        jobs=jobs,
        is_spot=resources.is_spot,
        keep_warm_s=resources.keep_warm_s,
        expected_s=expected_s,
    )
    return collected.cleared(asked.place, _priced(estimate, max_cost, collected))


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
    serverless_mb: int | None = None,
    is_async: bool = False,
) -> Cleared:
    """An endpoint with `least` to `most` instances. instance_type: None for a serverless one. Raises UserError.

    model_uri: of the archive, or the beginning of several. serverless_mb: its memory, for the price. is_async: its
    price is another one.
    """
    collected = _Collected()
    collected.take(checks.settings(place, "role"))
    if instance_type:
        collected.take(_type(instance_type, SERVE))
    if is_dry:
        return collected.cleared(place, (_DRY,))
    asked = _Asked(
        place,
        instance_type,
        prices.ASYNC if is_async else prices.HOSTING,
        ((quotas.ENDPOINT, most, True),) if instance_type else (),
        kind="serve",
        inputs={"model": model_uri},
        serverless_mb=serverless_mb,
    ).ask()
    asked.collect(collected)
    ami = _ami(asked.image, instance_type, collected)
    estimate = (
        estimate_endpoint(asked.price.value, least=least, most=most, ttl_s=ttl_s)
        if instance_type
        else estimate_serverless(asked.price.value, memory_mb=serverless_mb)
    )
    return collected.cleared(asked.place, _priced(estimate, max_cost, collected), ami)


@dataclass
class _Collected:
    """Everything that was found until now, in the order in which it is said."""

    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def take(self, found: Found[Any]) -> None:
        self.problems += found.problems
        self.lines += found.lines

    def cleared(self, place: Place, lines: Sequence[str], ami: str | None = None) -> Cleared:
        """Raises UserError if there is a problem."""
        if not self.problems:
            return Cleared(place, (*self.lines, *lines), ami)
        if len(self.problems) == 1:
            raise UserError(f"{self.problems[0]}\nNothing was made, and nothing has to be paid.")
        numbered = "".join(f"\n  {number}. {each}" for number, each in enumerate(self.problems, 1))
        raise UserError(
            f"{len(self.problems)} things stand in the way:{numbered}\nNothing was made, and nothing has to be paid."
        )


@dataclass
class _Asked:
    """AWS's answers, all asked for side by side. limits: quotas, with what is needed and whether less is a problem."""

    place: Place
    instance_type: str | None
    component: str
    limits: Sequence[tuple[str, int, bool]]
    kind: str
    inputs: Mapping[str, str]
    serverless_mb: int | None = None
    image: Found[Image] = field(default_factory=Found)
    price: Found[prices.Price] = field(default_factory=Found)
    _others: list[Found[Any]] = field(default_factory=list)

    def ask(self) -> "_Asked":
        """Raises what is no finding: expired credentials, no network."""
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="preflight") as pool, in_words():
            image = pool.submit(self._with_clients(self._image, "ecr"))
            price = pool.submit(self._price)
            others = [pool.submit(each) for each in self._questions()]
            self.image, self.price = image.result(), price.result()
            self._others = [each.result() for each in others]
        if self.image.value is not None:
            self.place = _with_image(self.place, self.kind, self.image.value.by_digest)
        return self

    def collect(self, collected: _Collected) -> None:
        for each in (*self._others, self.image, self.price):
            collected.take(each)

    def _questions(self) -> list[Callable[[], Found[Any]]]:
        place = self.place
        asked: list[Callable[[], Found[Any]]] = []
        if place.role:
            asked.append(self._with_clients(lambda iam: checks.role(iam, place.role), "iam"))
        if bucket := place.profile.bucket:
            asked.append(self._with_clients(lambda s3: checks.bucket(s3, bucket, place.region), "s3"))
        for meaning, uri in self.inputs.items():
            asked.append(self._with_clients(_bound(checks.objects, meaning, uri), "s3"))
        for use, needed, is_problem in self.limits:
            question = _bound(checks.quota, self.instance_type, use, needed, is_problem)
            asked.append(self._with_clients(question, "service-quotas"))
        return asked

    def _with_clients(self, question: Callable[[Any], Found[Any]], service: str) -> Callable[[], Found[Any]]:
        """The client is made here and now: boto3's sessions make one at a time."""
        client = self.place.client(service)
        return lambda: question(client)

    def _image(self, ecr: Any) -> Found[Image]:  # noqa: ANN401  boto3's
        is_cpu = self.kind == "serve" and not (self.instance_type and has_gpu(self.instance_type))
        return checks.image(ecr, self.place, self.kind, is_cpu=is_cpu)

    def _price(self) -> Found[prices.Price]:
        return checks.price(self.instance_type, self.component, self.place.region, serverless_mb=self.serverless_mb)


def _with_image(place: Place, kind: str, by_digest: str) -> Place:
    if kind == "train":
        return replace(place, train_image=by_digest)
    return replace(place, serve_image=by_digest)


def _bound(question: Callable[..., Found[Any]], *arguments: object) -> Callable[[Any], Found[Any]]:
    return lambda client: question(client, *arguments)


def _type(instance_type: str, use: str) -> Found[None]:
    try:
        warning = check_type(instance_type, use)
    except UserError as error:
        return Found(problems=(str(error),))
    return Found(lines=(f"warning: {warning}",) if warning else ())


def _limits_of_jobs(resources: Resources, use: str, needed: int) -> list[tuple[str, int, bool]]:
    """Without its quota a warm pool is silently not kept, and nothing fails."""
    if use != TRAIN:
        return [(quotas.TRANSFORM, needed, True)]
    limits = [(quotas.SPOT if resources.is_spot else quotas.TRAINING, needed, True)]
    return [*limits, (quotas.WARM, needed, False)] if resources.keep_warm_s else limits


def _ami(image: Found[Image], instance_type: str | None, collected: _Collected) -> str | None:
    """The endpoint AMI for the image's CUDA; a GPU without CUDA in the image is only said."""
    if not instance_type or not has_gpu(instance_type) or image.value is None:
        return None
    cuda = image.value.cuda
    if cuda is None and image.value.unread is None:
        collected.lines.append(f"warning: the image says of no CUDA in it, and {instance_type} is paid for its GPU.")
    try:
        ami = ami_for(instance_type, cuda=cuda or _NEWEST_CUDA)
    except UserError as error:
        collected.problems.append(str(error))
        return None
    collected.lines.append(f"driver: that of {ami}")
    return ami


def _priced(estimate: Estimate, max_cost: Decimal | None, collected: _Collected) -> Sequence[str]:
    try:
        if max_cost is not None:
            estimate.check(max_cost)
    except UserError as error:
        collected.problems.append(str(error))
    return estimate.lines()
