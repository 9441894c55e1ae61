"""What an endpoint is to be, wherever it is made; what AWS would refuse is refused here, in words.

    EndpointPlan("dogs", "s3://bucket/model.tar.gz", instance_type="ml.c7i.large", most=4, ttl_s=7200)
    EndpointPlan("dogs", "s3://bucket/model.tar.gz", serverless_mb=3072)
    EndpointPlan("dogs", "s3://bucket/model.tar.gz", instance_type="ml.c7i.large", async_uri="s3://bucket/async/dogs")

Exercise it: pytest tests/unit/launch/test_endpoint_plan.py
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kennel.errors import UserError
from kennel.launch.jobs import check_name

_MEMORY_MB: Final = range(1024, 6144 + 1, 1024)
_MOST_CONCURRENT: Final = 200
_MOST_INSTANCES: Final = 100
# Of the machines, that take a canary's requests: SageMaker's own limit.
_MOST_CANARY: Final = 50
_NO_MACHINES: Final = "a serverless endpoint has no machines of its own"
_NOT_SERVERLESS: Final = "SageMaker does not do it on serverless endpoints"
_LATER: Final = "its requests wait in a queue"


@dataclass(frozen=True)
class EndpointPlan:
    """Raises UserError for what cannot be, or not together.

    model_uri: of the archive. target_model: its name among many that one endpoint serves. instance_type, or
    serverless_mb with concurrency (requests at a time). async_uri: below it are the answers of an asynchronous
    endpoint. least, most: machines; None keeps those that an endpoint has (a new one: 1; an asynchronous one: 0 to 1).
    capture_percent: of requests, that are kept. canary_percent: of machines, that get a new model first.
    """

    name: str
    model_uri: str
    instance_type: str | None = None
    serverless_mb: int | None = None
    concurrency: int = 5
    async_uri: str | None = None
    least: int | None = None
    most: int | None = None
    capture_percent: int | None = None
    canary_percent: int | None = None
    ttl_s: int | None = None
    target_model: str | None = None
    is_isolated: bool = False

    def __post_init__(self) -> None:
        check_name(self.name, "Endpoint")
        for one, other, why in self._exclusions():
            raise UserError(f"{one} and {other} exclude each other: {why}.")
        if self.instance_type is None and self.serverless_mb is None:
            raise UserError("An endpoint needs an --instance type, or --serverless with its memory.")
        self._check_numbers()
        if self.async_uri is not None and not self.async_uri.startswith("s3://"):
            raise UserError(f"--async '{self.async_uri}' is no address in S3. Expected such as s3://bucket/async.")

    @property
    def is_scaled(self) -> bool:
        """Whether its machines are to follow its load."""
        return self.async_uri is not None or (self.most is not None and self.most > (self.least or 1))

    @property
    def fewest(self) -> int:
        """Machines that are paid for while nobody asks."""
        return self.least if self.least is not None else 0 if self.async_uri else 1

    @property
    def at_most(self) -> int:
        """Machines that may be paid for at once."""
        return max(self.most or 1, self.fewest)

    def _exclusions(self) -> Iterator[tuple[str, str, str]]:
        """What is asked for and cannot go together, with the reason."""
        has_limits = self.least is not None or self.most is not None
        is_async, is_serverless = self.async_uri is not None, self.serverless_mb is not None
        pairs = (
            (is_serverless, "--serverless", self.instance_type is not None, "--instance", _NO_MACHINES),
            (is_serverless, "--serverless", has_limits, "--min/--max", f"{_NO_MACHINES} (see --concurrency)"),
            (is_serverless, "--serverless", is_async, "--async", _NOT_SERVERLESS),
            (is_serverless, "--serverless", self.capture_percent is not None, "--capture", _NOT_SERVERLESS),
            (is_serverless, "--serverless", self.canary_percent is not None, "--canary", _NO_MACHINES),
            (is_serverless, "--serverless", self.target_model is not None, "--multi-model", _NOT_SERVERLESS),
            (is_serverless, "--serverless", self.is_isolated, "--isolated", _NOT_SERVERLESS),
            (is_async, "--async", self.capture_percent is not None, "--capture", "its answers are kept in S3 anyway"),
            (is_async, "--async", self.canary_percent is not None, "--canary", f"{_LATER}, and the alarms see none"),
            (is_async, "--async", self.target_model is not None, "--multi-model", f"{_LATER}, and cannot name a model"),
        )
        return ((one, other, why) for asked, one, too, other, why in pairs if asked and too)

    def _check_numbers(self) -> None:
        if self.serverless_mb is not None and self.serverless_mb not in _MEMORY_MB:
            sizes = ", ".join(map(str, _MEMORY_MB))
            raise UserError(f"--serverless {self.serverless_mb}: there are {sizes} MB.")
        smallest = 0 if self.async_uri else 1
        for flag, value, low, high in (
            ("--concurrency", self.concurrency, 1, _MOST_CONCURRENT),
            ("--min", self.least, smallest, _MOST_INSTANCES),
            ("--max", self.most, 1, _MOST_INSTANCES),
            ("--capture", self.capture_percent, 1, 100),
            ("--canary", self.canary_percent, 1, _MOST_CANARY),
        ):
            if value is not None and not low <= value <= high:
                raise UserError(f"{flag} {value} is outside of {low} to {high}.")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise UserError(f"--min {self.least} is more than --max {self.most}.")
        if self.canary_percent is not None and self.least == 1:
            raise UserError("--canary needs 2 machines or more, one of them for the new model. Give --min 2.")
